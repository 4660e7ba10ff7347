"""A small project for the engines: our Snakefile, workflow/, profiles and settings, with toy stages in their own dvc.yaml.

Seven stages with everything the real ones have: a folder as an out, a dep inside it, a dep that is a folder of outs, a
training with checkpoints in work/, metrics in Git, parameters by file and by section.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
OURS = (
    "Snakefile",
    "workflow",
    "profiles",
    "params/resources.yaml",
    ".dvcignore",
    ".gitignore",
    ".dvc/config",
    ".dvc/.gitignore",
)

DVC_YAML = """\
vars: [params/experiments.yaml]
stages:
  generate:
    foreach: ${generated}
    do:
      cmd: python stages/generate.py --params params/generate.yaml --out data/generated/${key}
      deps: [stages/generate.py]
      params: [{params/generate.yaml: }]
      outs: ["data/generated/${key}"]
  prepare:
    foreach: ${data}
    do:
      cmd: python stages/prepare.py --data data/generated/${key}/annotations --out results/prepare/${key}
      deps: [stages/prepare.py, "data/generated/${key}/annotations"]
      outs: ["results/prepare/${key}/table.txt"]
  retrain:
    foreach: ${runs}
    do:
      cmd: python stages/retrain.py --index results/prepare/${item.data} --training params/training.yaml:${item.section} --out results/retrain/${key}
      deps: [stages/retrain.py, "results/prepare/${item.data}/table.txt"]
      params: [{params/training.yaml: ["${item.section}"]}]
      outs: ["results/retrain/${key}/model.txt"]
      plots: ["results/retrain/${key}/history.tsv": {x: step, y: loss}]
  evaluate:
    foreach: ${runs}
    do:
      cmd: python stages/evaluate.py --model results/retrain/${key} --params params/evaluate.yaml --out results/evaluate/${key}
      deps: [stages/evaluate.py, "results/retrain/${key}/model.txt"]
      params: [{params/evaluate.yaml: }]
      metrics: ["results/evaluate/${key}/metrics.json": {cache: false}]
  report:
    foreach: ["${report.name}"]
    do:
      cmd: python stages/report.py --results results/evaluate --out results/report/${item}
      deps: [stages/report.py, results/evaluate]
      outs: ["results/report/${item}"]
"""

# `note` says in work/ran.txt, which no engine knows, that a stage really ran; `{...}` blocks are the stages' own.
SCRIPT = """\
import argparse, json, os, pathlib, signal, sys, time, yaml
parser = argparse.ArgumentParser()
for name in ("params", "data", "index", "training", "model", "results", "out"):
    parser.add_argument("--" + name)
a = parser.parse_args()
out = pathlib.Path(a.out)
out.mkdir(parents=True, exist_ok=True)
me = pathlib.Path(__file__).stem + "@" + out.name
work = pathlib.Path("work")
work.mkdir(exist_ok=True)

def note(text=""):
    with open(work / "ran.txt", "a") as file:
        file.write(me + text + "\\n")

"""
BODIES = {
    "generate": """\
note()
(out / "annotations").mkdir()
(out / "annotations" / "boxes.txt").write_text(f"{me} {yaml.safe_load(open(a.params))}")
(out / "image.txt").write_text("pixels")
""",
    "prepare": """\
note()
(out / "table.txt").write_text(f"{me} of {(pathlib.Path(a.data) / 'boxes.txt').read_text()}")
""",
    "retrain": """\
path, section = a.training.split(":")
settings = yaml.safe_load(open(path))[section]
last = work / (out.name + "-" + "-".join(map(str, settings.values())) + ".txt")
first = int(last.read_text()) if last.exists() else 0
note(f" from {first}" if first else "")
table = (pathlib.Path(a.index) / "table.txt").read_text()
(out / "history.tsv").write_text("step\\tloss\\n" + "".join(f"{s}\\t{1 / (s + 1)}\\n" for s in range(settings["steps"])))
if (work / "fail").exists():
    sys.exit("retrain: work/fail: is there; delete it")
asked = []
for one in (signal.SIGTERM, signal.SIGINT):
    signal.signal(one, lambda *_: asked.append(1))
for step in range(first, settings["steps"]):
    if asked:
        sys.exit(f"retrain: asked to end at step {step}")
    if (work / "slow").exists():
        time.sleep(0.2)
        (work / "pid.txt").write_text(str(os.getpid()))
    last.with_suffix(".part").write_text(str(step + 1))
    last.with_suffix(".part").replace(last)
(out / "model.txt").write_text(f"{me} {settings} of {table}")
last.unlink(missing_ok=True)
""",
    "evaluate": """\
note()
model = (pathlib.Path(a.model) / "model.txt").read_text()
threshold = yaml.safe_load(open(a.params))["threshold"]
(out / "metrics.json").write_text(json.dumps({"AP": len(model) * threshold, "of": model}))
""",
    "report": """\
note()
rows = {p.parent.name: json.loads(p.read_text())["AP"] for p in sorted(pathlib.Path(a.results).glob("*/metrics.json"))}
(out / "index.html").write_text(json.dumps(rows))
for name in ("summary.csv", "classes.csv"):
    (out / name).write_text("run,AP\\n" + "".join(f"{run},{ap}\\n" for run, ap in rows.items()))
