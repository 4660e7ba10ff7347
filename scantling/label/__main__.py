"""Label the images of a folder with a trained model.

Writes into --out what --write names:
  coco    coco.json, boxes with scores
  yolo    labels/NAME.txt with `class cx cy w h`, none where nothing is found; data.yaml with the class names
  drawn   drawn/NAME.jpg, at most 1600 pixels a side
Classes and input size come from the weights file. A killed run goes on where it was when started again. Memory is that
of a batch, plus about 150 bytes for each image. SCANTLING_DEVICE=cpu keeps a machine with a GPU on the CPU.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from scantling.label.folder import FORMS, Settings, label
from scantling.stage import BadInput
from scantling.trained import SCORE_THRESHOLD


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m scantling.label", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="results/retrain/KEY/teacher.safetensors")
    parser.add_argument("--images", type=Path, required=True, help="folder of images; folders in it are looked into")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; one of this command is replaced")
    parser.add_argument("--write", nargs="+", choices=FORMS, default=["coco"], help="what to write (coco)")
    parser.add_argument(
        "--score-threshold", type=float, default=SCORE_THRESHOLD, help=f"boxes above it ({SCORE_THRESHOLD:g})"
    )
    parser.add_argument("--limit", type=int, help="boxes an image, the best ones (the model's own)")
    parser.add_argument("--scores", action="store_true", help="yolo: the score as sixth number")
    parser.add_argument("--skip-unreadable", action="store_true", help="leave them out, name them in unreadable.txt")
    parser.add_argument("--batch-size", type=int, default=8, help="images at a time (8)")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode images (0: none of their own)")
    given = parser.parse_args(argv)
    try:
        settings = Settings(
            write=tuple(form for form in FORMS if form in given.write),
            score_threshold=given.score_threshold,
            limit=given.limit,
            scores=given.scores,
            skip_unreadable=given.skip_unreadable,
        )
        label(given.model, given.images, given.out, settings, batch_size=given.batch_size, workers=given.workers)
    except BadInput as error:
        sys.exit(f"label: {error}")
    except OSError as error:
        sys.exit(f"label: {error.filename or given.out}: {os.strerror(error.errno) if error.errno else error}")
    except KeyboardInterrupt:
        sys.exit("label: stopped; the same command goes on where it was")


if __name__ == "__main__":
    main()
