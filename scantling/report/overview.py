"""Draw the gains of finished reports as one figure: python -m scantling.report.overview REPORT ... --out FILE.svg"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from scantling.report.chart import Dots, dot_chart, extent
from scantling.report.page import standalone

STYLES = 7  # colors of drawing.css beside the baseline's


def draw(summaries: Sequence[dict[str, Any]], methods: Collection[str] | None = None) -> str:
    """SVG text: a heading for each comparison; a row for each of `methods` in it, or for all: a dot for each pair of
    runs, the mean, the interval of 95 %. AP in points, averaged weights, over the comparison's baseline.

    summaries  contents of summary.json
    """
    names = dict.fromkeys(m["method"] for s in summaries for g in s["groups"] for m in g["methods"])
    styles = {name: f"m{1 + k % STYLES}" for k, name in enumerate(names)}
    several = len({g["detector"] for s in summaries for g in s["groups"]}) > 1
    rows = list[Dots]()
    for summary in summaries:
        gains = {run["key"]: run["gain"]["teacher"]["AP"] for run in summary["runs"]}
        for group in summary["groups"]:
            own = [_row(m, gains, styles) for m in group["methods"] if methods is None or m["method"] in methods]
            if found := [row for row in own if row is not None]:
                where = f"{group['data']} {group['split']}" + (f", {group['detector']}" if several else "")
                title = f"{where}: AP over {group['baseline']}"
                rows += [Dots(title, [], None, None, "m0"), *found]
    ends = [v for row in rows for v in (*row.values, *(row.width or ()))]
    left = 24 + 6.4 * max((len(row.name) for row in rows if row.mean is not None), default=0)
    label = "AP gained by each method and pair of runs, in points"
    return standalone(dot_chart(rows, label=label, x=extent([*ends, 0.0]), left=left, marks=[0.0]))


def _row(method: dict[str, Any], gains: dict[str, float | None], styles: dict[str, str]) -> Dots | None:
    """The row of a method that was compared; None for the baseline."""
    gain = method["gain"]["teacher"]["AP"]
    if gain is None:
        return None
    values = [100 * gains[key] for key in method["runs"] if gains[key] is not None]
    width = (100 * gain["low"], 100 * gain["high"]) if gain["n"] > 1 else None
    return Dots(method["method"], values, 100 * gain["mean"], width, styles[method["method"]])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scantling.report.overview", description=__doc__)
    parser.add_argument("reports", type=Path, nargs="+", help="folders of reports, e.g. results/report/demo")
    parser.add_argument("--out", type=Path, required=True, help="the SVG file to write")
    parser.add_argument("--methods", nargs="+", help="only these; all if not given")
    given = parser.parse_args(argv)
    for folder in given.reports:
        if not (folder / "summary.json").is_file():
            sys.exit(f"{folder / 'summary.json'}: there is no such file; make the report first (snakemake --cores all)")
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in given.reports]
    aside = given.out.with_name(f".{given.out.name}")
    aside.write_text(draw(summaries, given.methods), encoding="utf-8")
    os.replace(aside, given.out)


if __name__ == "__main__":
    main()
