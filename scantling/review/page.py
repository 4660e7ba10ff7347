"""index.html of a review: one file beside its pictures, without a network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from scantling.data.index import XYXY
from scantling.review.params import ReviewParams
from scantling.review.ranking import REASONS, Ranking

# name on the page, sentence
WORDS = {
    "missing_label": ("missing label", "a sure box, and no label near it"),
    "wrong_class": ("wrong class", "a label whose object the machine is sure to be of another class"),
    "unfound_label": ("unfound label", "a label that no box fits: wrong, badly placed, or hard"),
    "disagreement": ("disagreement", "teacher and model differ on this box"),
    "near_threshold": ("near threshold", "a box that is just used, or just not"),
    "wide_spread": ("unsure place", "a sure box whose corners are not"),
}
assert tuple(WORDS) == REASONS


def render(
    facts: dict[str, Any],
    images: pd.DataFrame,
    found: Ranking,
    pictures: Sequence[str | None],
    params: ReviewParams,
) -> str:
    """The page of the first images; `pictures`: their files, None for one that could not be read."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = lambda n: f"{n:,}"
    data = {
        "classes": facts["classes"],
        "reasons": [word for word, _ in WORDS.values()],
        "images": _entries(images, found, pictures, params.boxes),
    }
    return environment.from_string(_text("page.html")).render(
        facts=facts,
        params=params,
        shown=len(images),
        words=WORDS,
        css=Markup(_text("page.css")),
        js=Markup(_text("page.js")),
        data=Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")),  # no end of the script within
    )


def _entries(images: pd.DataFrame, found: Ranking, pictures: Sequence[str | None], most: int) -> list[dict[str, Any]]:
    """What page.js reads of each image: boxes [source, class, score, x1, y1, x2, y2] and findings [box, reason, score,
    class said instead, its score]; numbers in pixels of the original, rounded to tenths."""
    boxes, findings = found.boxes, found.findings
    wanted = set(images["image_id"])
    rows_of = boxes[boxes["image_id"].isin(wanted)].groupby("image_id").indices
    at = np.flatnonzero(boxes["image_id"].isin(wanted).to_numpy())
    about: dict[int, list[Any]] = {}
    for finding in findings[findings["box"].isin(at)].itertuples():
        about.setdefault(int(finding.box), []).append(finding)
    entries = []
    for image, picture in zip(images.itertuples(), pictures, strict=True):
        own = at[rows_of[image.image_id]]
        own = sorted(own, key=lambda row: -max((f.score for f in about.get(int(row), [])), default=0.0))
        shown = own[:most]
        entries.append(
            {
                "id": image.image_id,
                "file": image.file_name,
                "picture": picture,
                "size": [image.width, image.height],
                "score": round(image.score, 2),
                "labeled": bool(image.labeled),
                "more": len(own) - len(shown),
                "boxes": [_box(boxes.iloc[row]) for row in shown],
                "findings": [
                    [place, REASONS.index(f.reason), round(f.score, 3), int(f.said), _number(f.said_score)]
                    for place, row in enumerate(shown)
                    for f in about.get(int(row), [])
                ],
            }
        )
    return entries


def _box(row: pd.Series) -> list[Any]:
    corners = [round(float(row[c]), 1) for c in XYXY]
    return [row["source"], int(row["label"]), _number(row["score"]), *corners]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 3)


def _text(name: str) -> str:
    return (resources.files("scantling.review") / name).read_text(encoding="utf-8")
