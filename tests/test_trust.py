"""What somebody else has made can run no code, reach no other folder and take no memory beyond a limit.

Here is what no other file asks. Pictures: tests/data/test_images.py and test_check_files.py (limits, pipes, links,
names that leave the folder). Weights of other programs: tests/detectors/test_weights.py and test_detectron_pickle.py.
XML: tests/data/test_voc.py, test_cvat.py. Damaged annotations of every form: tests/data/test_fuzz.py. Pages:
tests/data/test_check_page.py, tests/report/test_page.py, tests/review/test_main.py. States: tests/test_checkpoint.py.
"""

from __future__ import annotations

import gzip
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import save

from scantling import checkpoint, stage
from scantling.data import cvat, index, jsonfile, parquet, yolo
from scantling.export import reviewed
from scantling.methods import MethodParams
from scantling.params import Params, ParamsError
from scantling.stage import BadInput
from tests import toy
from workflow import study


class Numbers(Params):
    a: int = 0
    names: dict[str, list[list[int]]] = {}


LAUGHS = "names:\n  x0: &x0 [[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]]\n" + "".join(
    f"  x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
BAD_YAML = {
    "code": ("a: !!python/object/apply:os.mkdir [ran]", "could not determine a constructor"),
    "a name of code": ("a: !!python/name:os.system", "could not determine a constructor"),
    "repetitions": (LAUGHS, "more than 100,000 values"),
    "itself": ("names: &a {x: *a}", "contains itself"),
    "depth": ("a: " + "[" * 2000, "nested too deeply"),
    "digits": ("a: " + "9" * 5000, "thousands of digits"),
    "base 60": ("a: " + "1:" * 5000 + "1", "thousands of digits"),
    "no text": (b"\xff\xfe\x80", "not valid YAML"),
}


@pytest.mark.parametrize("what", BAD_YAML)
def test_a_parameter_file_is_data(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text, why = BAD_YAML[what]
    for name in ("p.yaml", "data.yaml"):
        Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ParamsError, match=f"^p.yaml: .*{why}") as said:
        Numbers.load("p.yaml")
    with pytest.raises(BadInput, match="^data.yaml: not valid YAML"):
        yolo._content(Path("data.yaml"))
    assert len(str(said.value)) < 500 and not Path("ran").exists()


@pytest.mark.parametrize("name", ["os", "../evil", "scantling.stage", "supervised.torch", "__init__"])
def test_a_method_is_one_of_ours(name: str, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(yaml.safe_dump({"method": name}))
    with pytest.raises(ParamsError, match="there is no such method"):
        MethodParams.load(tmp_path / "m.yaml")


@pytest.mark.parametrize(
    "key, value",
    [
        ("corrections", "a.json; touch ran"),
        ("corrections", "$(touch ran)"),
        ("corrections", "a.json\ntouch ran"),
        ("corrections", "--help"),
        ("data", "digits;touch ran"),
        ("teacher", "../x"),
        ("detectors", ["a b"]),
        ("name", "`touch ran`"),
    ],
)
def test_nothing_of_a_study_reaches_a_shell(key: str, value: Any, tmp_path: Path) -> None:
    content = yaml.safe_load((toy.ROOT / "params/studies/demo.yaml").read_text())
    (tmp_path / "demo.yaml").write_text(yaml.safe_dump(content | {key: value}))
    with pytest.raises(ParamsError, match=f"`{key}"):
        study.expand(tmp_path / "demo.yaml")


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (Path("ran"),)


def header(**changes: Any) -> dict[str, str]:
    detector = toy.detector_params("retinanet_lite").resolved()
    for section, values in changes.items():
        detector[section] |= values
    return {"classes": '["a"]', "detector": json.dumps(detector), "step": "1", "role": "student"}


@pytest.mark.parametrize("name", ["teacher.safetensors", "teacher.pth"])
def test_a_model_is_data(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for content in (pickle.dumps(Runs()), b""):
        Path(name).write_bytes(content)
        with pytest.raises(BadInput, match="not a weights file of scantling"):
            checkpoint.load_weights(Path(name))
    torch.save({"a": Runs()}, name)
    with pytest.raises(BadInput, match="not a weights file of scantling"):
        checkpoint.load_weights(Path(name))
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"neck": {"channels": 10**8}},
        {"neck": {"channels": 10**17}},
        {"head": {"tower_depth": 10**9}},
        {"input": {"short_px": 10**7}},
    ],
)
def test_a_small_model_file_takes_little_memory(changes: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(save({"a": torch.zeros(1)}, metadata=header(**changes)))
    with pytest.raises(BadInput, match="w.safetensors: "):  # built, it would end this process
        checkpoint.load_weights(file)


def bomb(file: Path, table: pa.Table, times: int) -> None:
    """One row group, written again and again: as many rows as are wanted from next to nothing."""
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for _ in range(times):
            writer.write_table(table)


def test_a_small_table_takes_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "SMALL_BYTES", 1 << 20)
    honest = pd.DataFrame({"image_id": np.arange(50_000), "score": np.random.default_rng(0).random(50_000)})
    honest.to_parquet(tmp_path / "honest.parquet")
    pd.testing.assert_frame_equal(parquet.read(tmp_path / "honest.parquet"), honest)
    zeros = pa.table({"image_id": pa.array(np.zeros(1_000_000, np.int64))})
    bomb(tmp_path / "rows.parquet", zeros, 3)
    words = pa.table({"name": pa.array(["x" * 10_000] * 2000)})
    bomb(tmp_path / "words.parquet", words, 1)
    for name in ("rows", "words"):
        assert (tmp_path / f"{name}.parquet").stat().st_size < 50_000
        with pytest.raises(BadInput, match=f"{name}.parquet: would take"):
            parquet.read(tmp_path / f"{name}.parquet")
    (tmp_path / "none.parquet").write_bytes(b"PAR1" + b"\0" * 100 + b"PAR1")
    with pytest.raises(BadInput, match="none.parquet: cannot be read"):
        parquet.read(tmp_path / "none.parquet")


