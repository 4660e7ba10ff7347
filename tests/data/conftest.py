"""Small data sets on disk, made per test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.made import Content, photo


@pytest.fixture
def coco_set(tmp_path: Path) -> Callable[..., Path]:
    """Writes subsets in COCO form with their images, and the parameter file; gives the latter."""

    def make(*, images: bool = True, params: str = "", **subsets: Content) -> Path:
        root = tmp_path / "set"
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        lines = ["format: coco", f"root: {root}", "subsets:"]
        for subset, content in subsets.items():
            (root / "annotations" / f"{subset}.json").write_text(json.dumps(content))
            lines.append(f"  {subset}: annotations/{subset}.json")
            for entry in content["images"] if images else []:
                photo(root / "images" / entry["file_name"])
        file = tmp_path / "bolts.yaml"
        file.write_text("\n".join(lines) + "\n" + params)
        return file

    return make
