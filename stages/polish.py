"""Decide which pseudo label a method would learn from, and how: a table a person can look at.

reads   --index            data.json
        --split            split.parquet
        --pseudo           pseudo.parquet
writes  refined.parquet    the same rows with source, refined score, weight and the flags for_objectness, for_class,
                           for_box, ignore
        aids.json          what else the method derives from them
"""

import json
from pathlib import Path

import pandas as pd

from scantling import methods
from scantling.data import index as tables
from scantling.data import split as splits
from scantling.stage import run


def polish(index: Path, split: Path, pseudo: Path, method: methods.MethodParams, out: Path) -> None:
    classes = tables.load_classes(index)
    maker = methods.create(method, classes, None)
    refined, aids = maker.refine(pd.read_parquet(pseudo / "pseudo.parquet"), splits.load(split))
    refined.to_parquet(out / "refined.parquet", index=False)
    (out / "aids.json").write_text(json.dumps({"method": method.method, **aids}, indent=1))


if __name__ == "__main__":
    run(polish)