(out / "figures").mkdir(exist_ok=True)
(out / "figures" / "toy-ap.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"/>')
""",
}
PARAMS = {
    "experiments": {
        "generated": {"toy": {}},
        "data": {"toy": {}},
        "runs": {"toy-a": {"data": "toy", "section": "a"}, "toy-b": {"data": "toy", "section": "b"}},
        "report": {"name": "two"},
    },
    "generate": {"scenes": 3},
    "training": {"a": {"steps": 2, "rate": 1}, "b": {"steps": 2, "rate": 2}},
    "evaluate": {"threshold": 0.5},
}
STAGES = {
    "generate@toy",
    "prepare@toy",
    "retrain@toy-a",
    "retrain@toy-b",
    "evaluate@toy-a",
    "evaluate@toy-b",
    "report@two",
}


def environment() -> dict[str, str]:
    """Ours, with the Python of this test first on the path, as in an activated environment, and no user settings."""
    bin_first = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
    names = {f"GIT_{role}_{what}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return os.environ | names | {"PATH": bin_first, "PYTHONPATH": str(ROOT)}


class Toy:
    """A checkout of the toy project and what can be done in it."""

    def __init__(self, folder: Path):
        self.folder = folder

    @classmethod
    def create(cls, folder: Path) -> Toy:
        for name in OURS:
            source, target = ROOT / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        (folder / "dvc.yaml").write_text(DVC_YAML)
        (folder / "stages").mkdir()
        for name, body in BODIES.items():
            (folder / f"stages/{name}.py").write_text(SCRIPT + body)
        for name, content in PARAMS.items():
            (folder / f"params/{name}.yaml").write_text(yaml.safe_dump(content))
        toy = cls(folder)
        toy.git("init", "-q")
        toy.commit("start")
        return toy

    def call(self, *command: str, fails: bool = False, **options: object) -> str:
        """Both streams of a command; its status must be as said."""
        done = subprocess.run(
            command, cwd=self.folder, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=600, **options,
        )  # fmt: skip
        assert bool(done.returncode) == fails, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def git(self, *arguments: str) -> str:
        return self.call("git", *arguments)

    def commit(self, what: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", what)

    def dvc(self, *arguments: str, **options: object) -> str:
        return self.call(sys.executable, "-m", "dvc", *arguments, **options)

    def snakemake(self, *arguments: str, **options: object) -> str:
        return self.call(*self.engine("snakemake"), *arguments, **options)

    def engine(self, name: str) -> list[str]:
        command = {"snakemake": ["snakemake", "--cores", "2"], "dvc": ["dvc", "repro"]}[name]
        return [sys.executable, "-m", *command]

    def run(self, engine: str, **options: object) -> set[str]:
        """Bring everything up to date with one engine; the stages that really ran."""
        self.forget()
        self.said = self.call(*self.engine(engine), **options)
        return self.ran()

    def ran(self) -> set[str]:
        log = self.folder / "work/ran.txt"
        lines = log.read_text().splitlines() if log.exists() else []
        assert len(lines) == len(set(lines)), f"a stage ran twice: {lines}"
        return set(lines)

    def forget(self) -> None:
        (self.folder / "work/ran.txt").unlink(missing_ok=True)

    def set(self, file: str, **values: object) -> None:
        """Change values of params/FILE.yaml; a section is given as a dict."""
        path = self.folder / f"params/{file}.yaml"
        content = yaml.safe_load(path.read_text())
        for key, value in values.items():
            content[key] = {**content[key], **value} if isinstance(value, dict) else value
        path.write_text(yaml.safe_dump(content))

    def read(self, path: str) -> str:
        return (self.folder / path).read_text()

    def flag(self, name: str, on: bool) -> None:
        path = self.folder / "work" / name
        path.parent.mkdir(exist_ok=True)
        path.touch() if on else path.unlink(missing_ok=True)

    def clone(self, folder: Path) -> Toy:
        """Another checkout that shares the cache, with everything checked out."""
        self.git("clone", "-q", str(self.folder), str(folder))
        other = Toy(folder)
        other.dvc("cache", "dir", "--local", str(self.folder / ".dvc/cache"))
        other.dvc("checkout", "-q")
        return other

    def start(self, engine: str) -> subprocess.Popen[str]:
        """An engine at work, in a process group of its own."""
        return subprocess.Popen(
            self.engine(engine), cwd=self.folder, env=environment(), text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def kill(self, process: subprocess.Popen[str]) -> None:
        """SIGKILL for everything an engine started and the engine itself."""
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=240)
        wait_until_gone(process.pid)

    def wait_for(self, path: str, text: str) -> None:
        """Until a file says `text`."""
        for _ in range(600):
            file = self.folder / path
            if file.exists() and file.read_text() == text:
                return
            time.sleep(0.05)
        raise AssertionError(f"{path} never said {text}")


def wait_until_gone(group: int) -> None:
    """Until nothing of a killed process group is left: DVC takes a dead process that init has not collected for alive."""
    for _ in range(600):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("killed processes are still there after 30 s: does init collect them?")


def drop_root_override() -> None:
    """In a child process: let read-only files be read-only for root too."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            assert libc.prctl(24, capability, 0, 0, 0) == 0  # PR_CAPBSET_DROP: gone from the next exec on
