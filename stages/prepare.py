"""Read a data set, check every file of it and write its index.

reads   --data  params/data/NAME.yaml and the annotation files and images it names
writes  images.parquet  one row per image: id, subset, file name, size
        boxes.parquet   one row per box: id, image, label 0..C-1, corners in pixels, area, crowd, difficult
        image_labels.parquet  classes known to be absent from an image, or not boxed completely (LVIS)
        val_boxes.parquet  the boxes of subset `val`, which a method may see before it trains, where all are labeled
        data.json       classes, source, counts, problems found and what was done about them
        check.html      the same to look at, with a few images drawn; of a refused data set logs/prepare@NAME.html
"""

from pathlib import Path

from scantling import log
from scantling.data import formats, index
from scantling.data.check import inspect, page
from scantling.data.formats import DataParams
from scantling.data.problems import LEVELS, Findings, one_line
from scantling.stage import run


def prepare(data: DataParams, out: Path) -> None:
    found = Findings(data.problems)
    checked = inspect(formats.read(data, found), data, found)
    for problem in found:
        examples = "; ".join(problem.examples[:2])
        log.line(f"{LEVELS[problem.level]}: {problem.count} x {problem.title} ({problem.what}), e.g. {examples}")
    if found.errors:
        shown = Path("logs") / f"prepare@{data.name}.html"
        page.write(checked, found, shown)
        log.line(f"{shown} shows all of it")
    found.refuse(data.name)
    for subset, count in checked.facts["counts"].items():
        log.line(f"{one_line(subset)}: {count['images']} images, {count['boxes']} boxes")
    repaired = sum(problem.count for problem in found if problem.level == "repair")
    boxes = sum(count["boxes"] for count in checked.facts["counts"].values())
    log.line(
        f"{data.name}: {len(checked.images)} images, {boxes} boxes, {len(checked.classes)} classes; {repaired} repaired"
    )
    if "test" not in checked.facts["counts"]:
        remedy = "label at least 3 images" if getattr(data, "test_share", 0) else "set `test_share` in its file"
        log.warn(
            f"{data.name}: no image is in subset `test`, so finished models could not be measured: {remedy}, or write "
            "`subset: val` in params/evaluate.yaml"
        )
    index.save(checked, out)
    page.write(checked, found, out / "check.html")


if __name__ == "__main__":
    run(prepare)
