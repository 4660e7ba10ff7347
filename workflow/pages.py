"""What `snakemake --report` shows of a study: copies, as Snakemake may only own files that no stage of DVC writes."""

from __future__ import annotations

import shutil
import sys
from filecmp import cmp
from pathlib import Path

from workflow.dag import STATE

TABLES = ("summary.csv", "classes.csv")
FIGURES = "figures"


def place(study: str) -> Path:
    return STATE / "pages" / study


def forget_old(study: str) -> None:
    """Without its copies the rule runs again: so they go when the report they are of has been written anew.

    Times would not tell: a report that DVC took out of its cache may be older than its copy.
    """
    pairs = [(Path("results/report") / study / name, place(study) / name) for name in TABLES]
    if not all(made.exists() and copied.exists() and cmp(made, copied, shallow=False) for made, copied in pairs):
        shutil.rmtree(place(study), ignore_errors=True)


def copy(study: str) -> None:
    source, target = Path("results/report") / study, place(study)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copytree(source / FIGURES, target / FIGURES, copy_function=shutil.copyfile)
    for name in TABLES:
        shutil.copyfile(source / name, target / name)


if __name__ == "__main__":
    copy(sys.argv[1])
