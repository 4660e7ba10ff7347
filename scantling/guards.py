"""Whether a teacher's boxes can teach anything: their number against the labels', and the threshold that would fit.

Nothing passes, or far too much: the complaint that pseudo-label methods draw most, and it is silent. These guards say
it, with the scores that there are and the threshold at which unlabeled images have as many boxes as labeled ones. They
change no result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from scantling import distributed, log
from scantling.params import Params

BINS = 100  # of a score 0..1
SHOWN = (0.1, 0.3, 0.5, 0.7, 0.9)  # scores that a message tells the boxes above of
LOWEST = 0.05  # below it no threshold is proposed: the usual floor of detections
RAMP = " .:-=+*#%@"  # tenths of the fullest tenth of the scores, nothing to full


class GuardParams(Params):
    """All ours: nothing of it is published."""

    window_steps: int = Field(100, gt=0, description="steps between two looks at the mean of these steps; ours")
    too_few: float = Field(0.01, ge=0, description="pseudo boxes an image; below it nothing passes; ours")
    too_many: float = Field(3.0, gt=0, description="times the boxes of a labeled image; above it too much passes; ours")
    too_wrong: float = Field(0.6, ge=0, le=1, description="share of right labels, as val tells; warned of below; ours")
    enough: int = Field(20, gt=0, description="boxes on val that such an expectation needs; ours")


class Scores:
    """Counts of the scores of candidates, before any threshold of use; on their device, so nothing waits."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.images, self.counts = 0, torch.zeros(BINS)

    def add(self, scores: Tensor, images: int) -> None:
        """Take in scores (N,) 0..1 of all candidates of `images` images."""
        fresh = torch.histc(scores.detach().float(), BINS, 0.0, 1.0)
        self.counts, self.images = self.counts.to(fresh.device) + fresh, self.images + images