@pytest.mark.parametrize(
    "name", ["../1.png", "/etc/1.png", "a/../../1.png", "a\\..\\..\\1.png", "C:\\1.png", "..", "a\0"]
)
def test_an_index_from_elsewhere_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    images, _ = toy.tables(tmp_path, labeled=1, unlabeled=1)
    images = images.assign(file_name=[name, "1.png"], subset="train", bytes=1, mtime_ns=0)
    made = index.Index(
        "a", tmp_path, ("b",), (1,), index.table(images, index.IMAGE_COLUMNS), index.table([], index.BOX_COLUMNS), {}
    )
    index.save(made, tmp_path)
    for truth in (False, True):
        with pytest.raises(BadInput, match="images.parquet: file_name .* leads out of the folder"):
            index.load(tmp_path, truth=truth)
    (tmp_path / "review.json").write_text(json.dumps({"params": {"images": 2}}))
    with pytest.raises(BadInput, match="leads out of the folder"):
        reviewed.read(tmp_path, None)


def test_names_with_dots_are_names(tmp_path: Path) -> None:
    images = pd.DataFrame({"file_name": ["a..b.png", "..a/b.png", "a/...png", "ä/c d.png"]})
    assert len(index.inside(images, tmp_path)) == 4


def test_what_unpacks_beyond_its_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonfile, "MAX_UNPACKED_BYTES", 1 << 20)
    with gzip.open(tmp_path / "a.json.gz", "wb") as file:
        file.write(b"[" + b" " * (1 << 21) + b"]")
    with pytest.raises(BadInput, match="a.json.gz: unpacks to more than"):
        jsonfile.read(tmp_path / "a.json.gz", "")
    monkeypatch.setattr(cvat, "MAX_UNPACKED_BYTES", 1 << 20)
    text = "<annotations>" + '<image name="a.jpg" width="1" height="1"></image>' * 40_000 + "</annotations>"
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("annotations.xml", text)
    with pytest.raises(BadInput, match="a.zip: unpacks to more than"):
        cvat.read(tmp_path / "a.zip")
    (tmp_path / "a.xml").write_text(text)
    assert len(cvat.read(tmp_path / "a.xml")) == 40_000
    inner = f'<box label="b" xtl="1" ytl="1" xbr="2" ybr="2"><attribute name="c">{"x" * (2 << 20)}</attribute></box>'
    one = f'<annotations><image name="a.jpg" width="9" height="9">{inner}</image></annotations>'
    (tmp_path / "b.xml").write_text(one)
    with pytest.raises(BadInput, match="an attribute has more than"):
        cvat.read(tmp_path / "b.xml")


def test_a_record_beside_a_file_names_no_other_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("1")
    (tmp_path / "secret").write_text("2")
    for said in ({"../secret": "", "/etc/passwd": ""}, ["a.txt"], 3, {"a.txt": stage.digest(Path("in/a.txt"))}):
        (tmp_path / "in/provenance.json").write_text(json.dumps({"outputs": said}))
        stage._refuse_damaged("in", Path("in"))
    (tmp_path / "in/a.txt").write_text("2")
    with pytest.raises(BadInput, match="--in in/a.txt: its content is not what the stage before wrote"):
        stage._refuse_damaged("in", Path("in"))
