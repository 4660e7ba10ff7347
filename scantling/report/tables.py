"""tables.md: the numbers of a study as Markdown, for a document or a question under a result. From summary.json alone.

AP in points. An interval stands in brackets: 95 %, Student's t, of the mean over runs, or of the mean paired
difference. Two numbers are given as "low to high"; one number stands alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from scantling.report import learned
from scantling.report.words import MINUS, THIN, among, points, signed, verdict

Row = Sequence[str]
NOTE = """AP and AP50 in points (COCO), averaged weights. In brackets: 95 % interval of the mean over the runs (t),
for a gain that of the mean difference of pairs with the same fold and seed; of two runs the two values, of one nothing.
Steps and seconds are those of burn-in and retraining together, in all rounds where there are several; images a step
are the labeled + unlabeled ones of the recipe (a method that learns from labels alone leaves the second out)."""


def markdown(summary: dict[str, Any], class_rows: int) -> str:
    """The file as text; at most `class_rows` rows in a table of classes, those with most test boxes."""
    parts = [f"# {_cell(summary['title'])}", _origin(summary), NOTE]
    for group in summary["groups"]:
        runs = [run for run in summary["runs"] if _belongs(run, group)]
        parts += [
            f"## {group['data']}, {group['split']} ({group['detector']}, {group['training']})",
            _ascii("\n".join(f"- {verdict(m, group['baseline'])[1]}" for m in _others(group))),
            _methods(group),
            _closed(group),
            *(_other_training(other, group) for other in group["other_baselines"]),
            "Each fold and seed, AP / AP50:",
            _folds(group, runs),
            "AP of each class, mean over runs, with the gain:",
            _classes(group, class_rows),
            _labels(group),
            _learned(group),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _origin(summary: dict[str, Any]) -> str:
    """What the numbers are of: study, runs, commit, machine, test images."""
    lines = [
        f"Study `{summary['study']}`, {len(summary['runs'])} runs, written by the report stage: change no number here."
    ]
    if summary["commit"]:
        lines.append(f"Report made at commit {summary['commit']}.")
    lines += [f"Made with {made}." for made in summary["made_with"]]
    lines += [
        f"Measured on subset `{how['subset']}`: at most {how['limit']} detections an image with a score above "
        f"{how['score_threshold']}."
        for how in summary["measured"]
    ]
    return "\n".join([*lines, *_shared(summary["sharing"])])


def _shared(sharing: dict[str, Any]) -> list[str]:
    """What computing each burn-in and labeling once saved."""
    if not sharing["steps_saved"]:
        return []
    text = (
        f"{sharing['runs']} runs share {sharing['burn_ins']} burn-ins: {sharing['steps']} training steps instead of "
        f"{sharing['steps_without_sharing']}"
    )
    if sharing["seconds"] is None:
        return [f"{text}."]
    alone = sharing["seconds"] + sharing["seconds_saved"]
    return [f"{text}, {_seconds(sharing['seconds'])} s of all stages together instead of {_seconds(alone)} s."]


def _methods(group: dict[str, Any]) -> str:
    head = ("method", "AP", "AP50", "gain AP", "gain AP50", "runs", "steps", "images a step", "seconds a run")
    rows = []
    for m in group["methods"]:
        gain = m["gain"]["teacher"]
        rows.append(
            (
                f"`{m['method']}`",
                *(_interval(m["teacher"][name], points) for name in ("AP", "AP50")),
                *(_interval(gain[name], signed) for name in ("AP", "AP50")),
                str(len(m["runs"])),
                str(m["steps"]),
                _batch(m["batch"]),
                _seconds(m["seconds"]),
            )
        )
    over = f"gains over `{group['baseline']}`" if group["baseline"] else "no baseline to count gains from"
    where = f"Folds {_list(group['folds'])}, seeds {_list(group['seeds'])}{_images(group)}; {over}:"
    return f"{where}\n\n{_table(head, rows)}"


def _images(group: dict[str, Any]) -> str:
    """What there is to learn from, mean over the folds, and in which numbers."""
    found, parts = group["images"], []
    if None not in found.values():
        count = {name: f"{number:.0f}" for name, number in found.items()}
        parts.append(f"{count['labeled']} images labeled and {count['unlabeled']} not")
        parts.append(f"{count['kept']} boxes kept and {count['hidden']} hidden")
    return "".join(f"; {part}" for part in [*parts, *sorted({m["precision"] for m in group["methods"]} - {None})])


def _closed(group: dict[str, Any]) -> str:
    """The share of the gap to all labels, where that was trained."""
    top = group["ceiling"]
    if top is None:
        return ""
    naive = group["methods"][0]["teacher"]
    text = (
        f"With all labels `{top['method']}` has {_interval(top['AP'], points)} AP and {_interval(top['AP50'], points)} "
        f"AP50 ({len(top['runs'])} runs of as many steps), `{group['baseline']}` without the hidden ones "
        f"{_number(naive['AP'], points)} and {_number(naive['AP50'], points)}. "
    )
    if top["AP"] is None or naive["AP"] is None:  # no test image has a box
        return text.strip()
    if top["AP"]["mean"] <= naive["AP"]["mean"]:
        return f"{text}There is no gap to close: so short a training is not limited by its labels."
    text += "Share of this gap that is closed (gain over gap; the interval is the gain's, the gap taken as it is):"
    rows = [
        (f"`{m['method']}`", *(_interval(m["closed"][name], _share) for name in ("AP", "AP50"))) for m in _others(group)
    ]
    return f"{text}\n\n{_table(('method', 'of AP', 'of AP50'), rows)}"


def _other_training(other: dict[str, Any], group: dict[str, Any]) -> str:
    """Gains over a baseline that was trained otherwise, with the seconds of both."""
    seconds = {m["method"]: m["seconds"] for m in group["methods"]}
    scores = " and ".join(f"{_interval(other[name], points)} {name}" for name in ("AP", "AP50"))
    spent = f"{other['steps']} steps, {_seconds(other['seconds'])} s a run, {len(other['runs'])} runs"
    text = f"`{other['method']}` trained as `{other['training']}` ({spent}) has {scores}. Gains over it:"
    rows = [
        (f"`{name}`", _seconds(seconds[name]), *(_interval(gain[metric], signed) for metric in ("AP", "AP50")))
        for name, gain in other["gain"].items()
    ]
    return f"{text}\n\n{_table(('method', 'seconds a run', 'gain AP', 'gain AP50'), rows)}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _labels(group: dict[str, Any]) -> str:
    """The labels of polish that a loss learns from, against the hidden truth."""
    head = (
        "method",
        "for the class: an image",
        "precision",
        "recall",
        "IoU",
        "for the box: an image",
        "precision",
        "IoU",
    )
    rows = []
    for m in group["methods"]:
        sides = [m["targets"]["class"], m["targets"]["box"]]
        if any(side["boxes_per_image"] for side in sides):
            cells = [_fraction(sides[0][name]) for name in ("boxes_per_image", "precision", "recall", "mean_iou")]
            cells += [_fraction(sides[1][name]) for name in ("boxes_per_image", "precision", "mean_iou")]
            rows.append((f"`{m['method']}`", *cells, *_polished(m["polished"])))
    if not rows:
        return ""
    text = (
        "Labels in polish's table that the losses of class and box learn from, against the boxes that the split hid "
        "(right from IoU 0.5 on); a method that labels while it trains would take these. On hidden objects: mean IoU "
        "and share of right classes before polishing > after it:"
    )
    return f"{text}\n\n{_table((*head, 'IoU, polished', 'class, polished'), rows)}"


def _learned(group: dict[str, Any]) -> str:
    """The labels that methods found while they trained, at the beginning, in the middle and at the end."""
    rows, when = [], ""
    for m in group["methods"]:
        if found := m.get("learned"):
            places = sorted({0, (len(found["steps"]) - 1) // 2, len(found["steps"]) - 1})
            cells = [" / ".join(_fraction(found[n][k]) for n in learned.NUMBERS) for k in places]
            rows.append((f"`{m['method']}`", *cells))
            when = when or ", ".join(str(found["steps"][k]) for k in places)
    if not rows:
        return ""
    text = (
        "Labels that a training found and learned from, boxes a view / precision / recall of the hidden boxes that the "
        "view shows (right from IoU 0.5 on) / share of the boxes that show no more than a part of an object, in a "
        f"stretch of steps that ends at step {when} of retraining:"
    )
    head = ("method", "first stretch", "in the middle", "last stretch")[: len(rows[0])]
    return f"{text}\n\n{_table(head, rows)}"


def _polished(found: dict[str, Any] | None) -> tuple[str, str]:
    if found is None or not (found["moved"] or found["relabeled"]):
        return "-", "-"
    before, after = ([found[name][side] for name in ("mean_iou", "class_precision")] for side in ("before", "after"))
    iou, right = (f"{_fraction(old)} > {_fraction(new)}" for old, new in zip(before, after, strict=True))
    return iou, right


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _folds(group: dict[str, Any], runs: Sequence[dict[str, Any]]) -> str:
    names = [m["method"] for m in group["methods"]]
    found = {(run["fold"], run["seed"], run["method"]): run for run in runs}
    others = [m["method"] for m in _others(group)]
    head = ("fold", "seed", *(f"`{name}`" for name in names), *(f"gain `{name}`" for name in others))
    rows = []
    for fold, seed in sorted({(run["fold"], run["seed"]) for run in runs}):
        here = {name: found.get((fold, seed, name)) for name in names}
        scores = (_pair(run["teacher"] if run else None, points) for run in here.values())
        gains = (_pair(here[name]["gain"]["teacher"] if here[name] else None, signed) for name in others)  # type: ignore[index]
        rows.append((str(fold), str(seed), *scores, *gains))
    return _table(head, rows)


def _classes(group: dict[str, Any], most: int) -> str:
    rows = sorted(group["per_class"], key=lambda row: -row["boxes"])
    names, others = [m["method"] for m in group["methods"]], [m["method"] for m in _others(group)]
    head = ("class", "test boxes", *(f"`{name}`" for name in names), *(f"gain `{name}`" for name in others))
    table = _table(
        head,
        [
            (
                _cell(row["class"]),
                str(row["boxes"]),
                *(_ascii(points(row["AP"][name])) for name in names),
                *(_interval(row["gain"][name], signed) for name in others),
            )
            for row in rows[:most]
        ],
    )
    return table if len(rows) <= most else f"{table}\n\n{most} of {len(rows)} classes; `summary.json` has all."


def _table(head: Row, rows: Iterable[Row]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _interval(found: dict[str, Any] | None, write: Any) -> str:
    if found is None or found["kind"] == "one":
        return _number(found, write)
    low, high = write(found["low"]), write(found["high"])
    around = f"({low} to {high})" if found["kind"] == "range" else f"[{low}, {high}]"
    return _ascii(f"{write(found['mean'])} {around}")


def _number(found: dict[str, Any] | None, write: Any) -> str:
    return "-" if found is None else _ascii(write(found["mean"]))


def _pair(numbers: dict[str, Any] | None, write: Any) -> str:
    if numbers is None or numbers["AP"] is None:
        return "-"
    return _ascii(f"{write(numbers['AP'])} / {write(numbers['AP50'])}")


def _share(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"


def _batch(batch: dict[str, int] | None) -> str:
    return "-" if batch is None else f"{batch['labeled']} + {batch['unlabeled']}"


def _others(group: dict[str, Any]) -> list[dict[str, Any]]:
    return [m for m in group["methods"] if m["method"] != group["baseline"]]


def _belongs(run: dict[str, Any], group: dict[str, Any]) -> bool:
    return all(run[name] == group[name] for name in ("data", "split", "detector", "training"))


def _list(values: Sequence[int]) -> str:
    return among([str(value) for value in values])


def _cell(text: str) -> str:
    """A name from the data as a cell: nothing in it may end the cell or begin an element of HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _ascii(text: str) -> str:
    return text.replace(MINUS, "-").replace(THIN, " ").replace("\u2013", "-")
