"""Say what a split is: images, boxes per class kept and hidden, images left empty, classes at risk.

python -m scantling.describe results/split/KEY
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scantling.data import split_page
from scantling.stage import BadInput


def text(facts: dict[str, Any], most: int) -> str:
    """The content of split.json for a terminal; of many classes the `most` at either end."""
    said = split_page.words(facts)
    width = max(map(len, said))
    lines = [f"{subject.ljust(width)}  {sentence}" for subject, sentence in said.items()]
    for title, classes in split_page.extremes(split_page.rows(facts), most).items():
        cells = [(name, f"{k:,}", f"{h:,}", f"{k / (k + h):.1%}", f"{i:,}") for name, k, h, i in classes]
        lines += ["", title, *_aligned([("", "kept", "hidden", "kept", "images"), *cells])]
    return "\n".join(lines)


def read(folder: Path) -> dict[str, Any]:
    """The content of split.json, made by this version of the stage."""
    file = folder / "split.json"
    if not file.is_file():
        raise BadInput(f"{file}: there is no such file; name the folder of a split, e.g. results/split/digits-full-f1")
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        split_page.words(facts)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadInput(f"{file}: not written by this version of the split stage; run it again") from None
    return facts


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """First column to the left, the others to the right."""
    first, *widths = (max(len(row[k]) for row in rows) for k in range(len(rows[0])))
    return ["  ".join([row[0].ljust(first), *map(str.rjust, row[1:], widths)]) for row in rows]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scantling.describe", description=__doc__)
    parser.add_argument("split", type=Path, help="folder of a split, e.g. results/split/digits-full-f1")
    parser.add_argument("--classes", type=int, default=40, metavar="N", help="lines of classes at most (default 40)")
    given = parser.parse_args(argv)
    try:
        print(text(read(given.split), max(given.classes, 2)))
    except BadInput as error:
        sys.exit(f"describe: {error}")


if __name__ == "__main__":
    main()
