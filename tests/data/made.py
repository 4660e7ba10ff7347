"""Small data sets that tests are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Content = dict[str, Any]


def photo(path: Path, width: int = 40, height: int = 30, **save: Any) -> Path:
    """An image file of colored noise, so that no part of it is empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(7).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **save)
    return path


def instances(first_id: int = 1) -> Content:
    """Two images of 40 x 30 with three boxes of two classes, ids from `first_id` on, category ids with a gap."""
    return {
        "images": [
            {"id": first_id, "file_name": f"{first_id}.jpg", "width": 40, "height": 30},
            {"id": first_id + 1, "file_name": f"{first_id + 1}.jpg", "width": 40, "height": 30},
        ],
        "annotations": [
            {"id": first_id, "image_id": first_id, "category_id": 7, "bbox": [1, 2, 10, 12], "iscrowd": 0},
            {"id": first_id + 1, "image_id": first_id, "category_id": 3, "bbox": [5, 5, 20, 20], "iscrowd": 0},
            {"id": first_id + 2, "image_id": first_id + 1, "category_id": 3, "bbox": [0, 0, 40, 30], "iscrowd": 0},
        ],
        "categories": [{"id": 7, "name": "bolt"}, {"id": 3, "name": "nut"}],
    }


def subsets(root: Path, *, images: bool = True, **contents: Content) -> str:
    """Writes subsets in COCO form, with their images where their names allow it; gives the parameter lines."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    lines = ["format: coco", f"root: {root}", "subsets:"]
    for subset, content in contents.items():
        (root / "annotations" / f"{subset}.json").write_text(json.dumps(content))
        lines.append(f"  {subset}: annotations/{subset}.json")
        for entry in content["images"] if images else []:
            if ".." not in entry["file_name"] and "\\" not in entry["file_name"]:
                photo(root / "images" / entry["file_name"])
    return "\n".join(lines) + "\n"
