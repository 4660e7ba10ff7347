"""Decide which labels training may see.

reads   --index     results/prepare/NAME (images.parquet, boxes.parquet, data.json)
        --protocol  params/splits/P.yaml
writes  split.parquet  one row per kept box, and one row without box for every training image that keeps none
        split.json     protocol, fold, counts, kept and hidden boxes per class, hashes of the source and of the table
        split.html     the same to look at
"""

import json
from pathlib import Path

from scantling import log
from scantling.data import index as indices
from scantling.data import protocols, split_page
from scantling.stage import run


def split(index: Path, protocol: protocols.SplitParams, fold: int, out: Path) -> None:
    table, facts = protocols.make(indices.load(index, truth=True), protocol, fold)
    table.to_parquet(out / "split.parquet", index=False)
    (out / "split.json").write_text(json.dumps(facts, indent=1))
    split_page.write(facts, out / "split.html")
    count = facts["counts"]
    log.line(
        f"{protocol.protocol}, fold {fold}: {count['labeled']} of {count['images']} images labeled, "
        f"{count['kept']} of {count['kept'] + count['hidden']} boxes kept"
    )


if __name__ == "__main__":
    run(split)
