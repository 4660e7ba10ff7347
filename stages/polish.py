"""Decide which pseudo label a method would learn from, and how: a table a person can look at.

reads   --index            data.json
        --split            split.parquet
        --pseudo           pseudo.parquet
        --corrections      COCO file of images labeled by hand since; they win over the machine's labels
writes  refined.parquet    the same rows with source, refined score, weight and the flags for_objectness, for_class,
                           for_box, ignore
        aids.json          what else the method derives from them; `guard`: whether too few or too many pass
"""

import json
from pathlib import Path

import pandas as pd

from scantling import guards, log, methods
from scantling.data import corrections as corrected
from scantling.data import index as tables
from scantling.data import split as splits
from scantling.stage import run


def polish(index: Path, split: Path, pseudo: Path, corrections: Path, method: methods.MethodParams, out: Path) -> None:
    data = tables.load(index, truth=False)
    maker = methods.create(method, data.classes, None)
    found, labels = pd.read_parquet(pseudo / "pseudo.parquet"), splits.load(split)
    refined, aids = maker.refine(found, labels)
    by_hand = corrected.load(corrections, data)
    refined = corrected.replaced(refined, by_hand)
    refined.to_parquet(out / "refined.parquet", index=False)
    if maker.threshold is not None and aids:  # without aids a method refines nothing
        finding = guards.of_table(found, refined, labels, method.guards, mines_labeled=maker.mines_labeled)
        if finding is not None:
            aids["guard"] = finding.facts()
            if finding.verdict != "fine":
                log.warn(finding.sentence("in the table", maker.threshold))
    aids = {"method": method.method, "corrected_images": by_hand["image_id"].nunique(), **aids}
    (out / "aids.json").write_text(json.dumps(aids, indent=1))


if __name__ == "__main__":
    run(polish)
