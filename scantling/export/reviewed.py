"""The images of a review, highest score first, with their labels and the boxes that a machine proposes."""

from __future__ import annotations

import json
from pathlib import Path

from scantling.data import index, parquet
from scantling.data.index import IMAGE_LABEL_COLUMNS, table
from scantling.export.content import BOXES, Content
from scantling.stage import BadInput


def read(folder: Path, most: int | None) -> Content:
    """The first `most` images of a folder of `python -m scantling.review`; None: those that its page shows.

    Boxes with a score are proposed; where a proposed one and a label are of one object both are there.
    """
    try:
        facts = json.loads((folder / "review.json").read_text(encoding="utf-8"))
        images = index.inside(parquet.read(folder / "images.parquet"), folder)
        boxes = parquet.read(folder / "boxes.parquet")
        images = images[: facts["params"]["images"] if most is None else most]
        boxes = boxes[boxes["image_id"].isin(images["image_id"])].reset_index(drop=True)
        area = (boxes["x2"] - boxes["x1"]) * (boxes["y2"] - boxes["y1"])
        boxes = boxes.assign(box_id=boxes.index + 1, area=area, crowd=False, difficult=False)
        return Content(
            name=facts["name"],
            root=Path(facts["root"]),
            classes=tuple(facts["classes"]),
            category_ids=tuple(facts["category_ids"]),
            images=images.assign(group="review", annotated=True).reset_index(drop=True),
            boxes=table(boxes, BOXES),
            image_labels=table([], IMAGE_LABEL_COLUMNS),
            frequencies=(),
            proposals=True,
        )
    except BadInput:
        raise
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(f"--review {folder}: was not written by python -m scantling.review; name its folder") from None
