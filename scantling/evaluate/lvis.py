"""Average precision as LVIS defines it (Gupta et al. 2019, section 3), computed by pycocotools.

A detection counts only in images that are known to hold its class or known not to; where a class is not boxed
exhaustively, detections that match nothing are ignored. At most 300 detections an image.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from scantling.data.index import Index
from scantling.evaluate import accumulation, coco, tested
from scantling.evaluate.coco import Evaluation, Result

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR300")
GROUPS = {"r": "APr", "c": "APc", "f": "APf"}  # frequency of a class in the training set: rare, common, frequent
LIMIT = 300


class _Federated(Evaluation):
    """COCOeval in which unmatched detections of a not exhaustively boxed class of an image are ignored."""

    open_pairs: set[tuple[int, int]]  # (image id, category id)

    def evaluateImg(self, imgId: int, catId: int, aRng: list[float], maxDet: int):
        found = super().evaluateImg(imgId, catId, aRng, maxDet)
        if found is not None and (imgId, catId) in self.open_pairs:
            found["dtIgnore"] = np.logical_or(found["dtIgnore"], found["dtMatches"] == 0)
        return found


def evaluate(index: Index, subset: str, detections: tested.Found) -> Result:
    """Numbers by name (NAMES) and per class as in `coco.evaluate`, with the federated rules.

    index.image_labels says which classes are absent or not exhaustive in an image; index.facts["frequencies"] (r, c or
    f per class) makes APr, APc and APf, None without it.
    """
    assert index.image_labels is not None, "evaluation needs the truth"
    tested.check(index, subset, detections)

    def made(part: Index, rows: pd.DataFrame) -> _Federated:
        images, classes = part.images["image_id"].to_numpy(), len(index.classes)
        open_ = part.image_labels[part.image_labels["kind"] == "not_exhaustive"]
        truth = coco.truth_of(images, classes, part.boxes)
        run = _Federated(truth, coco.found_of(images, classes, judgeable(part, rows)), coco.ignored_of(part.boxes))
        run.open_pairs = set(zip(open_["image_id"].tolist(), (open_["label"] + 1).tolist(), strict=True))
        run.params.maxDets = [LIMIT]
        return run

    run = accumulation.run(index, subset, detections, made)
    per_class = coco.per_class(index, tested.boxes_of(index, subset), run)
    return Result(_numbers(run, per_class, index.facts.get("frequencies") or []), per_class)


def judgeable(index: Index, detections: pd.DataFrame) -> pd.DataFrame:
    """The detections of classes that their image has, or verifiably has not; the best 300 an image before that."""
    assert index.boxes is not None and index.image_labels is not None, "evaluation needs the truth"
    order = detections.sort_values("score", ascending=False, kind="stable")
    best = order[order.groupby("image_id").cumcount() < LIMIT].sort_index()
    absent = index.image_labels[index.image_labels["kind"] == "negative"]
    known = pd.concat([index.boxes[["image_id", "label"]], absent[["image_id", "label"]]])
    pairs = pd.MultiIndex.from_frame(known[known["image_id"].isin(best["image_id"])].drop_duplicates())
    return best[pd.MultiIndex.from_frame(best[["image_id", "label"]]).isin(pairs)]


def _numbers(run: Evaluation, per_class: pd.DataFrame, frequencies: list[str]) -> dict[str, float | None]:
    precision, recall = run.eval["precision"][..., -1], run.eval["recall"][..., -1]  # [T, R, K, A] and [T, K, A]
    values = {
        "AP": precision[..., 0],
        "AP50": precision[0, ..., 0],
        "AP75": precision[5, ..., 0],
        "APs": precision[..., 1],
        "APm": precision[..., 2],
        "APl": precision[..., 3],
        "AR300": recall[..., 0],
    }
    groups = np.array(frequencies)
    for group, name in GROUPS.items():
        values[name] = precision[:, :, groups == group, 0] if len(groups) else np.zeros(0)
    means = {name: coco.mean(values[name]) for name in NAMES}
    return {name: None if np.isnan(value) else value for name, value in means.items()}
