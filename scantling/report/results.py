"""What the finished stages of a run left under results/, read once."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from scantling.report.study import Run, StudyParams
from scantling.stage import BadInput

ROLES = ("student", "teacher")
TRAININGS = ("burn_in", "retrain")


@dataclass(frozen=True)
class Result:
    """A run and what is known of it.

    metrics     {"student": {...}, "teacher": {...}, "pseudo": {...}} as `evaluate` wrote it
    per_class   model, class, AP, AP50, AR100, boxes
    quality     the content of label_quality.json
    errors      the content of errors.json, empty where there is none
    intervals   the content of intervals.json, the same
    history     stage -> logged values over `step`, for burn_in and retrain
    provenance  stage -> provenance.json, of every stage of the run that has one
    counts      of the split: images, labeled, unlabeled, kept, hidden; empty where split.json is of a version without
    previous    the round before, whose model made the labels that this one learned from; None for a first round
    """

    run: Run
    metrics: dict[str, dict[str, Any]]
    per_class: pd.DataFrame
    quality: dict[str, Any]
    errors: dict[str, Any]
    intervals: dict[str, Any]
    history: dict[str, pd.DataFrame]
    provenance: dict[str, dict[str, Any]]
    counts: dict[str, int]
    previous: Result | None = None

    def steps(self, stage: str) -> int:
        """Training steps of burn_in, or of this round's retrain."""
        step = self.history[stage]["step"]
        return int(step.max()) if len(step) else 0

    @property
    def total_steps(self) -> int:
        """Training steps that led to the model: of burn-in and of retraining in all rounds up to this one."""
        return self.steps("burn_in") + sum(one.steps("retrain") for one in self.rounds)

    @property
    def rounds(self) -> list[Result]:
        """This one, the round before it, and so on to the first."""
        return [self, *(self.previous.rounds if self.previous else [])]

    @property
    def batch(self) -> dict[str, int] | None:
        """Images a step of retraining, {"labeled": n, "unlabeled": n}; None if provenance is missing."""
        training = self.provenance.get("retrain", {}).get("params", {}).get("training", {})
        names = {"labeled": "labeled_per_step", "unlabeled": "unlabeled_per_step"}
        return {kind: training[name] for kind, name in names.items()} if set(names.values()) <= set(training) else None

    @property
    def precision(self) -> str | None:
        """Of the retraining's numbers, float32 or bfloat16; None if provenance is missing."""
        return self.provenance.get("retrain", {}).get("params", {}).get("training", {}).get("precision")

    def seconds(self, *stages: str) -> float | None:
        """Wall seconds of the stages together; None if one did not leave its provenance."""
        if any("seconds" not in self.provenance.get(stage, {}) for stage in stages):
            return None
        return float(sum(self.provenance[stage]["seconds"] for stage in stages))

    @property
    def training_seconds(self) -> float | None:
        """Wall seconds of the trainings that `total_steps` counts; None if one did not leave its provenance."""
        parts = [self.seconds("burn_in"), *(one.seconds("retrain") for one in self.rounds)]
        return None if None in parts else sum(part for part in parts if part is not None)


def load(results: Path, study: StudyParams) -> list[Result]:
    """All runs of a study in its order. Raises BadInput for a run whose key or files do not fit."""
    for key, run in study.runs.items():
        if key != run.key:
            raise BadInput(
                f"study {study.name}: run `{key}` has the fields of `{run.key}`; "
                "write the study anew with python -m workflow.study"
            )
    loaded: dict[str, Result] = {}
    for key, run in study.runs.items():  # a round comes after the one before
        one = _load(results, run)
        loaded[key] = replace(one, previous=loaded.get(run.after)) if run.after else one
    return list(loaded.values())


def stage_keys(run: Run) -> dict[str, str]:
    """stage -> name of the folder of its outputs, in the order of the pipeline."""
    return {
        "prepare": run.data,
        "split": run.split_key,
        "burn_in": run.burn_in_key,
        "pseudo_label": run.pseudo_key,
        "polish": run.key,
        "retrain": run.key,
        "evaluate": run.key,
    }


def _load(results: Path, run: Run) -> Result:
    folder = {stage: results / stage / key for stage, key in stage_keys(run).items()}
    history = {stage: pd.read_csv(_there(folder[stage] / "history.tsv"), sep="\t") for stage in TRAININGS}
    notes = {stage: path / "provenance.json" for stage, path in folder.items()}
    per_class = _there(folder["evaluate"] / "per_class.csv")
    return Result(
        run=run,
        metrics=_json(folder["evaluate"] / "metrics.json"),
        # a class may be called "NA" or "null": only the empty cell means undefined
        per_class=pd.read_csv(per_class, dtype={"class": str}, keep_default_na=False, na_values=[""]),
        quality=_json(folder["evaluate"] / "label_quality.json"),
        errors=_json_if_there(folder["evaluate"] / "errors.json"),
        intervals=_json_if_there(folder["evaluate"] / "intervals.json"),
        history=history,
        provenance={stage: _json(path) for stage, path in notes.items() if path.is_file()},
        counts=_json_if_there(folder["split"] / "split.json").get("counts", {}),
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(_there(path).read_text())
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}: not valid JSON ({error}); delete the folder and run its stage again") from None


def _json_if_there(path: Path) -> dict[str, Any]:
    """{} where results are of a version that did not write it."""
    return _json(path) if path.is_file() else {}


def _there(path: Path) -> Path:
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file; run `snakemake --cores all` or `dvc repro`, which make it")
    return path
