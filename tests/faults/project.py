"""The toy project of the engines' tests with stages that the product's own machinery runs (scantling.stage): what a
fault may break is then what a user has. Each result hangs on every byte before it, and a training on every step.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import yaml

from tests.pipeline.toy_project import Toy

STAGE = """\
import json, os, shutil, time
from pathlib import Path
from scantling.params import Params
from scantling.stage import run
from tests.faults.project import chain, note

class Scenes(Params):
    scenes: int

class Steps(Params):
    steps: int
    rate: int

class Threshold(Params):
    threshold: float

"""
BODIES = {
    "generate": """\
def generate(params: Scenes, out: Path) -> None:
    note("generate", out)
    (out / "annotations").mkdir()
    (out / "annotations" / "boxes.txt").write_text(chain("boxes", params.scenes))
    (out / "image.txt").write_text(chain("pixels", params.scenes) * 2000)
""",
    "prepare": """\
def prepare(data: Path, out: Path) -> None:
    note("prepare", out)
    (out / "table.txt").write_text(chain((data / "boxes.txt").read_text()))
""",
    "retrain": """\
def retrain(index: Path, training: Steps, out: Path) -> None:
    table = (index / "table.txt").read_text()
    keep = Path("work") / chain(table, training.resolved()) / "state.txt"  # as scantling.work, without torch's seconds
    keep.parent.mkdir(parents=True, exist_ok=True)
    first, value = keep.read_text().split() if keep.exists() else (0, chain(table))
    note("retrain", out, int(first))
    for step in range(int(first), training.steps):
        time.sleep(0.03)
        value = chain(value, step, training.rate)
        keep.with_suffix(".part").write_text(f"{step + 1} {value}")
        os.replace(keep.with_suffix(".part"), keep)
    (out / "model.txt").write_text(value * 100)
    (out / "history.tsv").write_text("step\\\\tloss\\\\n" + f"{training.steps}\\\\t{value}\\\\n")
    shutil.rmtree(keep.parent)
""".replace("\\\\", "\\"),
    "evaluate": """\
def evaluate(model: Path, params: Threshold, out: Path) -> None:
    note("evaluate", out)
    (out / "metrics.json").write_text(json.dumps({"AP": chain((model / "model.txt").read_text(), params.threshold)}))
""",
    "report": """\
def report(results: Path, out: Path) -> None:
    note("report", out)
    rows = {p.parent.name: json.loads(p.read_text())["AP"] for p in sorted(results.glob("*/metrics.json"))}
    (out / "index.html").write_text(json.dumps(rows))
""",
}


def chain(*parts: object) -> str:
    """A text that another byte or another order of `parts` would make another one."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()


def note(stage: str, out: Path, step: int = 0) -> None:
    """Say in a file that no engine knows that a stage really runs, and from which step on."""
    with Path("work/ran.txt").open("a") as file:
        file.write(f"{stage}@{out.name.strip('.').removesuffix('.part')}{f' from {step}' if step else ''}\n")


class Project(Toy):
    """A checkout whose parts can be broken; `bytes` is all that the promise is about."""

    @classmethod
    def create(cls, folder: Path) -> Project:
        toy = super().create(folder)
        for name, body in BODIES.items():
            script = STAGE + "\n" + body + f'\n\nif __name__ == "__main__":\n    run({name})\n'
            (folder / f"stages/{name}.py").write_text(script)
        toy.set("training", a={"steps": 30}, b={"steps": 30})
        graph = yaml.safe_load((folder / "dvc.yaml").read_text())
        for name, kind in graph["stages"].items():
            if name not in ("generate", "report"):
                folder_out = f"results/{name}/${{key}}"
                kind["do"].setdefault("outs", []).append(f"{folder_out}/provenance.json")
        graph["stages"]["report"]["do"]["deps"] = [
            "stages/report.py",
            *(f"results/evaluate/{run}/metrics.json" for run in ("toy-a", "toy-b")),
        ]
        (folder / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))
        toy.commit("stages of the product's form")
        return cls(folder)

    def copy(self, folder: Path) -> Project:
        """Another checkout with everything in it, caches and locks too."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def bytes(self) -> dict[str, str]:
        """Every result -> the hash of its content, without what says when and how long."""
        files = [p for root in ("data/generated", "results") for p in (self.folder / root).rglob("*") if p.is_file()]
        return {
            str(p.relative_to(self.folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
            if p.name != "provenance.json" and not p.name.endswith(".tmp")  # half a copy of DVC's, which nothing reads
        }
