"""Every split protocol by name, and the split that one of them makes of an index."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scantling import log
from scantling.data import external, imbalanced, nested, semi, sparse, split, stratified
from scantling.data.choice import Choice, ProtocolParams, Truth, mask
from scantling.data.index import XYXY, Index
from scantling.params import ParamsError, check, read
from scantling.stage import BadInput

NAMED = 10  # classes that a message names


class Protocol(NamedTuple):
    params: type[ProtocolParams]
    choose: Any  # (Truth, params, fold) -> Choice


PROTOCOLS: dict[str, Protocol] = {
    "percent": Protocol(semi.PercentParams, semi.percent),
    "list": Protocol(semi.ListParams, semi.listed),
    "stratified": Protocol(stratified.StratifiedParams, stratified.choose),
    "full": Protocol(semi.FullParams, semi.full),
    "imbalanced": Protocol(imbalanced.ImbalancedParams, imbalanced.choose),
    "transfer": Protocol(imbalanced.TransferParams, imbalanced.transfer),
    "drop_dataset": Protocol(sparse.DropParams, sparse.choose),
    "drop_category": Protocol(sparse.DropParams, sparse.choose),
    "drop_image_category": Protocol(sparse.DropParams, sparse.choose),
    "missing_50p": Protocol(sparse.Missing50Params, sparse.choose),
    "easy": Protocol(sparse.EasyHardParams, sparse.choose),
    "hard": Protocol(sparse.EasyHardParams, sparse.choose),
    "extreme": Protocol(sparse.ExtremeParams, sparse.choose),
    "keep1": Protocol(sparse.Keep1Params, sparse.choose),
    "external": Protocol(external.ExternalParams, external.choose),
    "combined": Protocol(nested.NestedParams, nested.choose),
}
SPARSE = [name for name, protocol in PROTOCOLS.items() if protocol.choose is sparse.choose]


class SplitParams(ProtocolParams):
    """What a file in params/splits/ says; loading gives the parameters of the protocol it names."""

    @classmethod
    def load(cls, spec: str | Path) -> Any:
        content = read(spec)
        if content.get("protocol") == "combined":  # each section by its own protocol, so that messages name its keys
            for part, known in (("images", nested.WHOLE), ("boxes", SPARSE)):
                if not isinstance(given := content.get(part, {}), dict):
                    raise ParamsError(f"{spec}: `{part}` = {given!r}: expected a section with a `protocol`")
                content[part] = _typed(given, f"{spec}: `{part}`", known)
        return _typed(content, spec, PROTOCOLS)


def _typed(content: dict[str, Any], where: str | Path, known: Iterable[str]) -> Any:
    if "protocol" not in content:
        raise ParamsError(f"{where}: parameter `protocol` is missing; add one of {', '.join(known)}")
    name = str(content["protocol"])
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        remedy = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
        raise ParamsError(f"{where}: `protocol` = {name!r} is unknown; {remedy}")
    return check(PROTOCOLS[name].params, content, where)


def make(index: Index, params: Any, fold: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The split table and the facts for split.json. `fold` (>= 0) is the seed of the draw.

    Both are the same for every order of the rows of the index, unless the protocol itself goes by the order of the
    file (percent with `order: file`, keep1 with `select: first`, as published).
    """
    if fold < 0:
        raise BadInput(f"--fold {fold}: must not be negative; give 0, 1, 2, ...")
    return of(Truth.of(index, difficult=params.voc_difficult == "keep"), params, fold)


