"""Reads what Label Studio exports as `JSON`: a list of tasks, each with the annotations of its people.

A task counts once somebody has submitted an annotation that was not skipped; of several the one that was changed last,
with nothing in it included. Predictions are what a machine proposed and are never read. Boxes are per cent of the
image, before they are turned about their upper left corner.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from scantling.data import jsonfile
from scantling.data.drawn import Box, Drawn, number, surrounding, turned
from scantling.stage import BadInput

UPLOADED = re.compile(r"[0-9a-f]{8}-")  # Label Studio puts it before the name of an uploaded file
SHAPES = {"x", "points", "rle", "sequence"}  # what the value of a region on the image has, and that of a choice has not
REMEDY = "export it from Label Studio as `JSON` again"


def read(file: Path) -> list[Drawn]:
    """The images of the file in its order; those without an annotation have no boxes. Raises BadInput."""
    return of(jsonfile.read(file, "name the file that Label Studio exported as `JSON`"), file)


def of(tasks: Any, file: Path) -> list[Drawn]:
    """The same from the content of the file."""
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise BadInput(f"{file}: is no list of tasks; {REMEDY}")
    if tasks and not any("annotations" in task for task in tasks):
        raise BadInput(f"{file}: its tasks have no `annotations`, as in JSON-MIN; {REMEDY}")
    return [_drawn(task, f"{file}: task {task.get('id', place)!r}") for place, task in enumerate(tasks)]


def _drawn(task: dict[str, Any], where: str) -> Drawn:
    annotations = task.get("annotations") or []
    if not isinstance(annotations, list) or not all(isinstance(a, dict) for a in annotations):
        raise BadInput(f"{where}: `annotations` is no list of objects; {REMEDY}")
    image = Drawn(_name(task.get("data"), where), 0, 0, labeled=False)
    done = [a for a in annotations if not a.get("was_cancelled")]
    if not done:
        return image
    last = max(done, key=lambda a: str(a.get("updated_at") or a.get("created_at") or ""))
    image.labeled = True
    results = last.get("result") or []
    if not isinstance(results, list) or not all(isinstance(r, dict) for r in results):
        raise BadInput(f"{where}: `result` is no list of objects; {REMEDY}")
    for region in results:
        value = region.get("value")
        if region.get("type") in ("rectanglelabels", "polygonlabels"):
            _add(image, region, where)
        elif isinstance(value, dict) and SHAPES & set(value):
            raise BadInput(f"{where}: has a region of type {region.get('type')!r}; draw rectangles of RectangleLabels")
    return image


def _name(data: Any, where: str) -> str:
    """What our own export wrote down, else the last part of the address."""
    data = data if isinstance(data, dict) else {}
    name = data.get("file_name")
    if isinstance(name, str) and name:
        return name
    address = data.get("image") or next((v for v in data.values() if isinstance(v, str) and "/" in v), None)
    if not isinstance(address, str) or not address:
        raise BadInput(f"{where}: `data` names no image under `image` or `file_name`; add it")
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise BadInput(f"{where}: the address {address!r} cannot be read ({error}); correct it") from None
    path = unquote(parts.query.removeprefix("d=") if parts.query.startswith("d=") else parts.path)
    *above, last = path.split("/")
    return UPLOADED.sub("", last, count=1) if "upload" in above else path.lstrip("/")


def _add(image: Drawn, region: dict[str, Any], where: str) -> None:
    value = region.get("value")
    kind = region["type"]
    names = value.get(kind) if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise BadInput(f"{where}: a region has the classes {names!r}; give each box one class")
    width, height = (
        number(region.get(f"original_{side}"), f"{where}: `original_{side}`") for side in ("width", "height")
    )
    image.width, image.height = int(width), int(height)
    if kind == "polygonlabels":
        points = value.get("points")
        if not isinstance(points, list) or not points or any(not isinstance(p, list) or len(p) != 2 for p in points):
            raise BadInput(f"{where}: a polygon has no points; {REMEDY}")
        x1, y1, x2, y2 = surrounding([[number(v, f"{where}: a point") for v in p] for p in points])
        corners = (x1 * width / 100, y1 * height / 100, x2 * width / 100, y2 * height / 100)
    else:
        x, y, w, h = (number(value.get(k), f"{where}: `{k}` of a box") for k in ("x", "y", "width", "height"))
        corners = (x * width / 100, y * height / 100, (x + w) * width / 100, (y + h) * height / 100)
        degrees = number(value.get("rotation", 0), f"{where}: `rotation` of a box")
        corners = turned(corners, degrees, corners[:2])
    image.boxes.append(Box(names[0], corners))
