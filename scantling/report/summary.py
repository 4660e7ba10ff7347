"""The facts of a study as plain JSON types: what the page shows and summary.json keeps. Fractions 0..1, seconds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from scantling.commit import at_start
from scantling.report import errors, labels, learned, other_baselines
from scantling.report.ceiling import ceiling, closed
from scantling.report.classes import per_class
from scantling.report.intervals import plain_interval
from scantling.report.labels import QUALITY, mean
from scantling.report.results import ROLES, TRAININGS, Result
from scantling.report.study import StudyParams

HEADLINE = ("AP", "AP50")
TARGETS = ("objectness", "class", "box")


def summarize(
    study: StudyParams, results: Sequence[Result], preference: Sequence[str], confusion_classes: int = 12
) -> dict[str, Any]:
    """study, title
    baseline   in words, all there are; each group and run names its own, null if it has none
    commit     of the code that wrote this, null if unknown
    made_with  machines and versions
    measured   how the runs were evaluated
    groups     runs that are compared: means, paired gains
    runs, sharing
    """
    compared = groups(results)
    bases = {members[0].run.group: baseline_of(members, preference) for members in compared}
    return {
        "study": study.name,
        "title": study.title,
        "baseline": " or ".join([name for name in preference if name in bases.values()] or preference),
        "commit": at_start(),
        "made_with": _made_with(results),
        "measured": _measured(results),
        "groups": [
            _group(members, results, bases[members[0].run.group], confusion_classes)
            | {"other_baselines": other_baselines.compare(members, results, preference, bases[members[0].run.group])}
            for members in compared
        ],
        "runs": [_run(result, results, bases[result.run.group]) for result in results],
        "sharing": _sharing(results),
    }


def groups(results: Sequence[Result]) -> list[list[Result]]:
    """Results by data, split, detector and training, in the order of the study."""
    found: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        found.setdefault(result.run.group, []).append(result)
    return list(found.values())


def baseline_of(members: Sequence[Result], preference: Sequence[str]) -> str | None:
    """The method that gains of a group are counted from: the first of `preference` that the group has."""
    there = {result.run.method for result in members}
    return next((name for name in preference if name in there), None)


def methods(members: Sequence[Result], baseline: str | None) -> list[str]:
    """Method names of a group: the baseline first, the others in the order of the study."""
    names = dict.fromkeys(result.run.method for result in members)
    return sorted(names, key=lambda name: name != baseline)


def table(summary: dict[str, Any]) -> pd.DataFrame:
    """summary.csv: one row a run."""
    names = ("key", "data", "split", "fold", "detector", "training", "method", "seed", "baseline")
    rows = []
    for run in summary["runs"]:
        row = {name: run[name] for name in names}
        for role in ROLES:
            row |= {f"{role}_{name}": value for name, value in run[role].items()}
        for metric, numbers in run["more"].items():
            row |= {f"teacher_{metric}_{name}": value for name, value in numbers.items()}
        row |= {f"{role}_gain_{name}": run["gain"][role][name] for role in ROLES for name in HEADLINE}
        row |= {f"pseudo_{name}": value for name, value in run["pseudo"].items()}
        row |= {f"{stage}_steps": value for stage, value in run["steps"].items()}
        row |= {f"{stage}_seconds": value for stage, value in run["seconds"].items()}
        rows.append(row)
    return pd.DataFrame(rows)


def _measured(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The distinct ways in which the runs were evaluated; normally one, none if provenance is missing."""
    names = ("subset", "score_threshold", "nms_iou", "limit")
    found = []
    for result in results:
        params = result.provenance.get("evaluate", {}).get("params", {}).get("params")
        settings = {name: params[name] for name in names} if params else None
        if settings is not None and settings not in found:
            found.append(settings)
    return found


def _made_with(results: Sequence[Result]) -> list[str]:
    """Distinct commits, machines and versions that trained and measured the runs."""
    seen = set()
    for result in results:
        for provenance in result.provenance.values():
            versions = ", ".join(f"{name} {version}" for name, version in provenance.get("versions", {}).items())
            code = f"commit {provenance['commit']}, " if provenance.get("commit") else ""
            where = provenance.get("gpu") or provenance.get("device", "?")
            seen.add(f"{code}{where} on {provenance.get('machine', '?')}: {versions}")
    return sorted(seen)


def _group(
    members: Sequence[Result], results: Sequence[Result], baseline: str | None, confusion_classes: int
) -> dict[str, Any]:
    data, split, detector, training = members[0].run.group
    names = methods(members, baseline)
    top = ceiling(members, results, baseline)
    return {
        "data": data,
        "split": split,
        "detector": detector,
        "training": training,
        "baseline": baseline,
        "folds": sorted({result.run.fold for result in members}),
        "seeds": sorted({result.run.seed for result in members}),
        "images": _images(members),
        "ceiling": top,
        "methods": [_method(name, members, baseline, top) for name in names],
        "labels": labels.facts(members),
        "per_class": per_class(members, names, baseline),
        "errors": errors.facts(members, names, confusion_classes),
    }


def _images(members: Sequence[Result]) -> dict[str, float | None]:
    """Means over the splits of a group: images with and without labels, boxes kept and hidden; None if unknown."""
    splits = {result.run.split_key: result.counts for result in members}.values()
    return {name: mean(c.get(name) for c in splits) for name in ("labeled", "unlabeled", "kept", "hidden")}


