"""YOLO text files as Ultralytics' tools read them. There are no crowds and no difficult objects in this form: both are
left out.

    data.yaml                 train (labeled, and pseudo where there are some), val, test, unlabeled; names
    images/GROUP/a.jpg        labels/GROUP/a.txt: class cx cy w h, fractions; empty: nothing in it; none: nobody looked
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from scantling.data.index import XYXY
from scantling.export.content import Content
from scantling.export.place import annotation_names
from scantling.stage import BadInput


def write(content: Content, out: Path, *, scores: bool = False) -> dict[str, str]:
    """Write data.yaml and the label files; gives file name in the index -> path of the image below `out`.

    `scores` adds those of pseudo labels as sixth number.
    """
    images = content.images
    if (again := images["file_name"].duplicated()).any():
        name = images["file_name"][again].iloc[0]
        raise BadInput(
            f"--format yolo: {name} is listed in two subsets; write one at a time with --subset, or use coco"
        )
    folder = images["group"].replace("labeled", "train")
    short = annotation_names(images["file_name"], folder)
    places = {name: f"images/{at}/{to}" for name, at, to in zip(images["file_name"], folder, short, strict=True)}

    boxes = content.boxes[~content.boxes["crowd"] & ~content.boxes["difficult"]]
    size = images.set_index("image_id").loc[boxes["image_id"], ["width", "height"]].to_numpy(dtype="float64")
    x1, y1, x2, y2 = boxes[XYXY].to_numpy(dtype="float64").T
    fractions = ((x1 + x2) / 2 / size[:, 0], (y1 + y2) / 2 / size[:, 1], (x2 - x1) / size[:, 0], (y2 - y1) / size[:, 1])
    lines: dict[int, list[str]] = {}
    for image_id, label, score, *numbers in zip(
        boxes["image_id"], boxes["label"], boxes["score"], *fractions, strict=True
    ):
        words = [str(label), *(f"{n:.9f}" for n in numbers)]
        if scores and score == score:  # NaN: drawn by a person
            words.append(f"{score:.6f}")
        lines.setdefault(image_id, []).append(" ".join(words) + "\n")
    for image_id, name, annotated in zip(images["image_id"], images["file_name"], images["annotated"], strict=True):
        if annotated:
            file = out / "labels" / Path(places[name]).relative_to("images").with_suffix(".txt")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(lines.get(image_id, [])))

    groups = list(folder.unique())
    content_of: dict[str, Any] = {group: f"images/{group}" for group in groups if group != "pseudo"}
    if "pseudo" in groups:
        content_of["train"] = ["images/train", "images/pseudo"] if "train" in groups else "images/pseudo"
    said = {**content_of, "names": dict(enumerate(content.classes))}
    (out / "data.yaml").write_text(yaml.safe_dump(said, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return places
