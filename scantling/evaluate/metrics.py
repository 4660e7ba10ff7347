"""Which numbers a data set is measured by, and all of them for one model.

COCO's twelve are always there: they are the headline, and Objects365 is measured by the same. PASCAL VOC and LVIS add
the numbers of their own papers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from scantling.data.index import Index
from scantling.evaluate import coco, fast, lvis, tested, voc
from scantling.stage import BadInput

Metric = Literal["coco", "voc", "lvis"]
LARGE = 2_000_000  # detections; beyond, pycocotools takes minutes a model, 34 times as long (docs/results/speed.md)
VOC_CLASSES = frozenset(
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
    "sofa train tvmonitor".split()
)


@dataclass(frozen=True)
class Measured:
    """numbers    metric -> its numbers by name (fractions, None where undefined)
               coco: coco.NAMES; voc: AP_11_points (VOC07), AP_area (VOC10 and later); lvis: lvis.NAMES
    per_class  coco's columns, and for voc AP_11_points, AP_area; for lvis AP_lvis, frequency (r, c or f)
    """

    numbers: dict[Metric, dict[str, float | None]]
    per_class: pd.DataFrame


def chosen(index: Index, wanted: tuple[Literal["coco", "voc", "lvis", "auto"], ...]) -> tuple[Metric, ...]:
    """The metrics to compute, coco first. "auto" adds voc for VOC's 20 classes, and lvis for data that says which
    classes an image was searched for.

    Raises BadInput for lvis where the data does not say it.
    """
    federated = index.image_labels is not None and len(index.image_labels) > 0
    if "lvis" in wanted and not federated:
        raise BadInput(
            f"data set {index.name}: `metrics` names lvis, but the data does not say which classes its images were "
            "searched for; leave lvis out or read the data with `format: lvis`"
        )
    fit = {"voc": VOC_CLASSES == set(index.classes), "lvis": federated}
    return ("coco", *(name for name in ("voc", "lvis") if name in wanted or ("auto" in wanted and fit[name])))


def measure(index: Index, subset: str, detections: tested.Found, metrics: tuple[Metric, ...]) -> Measured:
    """Everything `metrics` asks of one model. detections: as in coco.evaluate."""
    engine = coco if len(detections) <= LARGE else fast  # the same numbers to the last bit
    base = engine.evaluate(index, subset, detections)
    numbers: dict[Metric, dict[str, float | None]] = {"coco": base.numbers}
    per_class = base.per_class
    if "voc" in metrics:
        tables = {
            f"AP_{rule}": voc.evaluate(index, subset, detections, rule=rule)["AP"] for rule in ("11_points", "area")
        }
        numbers["voc"] = {name: float(ap.mean()) if ap.notna().any() else None for name, ap in tables.items()}
        per_class = per_class.assign(**tables)
    if "lvis" in metrics:
        federated = lvis.evaluate(index, subset, detections)
        numbers["lvis"] = federated.numbers
        frequencies = index.facts.get("frequencies") or [""] * len(index.classes)
        per_class = per_class.assign(AP_lvis=federated.per_class["AP"], frequency=list(frequencies))
    return Measured(numbers, per_class)


def judgeable(index: Index, detections: pd.DataFrame, metrics: tuple[Metric, ...]) -> pd.DataFrame:
    """Those detections of some images of which the truth says whether they are mistakes: all, except for LVIS."""
    return lvis.judgeable(index, detections) if "lvis" in metrics else detections
