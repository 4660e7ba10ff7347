"""Label Studio: tasks.json to import, label_config.xml for the labeling interface, and the images.

Labels of a person are an annotation of the task, boxes of a machine a prediction beside it, together with the labels,
so that a copy of the prediction is a whole answer. An image that nobody labeled has no annotation. Crowds are left out.

Images are named as Label Studio's local files do, relative to the export: start it with
LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT at the folder of the export.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from scantling.data.index import XYXY
from scantling.export.content import Content
from scantling.export.voc import NOT_IN_XML
from scantling.stage import BadInput

ADDRESS = "/data/local-files/?d="


def write(content: Content, out: Path) -> dict[str, str]:
    """Write tasks.json and label_config.xml; gives file name in the index -> path of the image below `out`."""
    names = content.images["file_name"]
    bare = names.str.removeprefix("images/") if names.str.startswith("images/").all() else names
    boxes = content.boxes[~content.boxes["crowd"]]
    rows_of = boxes.groupby("image_id").indices
    with (out / "tasks.json").open("w", encoding="utf-8") as file:  # one at a time: millions are no problem
        for place, (row, name) in enumerate(zip(content.images.itertuples(), bare, strict=True)):
            task = _task(row, f"images/{name}", boxes.iloc[rows_of.get(row.image_id, [])], content)
            file.write(("[\n" if place == 0 else ",\n") + json.dumps(task, ensure_ascii=False))
        file.write("\n]\n" if len(bare) else "[\n\n]\n")
    (out / "label_config.xml").write_bytes(_config(content.classes))
    return {old: f"images/{new}" for old, new in zip(names, bare, strict=True)}


def _task(image: Any, place: str, boxes: pd.DataFrame, content: Content) -> dict[str, Any]:
    data = {"image": ADDRESS + quote(place), "file_name": image.file_name}
    task: dict[str, Any] = {"data": data, "annotations": [], "predictions": []}
    regions = [_region(row, image, content.classes) for row in boxes.to_dict("records")]
    by_hand = [region for region in regions if "score" not in region]
    if image.labeled:
        task["annotations"].append({"result": by_hand})
    if len(by_hand) < len(regions):
        best = max(region["score"] for region in regions if "score" in region)
        task["predictions"].append({"model_version": "scantling", "score": best, "result": regions})
    return task


def _region(box: dict[str, Any], image: Any, classes: tuple[str, ...]) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(box[c]) for c in XYXY)
    value = {
        "x": 100 * x1 / image.width,
        "y": 100 * y1 / image.height,
        "width": 100 * (x2 - x1) / image.width,
        "height": 100 * (y2 - y1) / image.height,
        "rotation": 0,
        "rectanglelabels": [classes[box["label"]]],
    }
    region = {
        "id": f"box{box['box_id']}",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": image.width,
        "original_height": image.height,
        "image_rotation": 0,
        "value": value,
    }
    return region if np.isnan(box["score"]) else region | {"score": round(float(box["score"]), 6)}


def _config(classes: tuple[str, ...]) -> bytes:
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", {"name": "image", "value": "$image", "zoom": "true", "zoomControl": "true"})
    labels = ElementTree.SubElement(view, "RectangleLabels", {"name": "label", "toName": "image"})
    for name in classes:
        if NOT_IN_XML.search(name):
            raise BadInput(f"--format label_studio: the class {ascii(name)} cannot be written as XML; rename it")
        ElementTree.SubElement(labels, "Label", {"value": name})
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="utf-8") + b"\n"