def _method(name: str, members: Sequence[Result], baseline: str | None, top: dict[str, Any] | None) -> dict[str, Any]:
    own = [result for result in members if result.run.method == name]
    gains = [_gain(result, members, baseline) for result in own]
    reference = [result for result in members if result.run.method == baseline]
    steps = {result.total_steps for result in reference}
    gain = {role: {n: plain_interval(one[role][n] for one in gains) for n in HEADLINE} for role in ROLES}
    naive = {n: plain_interval(r.metrics["teacher"][n] for r in reference) for n in HEADLINE}
    return {
        "method": name,
        "runs": [result.run.key for result in own],
        **{role: {n: plain_interval(r.metrics[role][n] for r in own) for n in HEADLINE} for role in ROLES},
        "over_images": _over_images(own),
        "more": _more(own),
        "gain": gain,
        "closed": closed(gain["teacher"], naive, top),
        "steps": round(fmean(result.total_steps for result in own)),
        "rounds": max(len(result.rounds) for result in own),
        "equal_steps": not steps or {result.total_steps for result in own} == steps,
        "batch": own[0].batch,
        "precision": own[0].precision,
        "below_burn_in": sum(bool(labels.found(r.metrics, "burn_in", "below_burn_in")) for r in own),
        "seconds": mean(result.training_seconds for result in own),
        "targets": {target: _targets([r.quality["refined"][target]["all"] for r in own]) for target in TARGETS},
        "polished": labels.polished(own),
        "learned": learned.along(own),
        "ignore_share": mean(result.quality["refined"]["ignore_share"] for result in own),
    }


def _over_images(own: Sequence[Result]) -> dict[str, Any] | None:
    """Of a single run, of which nothing else is known: role -> AP, AP50 -> [low, high] over test images (bootstrap)."""
    if len(own) != 1:
        return None
    return {role: {name: labels.found(own[0].intervals, role, name) for name in HEADLINE} for role in ROLES}


def _more(own: Sequence[Result]) -> dict[str, Any]:
    """Means of `_others` over runs that all have them."""
    tables = [_others(result) for result in own]
    return {
        metric: {name: plain_interval(table[metric].get(name) for table in tables) for name in numbers}
        for metric, numbers in tables[0].items()
        if all(metric in table for table in tables)
    }


def _others(result: Result) -> dict[str, dict[str, float | None]]:
    """The averaged weights by other metrics, where they were computed: VOC's, LVIS', AP of groups of classes."""
    found = {metric: result.metrics[metric]["teacher"] for metric in ("voc", "lvis") if metric in result.metrics}
    for kind in ("groups", "imbalance"):
        groups: dict[str, Any] = result.metrics.get(kind) or {}
        found |= {kind: {name: of["teacher"]["AP"] for name, of in groups.items()}} if groups else {}
    return found


def _run(result: Result, results: Sequence[Result], baseline: str | None) -> dict[str, Any]:
    stages = ("burn_in", "pseudo_label", "polish", "retrain", "evaluate")
    at = labels.headline(result.quality)
    return {
        "key": result.run.key,
        **result.run.resolved(),
        "baseline": baseline,
        **{role: result.metrics[role] for role in ROLES},
        "more": _others(result),
        "over_images": labels.found(result.intervals, "teacher", "AP"),
        "gain": _gain(result, results, baseline),
        "pseudo": {"threshold": result.quality["headline_threshold"]}
        | {name: result.quality["pseudo"]["all"][name][at] for name in QUALITY},
        "steps": {stage: result.steps(stage) for stage in TRAININGS},
        "seconds": {stage: result.seconds(stage) for stage in stages},
    }


def _gain(result: Result, others: Sequence[Result], baseline: str | None) -> dict[str, dict[str, float | None]]:
    """Difference to the baseline of the same group, fold and seed: teacher to teacher (both are averaged weights) and
    student to student; None for the baseline itself and where there is no partner."""
    run = result.run
    partner = next(
        (
            other
            for other in others
            if other.run.method == baseline
            and other.run.group == run.group
            and (other.run.fold, other.run.seed) == (run.fold, run.seed)
        ),
        None,
    )
    if partner is None or run.method == baseline:
        return {role: dict.fromkeys(HEADLINE) for role in ROLES}
    return {role: {n: _minus(result.metrics[role][n], partner.metrics[role][n]) for n in HEADLINE} for role in ROLES}


def _sharing(results: Sequence[Result]) -> dict[str, Any]:
    """What the runs cost together, against each run doing its own burn-in and labelling."""
    own = {result.run.burn_in_key: result for result in results}
    retrain = sum(result.steps("retrain") for result in results)
    alone = retrain + sum(result.steps("burn_in") for result in results)
    shared = retrain + sum(result.steps("burn_in") for result in own.values())
    each = [result.seconds("burn_in", "pseudo_label") for result in results]
    labeled = {result.run.pseudo_key: result for result in results}
    once = [result.seconds("burn_in") for result in own.values()]
    once += [result.seconds("pseudo_label") for result in labeled.values()]
    rest = [result.seconds("polish", "retrain", "evaluate") for result in results]
    known = None not in each and None not in rest
    together = round(sum(filter(None, [*once, *rest])), 1) if known else None
    return {
        "runs": len(results),
        "burn_ins": len(own),
        "steps": shared,
        "steps_without_sharing": alone,
        "steps_saved": alone - shared,
        "seconds": together,
        "seconds_saved": None if None in each else round(sum(filter(None, each)) - sum(filter(None, once)), 1),
    }


def _targets(tables: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: mean(t[name] for t in tables) for name in QUALITY}


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
