"""This project with the digits shrunk to a handful of tiny scenes: every stage is real and takes seconds."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "scantling", "stages", "params", "workflow", "profiles", "Snakefile", "dvc.yaml", ".dvcignore", ".gitignore",
    ".dvc/config", ".dvc/.gitignore", ".dvc/plots",
)  # fmt: skip
SEMI, SPARSE = "digits-images_5-f1", "digits-drop_50-f1"
STUDY = {
    "name": "smoke",
    "title": "Smoke",
    "data": "digits",
    "detectors": ["faster_rcnn_lite"],
    "training": "digits",
    "folds": [1],
    "seeds": [0],
    "grid": [
        {"splits": ["images_5"], "methods": ["soft_teacher"]},
        {"splits": ["drop_50"], "detectors": ["retinanet_lite"], "training": "digits_sparse", "methods": ["co_mining"]},
    ],
}
SOFT = f"{SEMI}-faster_rcnn_lite-digits-soft_teacher-s0"


def edit(path: Path, **values: object) -> None:
    content = yaml.safe_load(path.read_text())
    for key, value in values.items():
        *sections, last = key.split("__")
        place = content
        for section in sections:
            place = place[section]
        place[last] = value
    path.write_text(yaml.safe_dump(content))


class Project:
    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder),
            "OMP_NUM_THREADS": "1",
        }

    def begin(self, study: str = "smoke") -> None:
        """The study is chosen, everything is committed."""
        self.run(sys.executable, "-m", "workflow.study", f"params/studies/{study}.yaml")
        for command in ("init -q", "config user.email a@b.c", "config user.name n", "add -A", "commit -qm start"):
            self.run("git", *command.split())

    def run(self, *command: str, fails: bool = False) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert (done.returncode != 0) == fails, done.stdout[-4000:]
        return done.stdout

    def snakemake(self, *arguments: str, fails: bool = False) -> str:
        return self.run("snakemake", "--cores", "2", *arguments, fails=fails)

    def dvc_ran(self, *arguments: str) -> set[str]:
        return set(re.findall(r"Running stage '([^']+)'", self.run("dvc", "repro", *arguments)))

    def stale(self) -> set[str]:
        status = json.loads(self.run("dvc", "status", "--json"))
        return set(status)


def files(folder: Path, *more: str) -> None:
    """The project's files as they are."""
    for part in (*PARTS, *more):
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)


def copy(folder: Path, *more: str) -> None:
    """The project's files, with data and trainings made small; the study is not chosen yet."""
    files(folder, *more)
    edit(
        folder / "params/generate/digits.yaml",
        scenes={"train": 12, "val": 4, "test": 5},
        image_px=96,
        digit_px=[18, 40],
    )
    for recipe in ("digits", "digits_sparse"):
        file = folder / f"params/training/{recipe}.yaml"
        edit(file, burn_in__steps=3, retrain__steps=3, burn_in__labeled_per_step=2)
        edit(file, retrain__labeled_per_step=2, retrain__unlabeled_per_step=2, retrain__checkpoint_every_steps=2)
    (folder / "params/studies/smoke.yaml").write_text(yaml.safe_dump(STUDY))