def of(truth: Truth, params: Any, fold: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """As make; for many splits of one index, which then is sorted and hashed once."""
    choice = PROTOCOLS[params.protocol].choose(truth, params, fold)
    rows = _rows(truth, choice)
    facts = _facts(truth, choice, params, fold)
    present = np.bincount(truth.label[truth.of_train], minlength=len(truth.index.classes))
    _refuse(truth.index.name, params, facts, present)
    return rows, {**facts, "source_sha256": truth.sha256, "sha256": split.content_hash(rows)}


def _rows(truth: Truth, choice: Choice) -> pd.DataFrame:
    """The table of a split, by ascending image and box id."""
    boxes = truth.index.boxes
    assert boxes is not None
    kept, at = truth.row[choice.visible], truth.at[choice.visible]
    bare = ~mask(truth.images, choice.left_out)
    bare[at] = False
    at = np.concatenate([at, np.flatnonzero(bare)])
    order = np.argsort(at, kind="stable")
    fill = {"box_id": -1, "label": -1, **dict.fromkeys(XYXY, np.nan)}
    columns: dict[str, np.ndarray] = {"image_id": truth.images[at[order]]}
    columns["labeled"] = mask(truth.images, choice.labeled)[at[order]]
    for name, missing in fill.items():
        values = boxes[name].to_numpy()[kept]
        columns[name] = np.concatenate([values, np.full(bare.sum(), missing, values.dtype)])[order]
    return pd.DataFrame(columns, copy=False).astype(split.SPLIT_COLUMNS)


def _facts(truth: Truth, choice: Choice, params: Any, fold: int) -> dict[str, Any]:
    index, seen = truth.index, choice.visible
    classes = len(index.classes)
    total, kept = (np.bincount(labels, minlength=classes) for labels in (truth.label, truth.label[seen]))
    pairs = pd.unique(truth.at[seen].astype(np.int64) * classes + truth.label[seen])
    of_images = np.bincount(pairs % classes if classes else pairs, minlength=classes)
    labeled, keeps, has = mask(truth.images, choice.labeled), *(np.zeros(len(truth.images), dtype=bool) for _ in "kh")
    keeps[truth.at[seen]], has[truth.at] = True, True
    images, known = len(truth.images) - len(choice.left_out), index.image_labels
    extra = dict(choice.facts)
    return {
        "data": index.name,
        "protocol": params.protocol,
        "params": params.resolved(),
        "fold": fold,
        "seed": extra.pop("seed", fold),
        # whether every object of a labeled image has its box: False means that background may hold hidden objects.
        # Never so where the data say of single images which classes were looked for (LVIS)
        "complete": bool(choice.complete and (known is None or not known.image_id.isin(choice.labeled).any())),
        "classes": list(index.classes),
        "counts": {
            "images": images,
            "labeled": len(choice.labeled),
            "unlabeled": images - len(choice.labeled),
            "kept": int(kept.sum()),
            "hidden": int(total.sum() - kept.sum()),
            "empty": int((labeled & ~keeps).sum()),  # labeled images that keep no box, and those of them that have some
            "emptied": int((labeled & ~keeps & has).sum()),
            "left_out": len(choice.left_out),
            "dropped": truth.dropped,
        },
        "per_class": {
            name: {"kept": int(k), "hidden": int(n - k), "images": int(i)}
            for name, n, k, i in zip(index.classes, total, kept, of_images, strict=True)
        },
        "drawn": extra,
    }


def _refuse(name: str, params: Any, facts: dict[str, Any], of_train: np.ndarray) -> None:
    what = f"{name}: protocol {params.protocol}, fold {facts['fold']}"
    if facts["counts"]["kept"] == 0:
        raise BadInput(
            f"{what} keeps no labeled box of {facts['counts']['hidden']}; label more images or keep more boxes"
        )
    missing = [c for (c, n), there in zip(facts["per_class"].items(), of_train, strict=True) if there and not n["kept"]]
    shown = ", ".join(missing[:NAMED]) + (f" and {len(missing) - NAMED} more" if len(missing) > NAMED else "")
    if missing and not params.allow_missing_class:
        raise BadInput(f"{what} keeps no box of class {shown}; keep more or set `allow_missing_class: true`")
    if missing:
        log.line(f"warning: {what} keeps no box of class {shown}; it cannot be learned")
