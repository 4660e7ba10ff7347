"""What the check makes of names and files: which are one image, which leave the folder, which are no files."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from scantling.data import formats
from scantling.data.check import check, files
from scantling.data.formats import DataParams
from scantling.data.index import BOX_COLUMNS, table
from scantling.data.problems import Findings
from scantling.data.source import Source, SourceParams
from scantling.stage import BadInput
from tests.data.cases import kinds, run
from tests.data.made import instances, photo

Make = Callable[..., Path]


@pytest.mark.parametrize("verify", ["decode", "header"])
def test_unreadable_image_is_named(coco_set: Make, tmp_path: Path, verify: str) -> None:
    file = coco_set(train=instances(), params=f"verify: {verify}\n")
    (tmp_path / "set/images/2.jpg").write_text("no picture")
    with pytest.raises(BadInput, match=r"1 x unreadable or truncated image, e\.g\. .*2\.jpg: unreadable .*replace the"):
        run(file)


def test_truncated_image_is_found_by_decoding_only(coco_set: Make, tmp_path: Path) -> None:
    file = coco_set(train=instances())
    path = tmp_path / "set/images/2.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadInput, match=r"1 x unreadable or truncated image, e\.g\. .*2\.jpg"):
        run(file)
    file.write_text(file.read_text() + "verify: header\n")
    assert kinds(run(file)[1]) == {}


def test_without_verification_no_file_is_asked_for(
    coco_set: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = coco_set(train=instances(), params="verify: none\nrecord_mtime: true\n", images=False)
    params, found = DataParams.load(file), Findings()
    source = formats.read(params, found)
    asked: list[object] = []
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda path, *a, **k: asked.append(path) or real(path, *a, **k))
    index = check(source, params, found)
    assert len(index.images) == 2 and index.images[["bytes", "mtime_ns"]].eq(0).all(axis=None)
    assert not any("images" in str(path) for path in asked)


def test_what_is_no_file_is_missing_and_not_waited_for(tmp_path: Path) -> None:
    names = ["pipe.jpg", "folder.jpg", "loop.jpg", "nul\0.jpg", "x" * 5000 + ".jpg", "", ".", "gone/1.jpg"]
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    found = Findings({"missing_file": "repair"})
    params = SourceParams(name="a", root=str(tmp_path))
    looking = threading.Thread(target=files.look, args=(params.root, pd.Series(names), params, found), daemon=True)
    looking.start()
    looking.join(20)
    assert not looking.is_alive() and kinds(found) == {"missing_file": ("repair", len(names))}
    assert [e.rpartition("/")[2] for e in found[0].examples[:3]] == [
        "pipe.jpg (is no file)",
        "folder.jpg (is no file)",
        "loop.jpg (Too many levels of symbolic links)",
    ]


def test_a_link_is_the_users_own_act(coco_set: Make, tmp_path: Path) -> None:
    file = coco_set(train=instances())
    (tmp_path / "set/images/1.jpg").rename(tmp_path / "elsewhere.jpg")
    (tmp_path / "set/images/1.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    assert kinds(run(file)[1]) == {}


@pytest.mark.parametrize("name", ["../1.jpg", "/etc/1.jpg", "a/../../../1.jpg", "..\\..\\1.jpg", "C:\\1.jpg", ".."])
@pytest.mark.parametrize("verify", ["decode", "none"])
def test_paths_that_leave_the_folder_are_refused(coco_set: Make, name: str, verify: str) -> None:
    content = instances()
    content["images"][0]["file_name"] = name
    file = coco_set(train=content, images=False)
    file.write_text(file.read_text() + f"images: .\nverify: {verify}\n")
    with pytest.raises(BadInput, match="1 x path outside the folder, e.g. .*; move the images below the root"):
        run(file)


def test_a_backslash_that_is_part_of_a_name_is_left_alone(coco_set: Make, tmp_path: Path) -> None:
    content = instances()
    content["images"][0]["file_name"] = "back\\slash.jpg"
    index, found = run(coco_set(train=content))
    assert index.images.file_name.tolist()[0] == "images/back\\slash.jpg" and kinds(found) == {}


def test_names_are_written_plainly(coco_set: Make) -> None:
    content = instances()
    content["images"][0]["file_name"] = "./a//b/../1.jpg"
    content["images"][1]["file_name"] = "2:1.jpg"
    file = coco_set(train=content)
    photo(file.parent / "set/images/a/1.jpg")
    index, found = run(file)
    assert index.images.file_name.tolist() == ["images/a/1.jpg", "images/2:1.jpg"] and kinds(found) == {}


def test_val_may_be_test_and_labels_of_whole_images_follow(coco_set: Make) -> None:
    index, found = run(coco_set(train=instances(5), val=instances(), test=instances()))
    assert len(index.images) == 6 and kinds(found) == {"renumbered_ids": ("note", 6)}


def test_labels_of_whole_images_follow_their_image() -> None:
    images = pd.DataFrame({"image_id": [1, 2, 3], "subset": "train", "file_name": ["a", "b", "a"]})
    known = pd.DataFrame({"image_id": [1, 3, 3, 2], "label": [0, 0, 1, 1], "kind": "negative"})
    source = Source("a", "lvis", ".", (), ("x", "y"), (1, 2), images.assign(width=9, height=9), table([], BOX_COLUMNS))
    source = Source(**{**vars(source), "image_labels": known, "frequencies": ("r", "f")}).tidy()
    params, found = SourceParams(name="a", root=".", verify="none"), Findings({"listed_twice": "repair"})
    index = check(source, params, found)
    assert index.image_labels is not None
    assert index.image_labels[["image_id", "label"]].to_numpy().tolist() == [[1, 0], [1, 1], [2, 1]]
    assert index.facts["frequencies"] == ["r", "f"]


def test_looking_in_batches_gives_every_image_its_own_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BATCH", 3)
    monkeypatch.setattr(files, "THREADS", 2)
    names = [f"{i}.png" for i in range(20)]
    for i, name in enumerate(names):
        photo(tmp_path / name, 10 + i, 5)
    (tmp_path / "7.png").write_text("no")
    random.Random(0).shuffle(names)
    found = Findings({"unreadable_image": "repair"})
    params = SourceParams(name="a", root=str(tmp_path), max_megapixels=29 * 5 / 1e6)
    seen = files.look(str(tmp_path), pd.Series([*names, "none.png"]), params, found)
    numbers = [int(name.partition(".")[0]) for name in names]
    assert seen.width.tolist() == [0 if n == 7 else 10 + n for n in numbers] + [0]
    assert seen.fine.tolist() == [n != 7 for n in numbers] + [False]
    assert kinds(found) == {"missing_file": ("error", 1), "unreadable_image": ("repair", 1)}
