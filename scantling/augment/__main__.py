"""See what a recipe makes of your images: the views of some of them, with the boxes as training gets them.

python -m scantling.augment --index results/prepare/NAME --views params/training/NAME.yaml:views --out views.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scantling.augment import sheet
from scantling.augment.settings import ViewParams
from scantling.data import index as tables
from scantling.params import ParamsError
from scantling.stage import BadInput


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m scantling.augment", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--index", required=True, type=Path, metavar="PATH", help="folder of the prepare stage")
    parser.add_argument("--views", required=True, metavar="FILE:SECTION", help="ViewParams, YAML")
    parser.add_argument("--images", type=int, default=3, help="how many images (3)")
    parser.add_argument("--draws", type=int, default=2, help="how many draws of each (2)")
    parser.add_argument("--seed", type=int, default=0, help="another seed: other images, other draws (0)")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.png", help="picture to write")
    given = parser.parse_args(argv)
    try:
        write(given.index, given.views, given.out, count=given.images, draws=given.draws, seed=given.seed)
    except (BadInput, ParamsError) as error:
        sys.exit(f"augment: {error}")


def write(index: Path, spec: str, out: Path, *, count: int, draws: int, seed: int) -> None:
    """The picture as a file, written whole or not at all. Raises BadInput and ParamsError."""
    if min(count, draws) < 1 or seed < 0:
        raise BadInput("--images and --draws must be at least 1, --seed at least 0")
    if not (index / "boxes.parquet").is_file():
        raise BadInput(f"--index {index}: no boxes.parquet in it; name a folder that the prepare stage wrote")
    if out.suffix.lower() not in (".png", ".jpg", ".webp"):
        raise BadInput(f"--out {out}: a picture ends in .png, .jpg or .webp; rename it")
    picture = sheet.draw(tables.load(index, truth=True), ViewParams.load(spec), count=count, draws=draws, seed=seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.stem}.part{out.suffix}")
    picture.save(part)
    part.replace(out)
    print(f"{out}: {picture.width} x {picture.height} pixels")


if __name__ == "__main__":
    main()
