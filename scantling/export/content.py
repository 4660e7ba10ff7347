"""What an export writes: which images in which group, and their boxes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scantling.data import parquet
from scantling.data import split as splits
from scantling.data.index import XYXY, Index, table
from scantling.stage import BadInput

BOXES = {
    "box_id": "int64", "image_id": "int64", "label": "int32", "x1": "float32", "y1": "float32", "x2": "float32",
    "y2": "float32", "area": "float32", "crowd": "bool", "difficult": "bool", "score": "float32",
}  # fmt: skip


@dataclass(frozen=True)
class Content:
    """images: image_id, group, file_name (below `root`), width, height, annotated: False says that nobody looked,
    labeled: that a person did.
    boxes: columns BOXES, only of annotated images; score is NaN for what a person drew.
    image_labels and frequencies (of the classes, LVIS): as in the index, empty unless the whole truth is written.

    Groups are the subsets of the index; a split makes of train and unlabeled: labeled, pseudo (labeled by a machine),
    unlabeled.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: pd.DataFrame
    boxes: pd.DataFrame
    image_labels: pd.DataFrame
    frequencies: tuple[str, ...]
    proposals: bool = False  # boxes with a score are meant to be looked at, beside those of a person

    def groups(self) -> list[str]:
        return list(self.images["group"].unique())


def choose(index: Index, split: pd.DataFrame | None, pseudo: pd.DataFrame | None, subset: str | None) -> Content:
    """The whole truth; or with a split, of train and unlabeled only the boxes it kept; with pseudo labels (columns
    image_id, label, score, corners) these for every image that the split does not label.

    Pseudo labels without a split: only the images that have some. An image that keeps none is never written as empty:
    a machine that found nothing has not said that nothing is there. `subset` leaves out the others.
    """
    assert index.boxes is not None, "an export is made from the truth"
    if subset is not None and subset not in set(index.images["subset"]):
        there = ", ".join(index.images["subset"].unique())
        raise BadInput(f"--subset {subset}: {index.name} has no such subset; it has {there}")
    images = index.images.assign(group=index.images["subset"])
    boxes = index.boxes.assign(score=np.nan)
    known = index.image_labels if index.image_labels is not None else pd.DataFrame(columns=["image_id"])
    if split is None and pseudo is None:
        seen = images["image_id"].isin(boxes["image_id"])
        return _content(
            index, images.assign(annotated=(images["group"] != "unlabeled") | seen), boxes, known, subset, whole=True
        )

    if split is None:
        images, boxes = images.assign(group="unlabeled"), boxes[:0]
    else:
        trained = images["subset"].isin(["train", "unlabeled"])
        known_ids, split_ids = set(images["image_id"][trained]), set(split["image_id"])
        left_out = known_ids - split_ids - set(boxes["image_id"])  # by a list, which has no image without a box
        if other := (known_ids ^ split_ids) - left_out:
            raise BadInput(f"--split: is none of {index.name}, {len(other)} images are not in both; name its own index")
        stays = ~images["image_id"].isin(left_out)
        images, trained = images[stays], trained[stays]
        labeled = images["image_id"].isin(split["image_id"][split["labeled"]])
        images["group"] = images["group"].mask(trained, np.where(labeled, "labeled", "unlabeled"))
        boxes = boxes[boxes["box_id"].isin(split["box_id"]) | ~boxes["image_id"].isin(split["image_id"])]
    if pseudo is not None:
        bare = images["group"] == "unlabeled"
        more = pseudo[pseudo["image_id"].isin(images["image_id"][bare])].reset_index(drop=True)
        first = int(index.boxes["box_id"].max()) + 1 if len(index.boxes) else 1
        area = (more["x2"] - more["x1"]) * (more["y2"] - more["y1"])
        more = more.assign(box_id=first + more.index, area=area, crowd=False, difficult=False)
        boxes = pd.concat([table(boxes, BOXES), table(more, BOXES)], ignore_index=True)
        images["group"] = images["group"].mask(images["image_id"].isin(more["image_id"]), "pseudo")
        images = images if split is not None else images[images["group"] == "pseudo"]
    return _content(
        index, images.assign(annotated=images["group"] != "unlabeled"), boxes, known[:0], subset, whole=False
    )


def _content(
    index: Index, images: pd.DataFrame, boxes: pd.DataFrame, known: pd.DataFrame, subset: str | None, whole: bool
) -> Content:
    images = images if subset is None else images[images["subset"] == subset]
    written = images["image_id"][images["annotated"]]
    images = images.assign(labeled=images["annotated"] & (images["group"] != "pseudo"))
    return Content(
        name=index.name,
        root=index.root,
        classes=index.classes,
        category_ids=index.category_ids,
        images=images[["image_id", "group", "file_name", "width", "height", "annotated", "labeled"]].reset_index(
            drop=True
        ),
        boxes=table(boxes[boxes["image_id"].isin(written)], BOXES),
        image_labels=known[known["image_id"].isin(written)].reset_index(drop=True),
        frequencies=tuple(index.facts.get("frequencies", ())) if whole else (),
    )


def read_split(folder: Path) -> pd.DataFrame:
    """The table of results/split/KEY."""
    if not (folder / "split.parquet").is_file():
        raise BadInput(f"--split {folder}: holds no split.parquet; name a folder of results/split")
    return splits.load(folder)


def read_pseudo(file: Path, index: Index, score_threshold: float, model: str | None) -> pd.DataFrame:
    """Rows with a score above the threshold of pseudo.parquet, of refined.parquet (those whose class would be learned
    from) or of detections.parquet (those of `model`). Raises BadInput where a row does not fit the index."""
    try:
        rows = parquet.read(file)
    except BadInput as error:
        raise BadInput(f"--pseudo {error}") from None
    except OSError as error:
        raise BadInput(f"--pseudo {file}: cannot be read ({' '.join(str(error).split())[:200]})") from None
    columns = ["image_id", "label", "score", *XYXY]
    if missing := [c for c in columns if c not in rows]:
        raise BadInput(f"--pseudo {file}: has no column {', '.join(missing)}; name a pseudo.parquet")
    if "model" in rows:
        there = sorted(rows["model"].unique())
        if model not in there:
            raise BadInput(f"--pseudo {file}: holds the boxes of {' and '.join(there)}; say which with --model")
        rows = rows[rows["model"] == model]
    if "for_class" in rows:
        rows = rows[rows["for_class"]]
        if "refined_label" in rows:  # what networks made of it (polishing_teacher), else the same again
            refined = {name: rows[f"refined_{name}"] for name in ("label", *XYXY)}
            rows = rows.assign(**refined)
    rows = rows.loc[rows["score"] > score_threshold, columns].reset_index(drop=True)
    fits = rows["image_id"].isin(index.images["image_id"]) & rows["label"].between(0, len(index.classes) - 1)
    if not (fits & np.isfinite(rows[XYXY].to_numpy(dtype="float64")).all(axis=1)).all():
        raise BadInput(f"--pseudo {file}: has images or classes that {index.name} does not have; name its own index")
    return rows
