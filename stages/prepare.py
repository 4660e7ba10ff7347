"""Read a data set, check every file of it and write its index.

reads   --data  params/data/NAME.yaml and the annotation files and images it names
writes  images.parquet  one row per image: id, subset, file name, size
        boxes.parquet   one row per box: id, image, label 0..C-1, corners in pixels, area, crowd, difficult
        data.json       classes, source, counts, problems found and what was done about them
        check.html      the same to look at, with a few images drawn
"""

from pathlib import Path

from scantling import log
from scantling.data import check_page, formats, index
from scantling.data.check import check
from scantling.data.formats import DataParams
from scantling.stage import run


def prepare(data: DataParams, out: Path) -> None:
    source = formats.read(data)
    checked, problems = check(source, data)
    for problem in problems:
        log.line(f"{problem.level}: {problem.count} x {problem.kind} ({problem.what}), e.g. {problem.examples[0]}")
    for subset, count in checked.facts["counts"].items():
        log.line(f"{subset}: {count['images']} images, {count['boxes']} boxes")
    index.save(checked, out)
    check_page.write(checked, problems, out / "check.html")


if __name__ == "__main__":
    run(prepare)
