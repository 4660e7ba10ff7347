"""What the machine's labels were worth, as facts of a comparison: means over folds and seeds.

label_quality.json may be of an older or newer kind: what it does not have is None or empty here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any

from scantling.report.results import Result

QUALITY = ("precision", "recall", "boxes_per_image", "mean_iou")
Quality = dict[str, Any]


def labelings(members: Sequence[Result]) -> list[Result]:
    """One result for each set of pseudo labels of the burn-in teachers: the methods of a fold and seed share one.
    Later rounds have labels of their own, and foreign teachers; these count only where nothing else is there."""
    first = [result for result in members if result.run.after is None] or list(members)
    first = [result for result in first if result.run.teacher is None] or first
    return list({result.run.pseudo_key: result for result in reversed(first)}.values())[::-1]


def source(sets: Sequence[Quality]) -> str | None:
    """What tells how good the labels are: "hidden", the truth that the split hid; without any "estimate", the same
    teacher's labels on held-out labeled images; None: nothing does."""
    if any(one["images"] for one in sets):
        return "hidden"
    return "estimate" if all("classes" in (one.get("estimate") or {}) for one in sets) else None


def judged(quality: Quality, by: str | None) -> dict[str, Any]:
    """The numbers of labels by `source`; where nothing tells, those of no label at all."""
    return quality["estimate"] if by == "estimate" else quality["pseudo"]


def headline(quality: Quality) -> int:
    """Place of the headline threshold in the grid."""
    return quality["thresholds"].index(quality["headline_threshold"])


def facts(members: Sequence[Result]) -> dict[str, Any]:
    """threshold, images, hidden (with known truth), unknown (images without); source; and by that at the threshold
    all, classes, sizes   hidden (true boxes, those of the held-out images for an estimate), precision, recall,
                          boxes_per_image, mean_iou
    and, where known, for `all` and classes: suggested (threshold of the best F1), density (threshold at which there are
    as many boxes an image as people drew), calibration_error; estimate (what held-out images say); rounds
    """
    sets = [one.quality for one in labelings(members)]
    first, by = sets[0], source(sets)
    tables = [judged(one, by) for one in sets]
    return {
        "threshold": first["headline_threshold"],
        "images": mean(one["images"] for one in sets),
        "hidden": mean(one["hidden"] for one in sets),
        "unknown": mean(one.get("images_without_truth") for one in sets),
        "source": by,
        "all": _at(sets, by, lambda found: found["all"]) | _thresholds(sets, by, ("all",)),
        "classes": {
            c: _at(sets, by, lambda found, c=c: found["classes"][c]) | _thresholds(sets, by, ("classes", c))
            for c in first["classes"]
        },
        "sizes": {
            size: _at(sets, by, lambda found, size=size: found["sizes"][size])
            for size in tables[0].get("sizes", {})
            if all(size in table.get("sizes", {}) for table in tables)
        },
        "estimate": _estimate(sets),
        "rounds": _rounds(members),
    }


def _at(sets: Sequence[Quality], by: str | None, part: Callable[[Any], Any]) -> dict[str, Any]:
    tables = [(part(judged(one, by)), headline(one)) for one in sets]
    return {"hidden": mean(t["hidden"] for t, _ in tables)} | {
        name: mean(t[name][at] for t, at in tables) for name in QUALITY
    }


def _thresholds(sets: Sequence[Quality], by: str | None, where: tuple[str, ...]) -> dict[str, Any]:
    tables = [judged(one, by) for one in sets]
    return {
        "suggested": mean(found(table, "suggested", *where, "threshold") for table in tables),
        "density": mean(found(one, "density", *where, "threshold") for one in sets),
        "calibration_error": mean(found(table, "calibration", *where, "error") for table in tables),
    }


def _estimate(sets: Sequence[Quality]) -> dict[str, Any] | None:
    """What labeled images that no training saw say of the labels at the headline threshold."""
    known = [(one["estimate"], headline(one)) for one in sets if one.get("estimate")]
    if not known:
        return None
    return {
        "subset": known[0][0].get("subset"),
        "images": mean(one.get("images") for one, _ in known),
        **{name: mean(one["all"][name][at] for one, at in known) for name in ("precision", "recall")},
    }


def _rounds(members: Sequence[Result]) -> list[dict[str, Any]]:
    """The labels that later rounds learned from, one entry a method: quality, and the change to the round before."""
    later: dict[str, list[Quality]] = {}
    for result in members:
        if result.run.after is not None:
            later.setdefault(result.run.method, []).append(result.quality)
    return [
        {
            "method": method,
            **_at(sets, source(sets), lambda found: found["all"]),
            "changes": {
                name: mean(found(one, "changes", "all", name) for one in sets)
                for name in ("before", "now", "same", "moved", "relabeled", "added", "removed")
            },
            "added_precision": mean(found(one, "changes", "precision", "added") for one in sets),
            "removed_precision": mean(found(one, "changes", "precision", "removed") for one in sets),
        }
        for method, sets in later.items()
    ]


def polished(members: Sequence[Result]) -> dict[str, Any] | None:
    """What polishing changed in the labels that were learned from: moved and relabeled (share of the boxes), mean_iou
    and class_precision on hidden objects, each {before, after}. None where that was not measured, or there was none."""
    known = [one for r in members if (one := found(r.quality, "refined", "polishing")) and one["boxes"]]
    if not known:
        return None
    return {name: mean(one[name] / one["boxes"] for one in known) for name in ("moved", "relabeled")} | {
        name: {side: mean(one["all"][name][side] for one in known) for side in ("before", "after")}
        for name in ("mean_iou", "class_precision")
    }


def found(tree: Any, *path: str) -> Any:
    """tree[path[0]][path[1]]..., None where a step is missing."""
    for name in path:
        if not isinstance(tree, dict) or name not in tree:
            return None
        tree = tree[name]
    return tree


def mean(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return fmean(known) if known else None
