"""Seconds of a stage: those of killed attempts count where their work is used, once."""

import pytest

from scantling import elapsed


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(elapsed.time, "monotonic", lambda: now[0])
    yield now
    monkeypatch.undo()
    elapsed.start()


def test_seconds_go_on_where_a_killed_attempt_left_its_work(clock, tmp_path):
    elapsed.start()
    clock[0] += 30
    elapsed.keep(tmp_path)
    clock[0] += 5  # lost: nothing was kept since
    elapsed.start()  # the next attempt
    clock[0] += 2
    elapsed.take_up(tmp_path)
    clock[0] += 8
    assert elapsed.seconds() == pytest.approx(40) and elapsed.earlier() == pytest.approx(30)
    elapsed.keep(tmp_path)
    elapsed.start()
    elapsed.take_up(tmp_path)
    assert elapsed.earlier() == pytest.approx(40)


def test_of_several_folders_the_latest_has_the_seconds_of_all(clock, tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    elapsed.start()
    for folder, by in ((first, 10), (second, 7)):
        folder.mkdir()
        clock[0] += by
        elapsed.keep(folder)
    elapsed.start()
    for folder in (first, second, first):
        elapsed.take_up(folder)
    assert elapsed.earlier() == pytest.approx(17)


@pytest.mark.parametrize("left", [None, "", "many\n"])
def test_work_without_its_seconds_is_used_without(clock, tmp_path, left):
    if left is not None:
        (tmp_path / "seconds").write_text(left)
    elapsed.start()
    elapsed.take_up(tmp_path)
    assert elapsed.earlier() == 0 and elapsed.seconds() == 0
