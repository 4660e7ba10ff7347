"""CVAT for images 1.1: annotations.xml, labels.json for the task, and the images.

    labels.json      what to paste under `Raw` when the task is made
    images/          what to upload as its data
    annotations.xml  what to upload as `CVAT 1.1` annotations then

A machine's box has source auto, its score, and a check mark `proposed`: who takes the mark away accepts the box. An
image that a person has labeled has the tag `labeled`. Crowds have no place in it: left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import SubElement

import numpy as np

from scantling.data.cvat import LABELED, PROPOSED
from scantling.data.index import XYXY
from scantling.export.coco import shortest
from scantling.export.content import Content
from scantling.export.voc import NOT_IN_XML
from scantling.stage import BadInput

# of each class: name, kind of input, default, values
MARKS = ((PROPOSED, "checkbox", "false", ("false",)), ("score", "text", "", ("",)))


def write(content: Content, out: Path) -> dict[str, str]:
    """Write annotations.xml and labels.json; gives file name in the index -> path of the image below `out`."""
    _refuse(content)
    names = content.images["file_name"]
    bare = names.str.removeprefix("images/") if names.str.startswith("images/").all() else names
    marks = [{"name": n, "mutable": False, "input_type": k, "default_value": d, "values": v} for n, k, d, v in MARKS]
    labels = [{"name": name, "type": "rectangle", "attributes": marks} for name in content.classes]
    labels.append({"name": LABELED, "type": "tag", "attributes": []})
    (out / "labels.json").write_text(json.dumps(labels, indent=1, ensure_ascii=False), encoding="utf-8")

    boxes = content.boxes[~content.boxes["crowd"]]
    corners, scores = shortest(boxes[XYXY].to_numpy()), shortest(boxes["score"].to_numpy())
    rows_of, labels_of = boxes.groupby("image_id").indices, boxes["label"].to_numpy()
    top = ElementTree.Element("annotations")
    SubElement(top, "version").text = "1.1"
    _meta(top, content, labels)
    ElementTree.indent(top)
    head, end, _ = ElementTree.tostring(top, encoding="utf-8", xml_declaration=True).rpartition(b"\n</annotations>")
    with (out / "annotations.xml").open("wb") as file:  # image by image: millions are no problem
        file.write(head)
        for place, (row, name) in enumerate(zip(content.images.itertuples(), bare, strict=True)):
            said = {"id": str(place), "name": name, "width": str(row.width), "height": str(row.height)}
            image = ElementTree.Element("image", said)
            for box in rows_of.get(row.image_id, []):
                _box(image, content.classes[labels_of[box]], corners[box].tolist(), float(scores[box]))
            if row.labeled:
                SubElement(image, "tag", {"label": LABELED, "source": "manual"})
            ElementTree.indent(image, level=1)
            file.write(b"\n  " + ElementTree.tostring(image, encoding="utf-8"))
        file.write(end + b"\n")
    return {old: f"images/{new}" for old, new in zip(names, bare, strict=True)}


def _meta(top: ElementTree.Element, content: Content, labels: list[dict[str, object]]) -> None:
    task = SubElement(SubElement(top, "meta"), "task")
    for tag, text in (("name", content.name), ("size", len(content.images)), ("mode", "annotation")):
        SubElement(task, tag).text = str(text)
    listed = SubElement(task, "labels")
    for label in labels:
        entry = SubElement(listed, "label")
        SubElement(entry, "name").text = str(label["name"])
        SubElement(entry, "type").text = str(label["type"])
        attributes = SubElement(entry, "attributes")
        for name, kind, default, values in MARKS if label["attributes"] else ():
            attribute = SubElement(attributes, "attribute")
            said = {"name": name, "mutable": "False", "input_type": kind, "default_value": default}
            for tag, text in {**said, "values": "\n".join(values)}.items():
                SubElement(attribute, tag).text = text


def _box(image: ElementTree.Element, name: str, corners: list[float], score: float) -> None:
    proposed = not np.isnan(score)
    sides = {
        side: f"{v:.9f}".rstrip("0").rstrip(".") for side, v in zip(("xtl", "ytl", "xbr", "ybr"), corners, strict=True)
    }
    box = SubElement(image, "box", {"label": name, "source": "auto" if proposed else "manual", "occluded": "0"})
    box.attrib |= {**sides, "z_order": "0"}
    for key, value in ((PROPOSED, str(proposed).lower()), ("score", f"{score:.3f}" if proposed else "")):
        SubElement(box, "attribute", {"name": key}).text = value


def _refuse(content: Content) -> None:
    if LABELED in content.classes:
        raise BadInput(f"--format cvat: a class is called `{LABELED}`, which marks labeled images; use label_studio")
    for name in (*content.classes, *content.images["file_name"]):
        if NOT_IN_XML.search(name) or name != name.strip():
            raise BadInput(f"--format cvat: {ascii(name)} cannot be written as XML; rename it or use coco")
