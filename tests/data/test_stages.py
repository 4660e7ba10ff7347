"""The three stages from the command line: files in, files out, one sentence on bad input."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from scantling.data import formats
from scantling.data import index as indices
from scantling.data.check import check
from scantling.data.check import page as check_page
from scantling.data.formats import DataParams
from scantling.data.problems import Findings
from tests.data.made import instances

PROJECT = Path(__file__).parents[2]


def stage(name: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, PROJECT / "stages" / f"{name}.py", *arguments]
    environment = {"PYTHONPATH": str(PROJECT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    return subprocess.run([str(c) for c in command], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    text = (PROJECT / "params/generate/digits.yaml").read_text()
    for before, after in (("train: 200", "train: 10"), ("val: 60", "val: 2"), ("test: 100", "test: 2")):
        assert before in text
        text = text.replace(before, after)
    (folder / "few.yaml").write_text(text)
    done = stage("generate", folder, "--params", "few.yaml", "--out", "data/generated/digits")
    assert done.returncode == 0, done.stderr
    return folder


def test_generate_prepare_split(generated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, protocol = PROJECT / "params/data/digits.yaml", PROJECT / "params/splits/percent_10.yaml"
    done = stage("prepare", generated, "--data", data, "--out", "results/prepare/digits")
    assert done.returncode == 0, done.stderr
    index = generated / "results/prepare/digits"
    assert {p.name for p in index.iterdir()} == {
        "images.parquet",
        "boxes.parquet",
        "image_labels.parquet",
        "val_boxes.parquet",
        "data.json",
        "check.html",
        "provenance.json",
    }
    assert json.loads((index / "data.json").read_text())["counts"]["train"]["images"] == 10

    for out in ("a", "b"):
        done = stage("split", generated, "--index", index, "--protocol", protocol, "--fold", 2, "--out", f"split/{out}")
        assert done.returncode == 0, done.stderr
        assert "percent, fold 2: 1 of 10 images labeled" in done.stdout
    first, second = (generated / "split" / out for out in ("a", "b"))
    for file in ("split.parquet", "split.json", "split.html"):
        assert (first / file).read_bytes() == (second / file).read_bytes()
    assert pd.read_parquet(first / "split.parquet").image_id.nunique() == 10

    monkeypatch.chdir(generated)
    params = DataParams.load(data)
    problems = Findings(params.problems)
    checked = check(formats.read(params, problems), params, problems)
    again = generated / "again"
    again.mkdir()
    indices.save(checked, again)
    check_page.write(checked, problems, again / "check.html")
    for file in ("images.parquet", "boxes.parquet", "data.json", "check.html"):
        assert (index / file).read_bytes() == (again / file).read_bytes()


def test_bad_input_ends_with_one_sentence_and_a_page_and_leaves_nothing(
    coco_set: Callable[..., Path], tmp_path: Path
) -> None:
    file = coco_set(train=instances())
    (tmp_path / "set/images/1.jpg").write_bytes(b"")
    done = stage("prepare", tmp_path, "--data", file, "--out", "out/bolts")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("prepare: bolts: 1 x unreadable or truncated image, e.g. ")
    assert "1.jpg" in done.stderr and "replace the file" in done.stderr
    assert not (tmp_path / "out/bolts").exists()
    assert "logs/prepare@bolts.html shows all of it" in done.stdout
    shown = (tmp_path / "logs/prepare@bolts.html").read_text()
    assert "This data set is refused" in shown and "problems: {unreadable_image: repair}" in shown


def test_the_log_says_what_was_found_and_what_there_is(coco_set: Callable[..., Path], tmp_path: Path) -> None:
    content = instances()
    content["annotations"][0]["bbox"] = [30, 20, 20, 20]
    done = stage("prepare", tmp_path, "--data", coco_set(train=content, val=instances(11)), "--out", "out/bolts")
    said = [line.partition(" ")[2] for line in done.stdout.splitlines()]
    example = "box 1 of images/1.jpg (30, 20, 50, 40)"
    assert f"repaired: 1 x box beyond the border (clipped to the image), e.g. {example}" in said
    assert "train: 2 images, 3 boxes" in said and "val: 2 images, 3 boxes" in said
    assert "bolts: 4 images, 6 boxes, 2 classes; 1 repaired" in said
    assert done.stdout in (tmp_path / "logs/prepare@bolts.log").read_text()


# One process after the other prepares the data set and ends without a word as it begins its n-th of these steps; what
# is there then, is said. The modules are imported once.
KILLED = """
import json, os, signal, sys
from pathlib import Path
import pandas as pd
from scantling import stage
from scantling.data.formats import DataParams
from stages.prepare import prepare
left = 0
def deadly(function):
    def counted(*arguments, **options):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return counted
pd.DataFrame.to_parquet = deadly(pd.DataFrame.to_parquet)
Path.write_text = deadly(Path.write_text)
os.replace, os.unlink, os.rmdir = deadly(os.replace), deadly(os.unlink), deadly(os.rmdir)
for step in range(60):  # 0: to the end
    child = os.fork()
    if not child:
        left = step
        stage.call(prepare, {"data": DataParams.load(sys.argv[1]), "out": Path("out/bolts")})
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    there = sorted(os.listdir("out/bolts")) if os.path.exists("out/bolts") else []
    print("SEEN", json.dumps([os.waitstatus_to_exitcode(status), there]), flush=True)
    if step and not status:
        break
"""


def test_a_kill_leaves_the_old_index_the_new_one_or_none(coco_set: Callable[..., Path], tmp_path: Path) -> None:
    file = coco_set(train=instances(), params="verify: header\n")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(file)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PROJECT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    seen = [json.loads(line.removeprefix("SEEN ")) for line in done.stdout.splitlines() if line.startswith("SEEN ")]
    (first, whole), last = seen[0], seen[-1]
    assert first == 0 and len(whole) == 7 and last == [0, whole]
    assert {status for status, _ in seen[1:-1]} == {-signal.SIGKILL} and len(seen) > 10
    assert [] in [there for _, there in seen] and all(there in ([], whole) for _, there in seen)
