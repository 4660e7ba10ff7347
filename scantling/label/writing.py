"""COCO JSON and YOLO text files of entries (see label.folder), written as they are read: memory does not grow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import yaml

Entries = Iterable[dict[str, Any]]


def coco(entries: Entries, classes: Sequence[str], file: Path) -> None:
    """COCO JSON, one entry a line; categories 1..C in the order of the classes, boxes with `score`."""
    with file.open("w", encoding="utf-8") as stream:
        stream.write('{"images": [\n')
        _lines(stream, (_image(entry) for entry in entries if "boxes" in entry))
        stream.write('],\n"annotations": [\n')
        _lines(stream, _annotations(entries))
        stream.write('],\n"categories": [\n')
        _lines(stream, ({"id": i, "name": name} for i, name in enumerate(classes, start=1)))
        stream.write("]}\n")


def _lines(stream: TextIO, entries: Iterable[dict[str, Any]]) -> None:
    between = ""
    for entry in entries:
        stream.write(between + json.dumps(entry))
        between = ",\n"
    stream.write("\n" if between else "")


def _image(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": entry["image_id"],
        "file_name": entry["file_name"],
        "width": entry["width"],
        "height": entry["height"],
    }


def _annotations(entries: Entries) -> Iterator[dict[str, Any]]:
    number = 0
    for entry in entries:
        for label, score, x1, y1, x2, y2 in entry.get("boxes", ()):
            number += 1
            width, height = round(x2 - x1, 6), round(y2 - y1, 6)  # without the noise of the subtraction
            yield {
                "id": number,
                "image_id": entry["image_id"],
                "category_id": label + 1,
                "bbox": [x1, y1, width, height],
                "area": round(width * height, 6),
                "iscrowd": 0,
                "score": score,
            }


def yolo(entries: Entries, classes: Sequence[str], out: Path, *, scores: bool) -> None:
    """labels/NAME.txt of each image in which something was found (a machine that found nothing has not said that
    nothing is there), and data.yaml with the names. `scores` adds them as sixth number."""
    (out / "labels").mkdir(exist_ok=True)
    for entry in entries:
        if not entry.get("boxes"):
            continue
        w, h = entry["width"], entry["height"]
        lines = []
        for label, score, x1, y1, x2, y2 in entry["boxes"]:
            numbers = [(x1 + x2) / 2 / w, (y1 + y2) / 2 / h, (x2 - x1) / w, (y2 - y1) / h]
            words = [str(label), *(f"{n:.9f}" for n in numbers), *([f"{score:.6f}"] if scores else [])]
            lines.append(" ".join(words) + "\n")
        file = (out / "labels" / entry["file_name"]).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(lines))
    names = {"names": dict(enumerate(classes))}
    (out / "data.yaml").write_text(yaml.safe_dump(names, sort_keys=False, allow_unicode=True), encoding="utf-8")
