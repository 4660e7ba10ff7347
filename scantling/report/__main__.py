"""Print the numbers of a finished report as plain text: python -m scantling.report results/report/STUDY"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scantling.report.words import duration, percent, points, signed

COLUMNS = ("run", "teacher AP", "AP50", "student AP", "AP50", "gain AP", "AP50", "pseudo P", "R", "training")


def text(summary: dict[str, Any]) -> str:
    """One line a run, then the mean gain of each method; AP in points."""
    lines = [summary["title"], ""]
    lines += _aligned([COLUMNS, *(_row(run) for run in summary["runs"])])
    lines += ["", f"gain = averaged weights against {summary['baseline']} of the same split, fold and seed"]
    for group in summary["groups"]:
        for method in group["methods"]:
            gain = method["gain"]["teacher"]["AP"]
            if gain is not None:
                pair = f"{method['method']} against {group['baseline']}"
                where = f"{group['data']} {group['split']}, {group['detector']}"
                lines.append(f"  {signed(gain['mean']):>6} AP  {pair} on {where} (mean of {gain['n']})")
    return "\n".join(lines)


def _row(run: dict[str, Any]) -> tuple[str, ...]:
    numbers = [points(run[role][name]) for role in ("teacher", "student") for name in ("AP", "AP50")]
    gains = [signed(run["gain"]["teacher"][name]) for name in ("AP", "AP50")]
    labels = [percent(run["pseudo"][name]) for name in ("precision", "recall")]
    spent = [run["seconds"][stage] for stage in ("burn_in", "retrain")]
    return run["key"], *numbers, *gains, *labels, duration(None if None in spent else sum(spent))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """First column to the left, the others to the right."""
    first, *widths = (max(len(row[k]) for row in rows) for k in range(len(rows[0])))
    return ["  ".join([name.ljust(first), *map(str.rjust, cells, widths)]) for name, *cells in rows]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scantling.report", description=__doc__)
    parser.add_argument("report", type=Path, help="folder of a report, e.g. results/report/demo")
    folder = parser.parse_args(argv).report
    path = folder / "summary.json"
    if not path.is_file():
        sys.exit(f"{path}: there is no such file; make the report first (snakemake --cores all, or dvc repro)")
    print(text(json.loads(path.read_text())))
    print(f"\nreport: {folder / 'index.html'}")


if __name__ == "__main__":
    main()