@dataclass(frozen=True)
class Finding:
    """boxes, labeled: boxes an image, of the machine and of labeled images; above (BINS,): candidates an image that
    score the bin's lower end or more; verdict: "nothing", "too much" or "fine"; complete: whether labeled images have
    all of their boxes; suggested: the score that would leave `labeled` boxes an image, None if even all candidates are
    fewer. With incomplete labels the score that half of the labeled boxes have, None where it is not known."""

    boxes: float
    labeled: float
    above: np.ndarray
    suggested: float | None
    verdict: str
    complete: bool = True

    def sentence(self, where: str, threshold: str) -> str:
        """For a person: what passes, what there is, what to set. threshold: the name of the parameter."""
        what = {"nothing": "almost none passes", "too much": "too much passes", "fine": "as it should be"}
        above = ", ".join(f"{s:g}: {self.above[round(s * BINS)]:.2f}" for s in SHOWN)
        text = (
            f"pseudo labels {where}: {self.boxes:.3f} boxes/image, {what[self.verdict]} (labeled images have "
            f"{self.labeled:.2f}). Found boxes/image scoring at least {above}; scores 0..1 [{self.picture()}]. "
        )
        if not self.complete:
            return text + self._incomplete(threshold)
        if self.suggested is not None and self.suggested < LOWEST:
            return text + "What is found is not sure enough to be a label: train the teacher longer"
        if self.suggested is None:
            return text + "Even all that is found is less than labeled images have: train the teacher longer"
        return text + f"`{threshold}: {self.suggested:.2f}` would leave as many as labeled images have"

    def _incomplete(self, threshold: str) -> str:
        if self.suggested is None:
            return "How sure the teacher is of labeled boxes is in aids.json of polish, under `guard`"
        if self.suggested < LOWEST:
            return "Half of the labeled boxes score next to nothing: train the teacher longer"
        text = f"Half of the labeled boxes score {self.suggested:.2f} or more: "
        if threshold.endswith("quantile"):  # a share of these very scores decides
            return text + f"lower `{threshold}`, or train the teacher longer"
        return text + f"`{threshold}: {self.suggested:.2f}` would take what is as sure"

    def picture(self) -> str:
        """The candidates in each tenth of the scores, one character a tenth."""
        tenths = np.append(self.above, 0.0)[:: BINS // 10]
        inside = tenths[:-1] - tenths[1:]
        levels = np.ceil(inside / max(inside.max(), 1e-12) * (len(RAMP) - 1) - 1e-9)
        return "".join(RAMP[max(int(level), 0)] for level in levels)

    def facts(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        return {
            "verdict": self.verdict,
            "boxes_per_image": round(self.boxes, 4),
            "labeled_boxes_per_image": round(self.labeled, 4),
            "suggested_score": self.suggested,
            "found_per_image_from_score": {f"{s:g}": round(float(self.above[round(s * BINS)]), 4) for s in SHOWN},
        }


def judge(
    boxes: float,
    labeled: float,
    counts: np.ndarray,
    images: int,
    params: GuardParams,
    *,
    complete: bool,
    on_labels: float | None = None,
) -> Finding:
    """boxes, labeled: an image; counts (BINS,) of the candidates' scores in `images` images.

    complete: whether labeled images have all of their boxes; else too many cannot be told, and nothing follows from
    their number, only from `on_labels`, the score that half of them have.
    """
    above = np.cumsum(counts[::-1])[::-1] / max(images, 1)
    enough = np.flatnonzero(above >= labeled)
    suggested = on_labels
    if complete:
        suggested = float(enough[-1]) / BINS if len(enough) and labeled > 0 else None
    verdict = "fine"
    if boxes < params.too_few:
        verdict = "nothing"
    elif complete and boxes > params.too_many * labeled:
        verdict = "too much"
    return Finding(boxes, labeled, above, suggested, verdict, complete)


class Guard:
    """Looks at a training every `window_steps`; of bad windows it tells the 1st, 2nd, 4th, 8th ..."""

    def __init__(self, method: Any, labeled: float, device: str):
        self.method, self.labeled, self.device = method, labeled, device
        self.params: GuardParams = method.params.guards
        self.told = {"nothing": 0, "too much": 0}
        self._begin()

    def _begin(self) -> None:
        self.steps, self.boxes = 0, 0.0
        self.method.scores.clear()

    def see(self, done: int, logged: dict[str, float], last: bool) -> None:
        """Note step number `done`; all processes call this."""
        if "pseudo_boxes" in logged:
            self.steps, self.boxes = self.steps + 1, self.boxes + logged["pseudo_boxes"]
        if done % self.params.window_steps and not last:
            return
        scores = self.method.scores
        own = torch.cat([torch.tensor([float(self.steps), self.boxes, scores.images]), scores.counts.cpu()])
        steps, boxes, images, *counts = distributed.total(own.to(self.device)).tolist()
        self._begin()
        if not steps:
            return
        complete = not self.method.mines_labeled
        found = judge(boxes / steps, self.labeled, np.array(counts), round(images), self.params, complete=complete)
        if found.verdict == "fine":
            return
        self.told[found.verdict] += 1
        count = self.told[found.verdict]
        if count & (count - 1) == 0:
            log.warn(found.sentence(f"up to step {done}", self.method.threshold))


def of_table(
    pseudo: pd.DataFrame,
    refined: pd.DataFrame,
    split: pd.DataFrame,
    params: GuardParams,
    *,
    mines_labeled: bool,
    on_labels: float | None = None,
) -> Finding | None:
    """The finding on a whole table of refined labels; None without an image that could have any.

    on_labels: the score that half of the labeled boxes have, for labels that miss boxes.
    Of methods that mine labeled images these are looked at, else the unlabeled ones; corrected images are left out.
    """
    labeled = split[split["labeled"]]
    wanted = set(split.loc[split["labeled"] == mines_labeled, "image_id"])
    wanted -= set(refined.loc[refined["source"] == "corrected", "image_id"])
    if not wanted:
        return None
    scores = pseudo.loc[pseudo["image_id"].isin(wanted), "score"].to_numpy(np.float32)
    passes = refined["for_class"] | refined["for_objectness"]  # a method may learn places alone
    used = int((refined["image_id"].isin(wanted) & passes).sum())
    density = int((labeled["box_id"] >= 0).sum()) / max(labeled["image_id"].nunique(), 1)
    counts = np.histogram(scores, BINS, (0.0, 1.0))[0]
    complete = not mines_labeled
    return judge(used / len(wanted), density, counts, len(wanted), params, complete=complete, on_labels=on_labels)
