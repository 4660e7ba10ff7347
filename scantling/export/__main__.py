"""Write a data set, a split of it, pseudo labels or a review as COCO JSON, YOLO, PASCAL VOC, for CVAT or Label Studio.

--index alone writes the whole truth. --split writes of the training images only the boxes that it kept, and the others
as unlabeled. --pseudo writes the boxes of a pseudo.parquet (refined.parquet, detections.parquet) above a score; with
--split those of the images that the split left without labels, beside the labeled ones. --review writes the images of a
review in its order, with labels and proposed boxes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from scantling import log
from scantling.data import index as indexes
from scantling.export import coco, cvat, label_studio, reviewed, voc, yolo
from scantling.export.content import Content, choose, read_pseudo, read_split
from scantling.export.place import place
from scantling.stage import BadInput, publish

MARK = "export.json"  # says of a folder that this command wrote it
TOOLS = {"cvat": cvat, "label_studio": label_studio}


def export(options: argparse.Namespace) -> None:
    """Write into a sibling folder, renamed when everything is there."""
    out: Path = options.out
    if out.exists() and not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"--out {out}: is there and was not written by this command; name a new folder")
    if options.review is not None and options.format in ("yolo", "voc"):
        raise BadInput(f"--format {options.format}: has no mark for proposed boxes; use coco, cvat or label_studio")
    content = _content(options) if options.review is None else reviewed.read(options.review, options.first)

    fresh = out.with_name(f".{out.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    if options.format == "coco":
        places = coco.write(content, fresh)
    elif options.format == "yolo":
        places = yolo.write(content, fresh, scores=options.scores)
    elif options.format in TOOLS:
        places = TOOLS[options.format].write(content, fresh)
    else:
        places = voc.write(content, fresh, decimals=options.decimals)
    if options.images != "none":
        place(content.root, fresh, places, options.images)
    given = {name: value if value is None else str(value) for name, value in vars(options).items() if name != "out"}
    (fresh / MARK).write_text(
        json.dumps({"data": content.name, "options": given, "counts": _counts(content)}, indent=1)
    )
    publish(fresh, out)
    for group, count in _counts(content).items():
        log.line(f"{group}: {count['images']} images, {count['boxes']} boxes")
    if lost := _left_out(content, options.format):
        log.line(f"left out: {lost}, for which {options.format} has no place")


def _content(options: argparse.Namespace) -> Content:
    if options.index is None:
        raise BadInput("name what to write with --index or --review")
    if not (options.index / "data.json").is_file():
        raise BadInput(f"--index {options.index}: holds no data.json; name a folder of results/prepare")
    index = indexes.load(options.index, truth=True)
    split = read_split(options.split) if options.split else None
    pseudo = None
    if options.pseudo:
        pseudo = read_pseudo(options.pseudo, index, options.score_threshold, options.model)
    return choose(index, split, pseudo, options.subset)


def _counts(content: Content) -> dict[str, dict[str, int]]:
    group = content.boxes["image_id"].map(content.images.set_index("image_id")["group"])
    return {
        name: {"images": int((content.images["group"] == name).sum()), "boxes": int((group == name).sum())}
        for name in content.groups()
    }


def _left_out(content: Content, form: str) -> str:
    flags = {"coco": (), "voc": ("crowd",), "yolo": ("crowd", "difficult")}.get(form, ("crowd",))
    counts = {flag: int(content.boxes[flag].sum()) for flag in flags}
    return ", ".join(f"{count} {flag} boxes" for flag, count in counts.items() if count)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m scantling.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--index", type=Path, help="results/prepare/NAME")
    parser.add_argument("--review", type=Path, help="results/review/KEY, in place of an index")
    parser.add_argument("--first", type=int, help="so many images of a review (as many as its page shows)")
    parser.add_argument("--format", choices=("coco", "yolo", "voc", *TOOLS), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; one that an export wrote is replaced")
    parser.add_argument("--split", type=Path, help="results/split/KEY")
    parser.add_argument("--pseudo", type=Path, metavar="FILE", help="results/pseudo_label/KEY/pseudo.parquet")
    parser.add_argument("--score-threshold", type=float, default=0.0, help="pseudo labels with a score above it (0)")
    parser.add_argument("--model", choices=("student", "teacher"), help="whose boxes of a detections.parquet")
    parser.add_argument("--subset", help="only the images of this subset of the index")
    parser.add_argument("--images", choices=("link", "copy", "none"), default="link", help="image files (link)")
    parser.add_argument("--scores", action="store_true", help="yolo: scores of pseudo labels as sixth number")
    parser.add_argument("--decimals", action="store_true", help="voc: corners that are not rounded to whole pixels")
    try:
        export(parser.parse_args(argv))
    except BadInput as error:
        sys.exit(f"export: {error}")


if __name__ == "__main__":
    main()
