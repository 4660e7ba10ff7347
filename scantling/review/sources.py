"""What is looked at: the tables of a run, or files named one by one."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from scantling.data import corrections, parquet
from scantling.data import index as indexes
from scantling.data import split as splits
from scantling.data.index import XYXY, Index
from scantling.stage import BadInput

BOXES = ["image_id", "label", "score", *XYXY, "spread"]  # what is looked at of a table of boxes


@dataclass(frozen=True)
class Sources:
    """Folders of results/, as the stages wrote them; None for what is not looked at.

    detections: a table of boxes on the images of the split; model: the model that makes them if there is none.
    """

    index: Path | None = None
    split: Path | None = None
    pseudo: Path | None = None
    refined: Path | None = None
    model: Path | None = None
    detections: Path | None = None


def of_run(run: Path, given: Sources) -> Sources:
    """The folders that a run was made from, by its own record and that of polish; what is given wins."""
    made = _inputs(run)
    pseudo = _inputs(made["refined"]).get("pseudo") if "refined" in made else None
    known = {name: made.get(name) for name in ("index", "split", "refined")}
    found = Sources(**known, pseudo=pseudo, model=run)
    return replace(found, **{name: value for name, value in vars(given).items() if value is not None})


def _inputs(folder: Path) -> dict[str, Path]:
    file = folder / "provenance.json"
    try:
        inputs = json.loads(file.read_text(encoding="utf-8"))["inputs"]
        return {name: Path(entry["path"]) for name, entry in inputs.items()}
    except OSError:
        raise BadInput(
            f"{file}: there is no such file; name a folder of results/retrain, or --index, --split and --pseudo"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadInput(f"{file}: not written by this version of the stage; run it again") from None


def load(sources: Sources) -> tuple[Index, pd.DataFrame]:
    """The index without its truth, and the split with the labels that training saw, corrections included."""
    if sources.index is None or sources.split is None:
        raise BadInput("name a run with --run, or at least --index, --split and --pseudo")
    for name, stage, file in (
        ("index", "prepare", sources.index / "data.json"),
        ("split", "split", sources.split / "split.parquet"),
    ):
        if not file.is_file():
            raise BadInput(f"--{name} {file.parent}: holds no {file.name}; name a folder of results/{stage}")
    index = indexes.load(sources.index, truth=False)
    split = splits.load(sources.split)
    if not split["image_id"].isin(index.images["image_id"]).all():
        raise BadInput(f"--split {sources.split}: has images that {index.name} does not have; name its own index")
    if sources.refined is not None:
        refined = _table(sources.refined / "refined.parquet", "refined", ["image_id", "label", "source", *XYXY], index)
        split = corrections.seen(split, refined)
    return index, split


def pseudo(sources: Sources, index: Index) -> pd.DataFrame | None:
    """The boxes of the teacher that made the pseudo labels."""
    return None if sources.pseudo is None else boxes(sources.pseudo / "pseudo.parquet", "pseudo", index)


def boxes(file: Path, option: str, index: Index) -> pd.DataFrame:
    """image_id, label, score, x1..y2 and spread (NaN where unknown) of a table; of detections.parquet the teacher's."""
    rows = _table(file, option, ["image_id", "label", "score", *XYXY], index)
    if "model" in rows:
        rows = rows[rows["model"] == "teacher"]
    spread = rows["spread"] if "spread" in rows else np.float32(np.nan)
    rows = rows.assign(spread=spread)[BOXES].reset_index(drop=True)
    numbers = rows[["score", *XYXY]].to_numpy(np.float64)
    if not np.isfinite(numbers).all() or not rows["score"].between(0, 1).all():
        raise BadInput(f"--{option} {file}: has scores outside 0..1 or boxes that are no numbers; write it again")
    return rows


def _table(file: Path, option: str, columns: list[str], index: Index) -> pd.DataFrame:
    try:
        rows = parquet.read(file)
    except BadInput as error:
        raise BadInput(f"--{option} {error}") from None
    except OSError as error:
        raise BadInput(f"--{option} {file}: cannot be read ({' '.join(str(error).split())[:200]})") from None
    if missing := [c for c in columns if c not in rows]:
        raise BadInput(
            f"--{option} {file}: has no column {', '.join(missing)}; name a table of boxes as pseudo_label writes it"
        )
    known = rows["image_id"].isin(index.images["image_id"]) & rows["label"].between(-1, len(index.classes) - 1)
    if not known.all():
        raise BadInput(f"--{option} {file}: has images or classes that {index.name} does not have; name its own index")
    return rows
