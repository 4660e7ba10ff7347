"""What `snakemake --report` shows of a study: copies, as Snakemake may only own files that no stage of DVC writes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from workflow.dag import STATE

TABLES = ("summary.csv", "classes.csv")
FIGURES = "figures"


def place(study: str) -> Path:
    return STATE / "pages" / study


def forget_old(study: str) -> None:
    """Without its copies the rule runs again: so they go when the report they are of has been written anew."""
    made, copied = Path("results/report") / study / TABLES[0], place(study) / TABLES[0]
    if copied.exists() and not (made.exists() and made.stat().st_mtime <= copied.stat().st_mtime):
        shutil.rmtree(place(study))


def copy(study: str) -> None:
    source, target = Path("results/report") / study, place(study)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copytree(source / FIGURES, target / FIGURES, copy_function=shutil.copyfile)
    for name in TABLES:
        shutil.copyfile(source / name, target / name)


if __name__ == "__main__":
    copy(sys.argv[1])
