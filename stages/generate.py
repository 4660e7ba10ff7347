"""Make the embedded data set: scenes of handwritten digits pasted on photographs.

reads   --params  params/generate/digits.yaml
writes  images/*.jpg
        annotations/instances_{train,val,test}.json  COCO form
        annotations/images_unlabeled.json            the share of the training images that has no boxes
"""

from pathlib import Path

from scantling.data import digits
from scantling.stage import run


def generate(params: digits.DigitsParams, out: Path) -> None:
    digits.write(params, out)


if __name__ == "__main__":
    run(generate)
