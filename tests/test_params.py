"""What a user reads when a parameter file is wrong."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from scantling.detectors import DetectorParams
from scantling.methods import MethodParams
from scantling.params import Params, ParamsError, read
from scantling.train import TrainingParams


class Inner(Params):
    rate: float = Field(gt=0)
    steps: int = 3


class Outer(Params):
    inner: Inner
    either: Inner | None = None


def write(folder: Path, text: str) -> Path:
    path = folder / "p.yaml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str) -> str:
    path = write(folder, text)
    with pytest.raises(ParamsError) as caught:
        Outer.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_unknown_parameter_names_the_nearest(tmp_path: Path) -> None:
    text = refused(tmp_path, "inner: {rate: 1, stps: 4}")
    assert "unknown parameter `inner.stps`; did you mean `steps`?" in text


def test_unknown_parameter_inside_an_optional_section(tmp_path: Path) -> None:
    assert "did you mean `rate`?" in refused(tmp_path, "inner: {rate: 1}\neither: {rte: 2, rate: 1}")


def test_a_name_like_nothing_lists_what_is_known(tmp_path: Path) -> None:
    assert "known here: rate, steps" in refused(tmp_path, "inner: {rate: 1, zzz: 4}")


def test_a_wrong_entry_of_a_list_is_the_only_problem_named(tmp_path: Path) -> None:
    class Listed(Params):
        entries: tuple[Inner, ...] = Field(min_length=1)

    path = write(tmp_path, "entries: [{rate: 1, stps: 4}]")
    with pytest.raises(ParamsError) as caught:
        Listed.load(path)
    assert str(caught.value).count("\n") == 0 and "did you mean `steps`?" in str(caught.value)
    with pytest.raises(ParamsError, match="at least 1 item"):
        Listed.load(write(tmp_path, "entries: []"))


def test_files_of_several_kinds_must_say_which(tmp_path: Path) -> None:
    for kind, key in ((MethodParams, "method"), (DetectorParams, "architecture")):
        with pytest.raises(ParamsError, match=f"has no key `{key}`: write one, of"):
            kind.load(write(tmp_path, f"{key[:-1]}: supervised"))


def test_value_out_of_range_and_missing_value(tmp_path: Path) -> None:
    assert "`inner.rate` = -1: input should be greater than 0" in refused(tmp_path, "inner: {rate: -1}")
    assert "parameter `inner.rate` is missing" in refused(tmp_path, "inner: {steps: 1}")


def test_file_that_is_not_there_or_not_yaml(tmp_path: Path) -> None:
    write(tmp_path, "inner: {rate: 1}")
    with pytest.raises(ParamsError, match=r"did you mean .*p\.yaml"):
        Outer.load(tmp_path / "pp.yaml")
    assert "not valid YAML" in refused(tmp_path, "inner: [1")
    assert "expected `key: value`" in refused(tmp_path, "- 1")


class Switch(Params):
    mode: Literal["on", "off"] = "on"
    is_used: bool = True


def test_off_is_a_word_where_a_word_is_meant_and_a_switch_where_a_switch_is(tmp_path: Path) -> None:
    assert Switch.load(write(tmp_path, "mode: off\nis_used: off")) == Switch(mode="off", is_used=False)
    assert Switch.load(write(tmp_path, "is_used: false")) == Switch(is_used=False)
    assert Switch.load(write(tmp_path, "is_used: True")).is_used


def test_section_of_a_file_and_exponents_that_yaml_reads_as_text(tmp_path: Path) -> None:
    path = write(tmp_path, "a: {rate: 1e-4}\nb: {rate: 2}")
    assert Inner.load(f"{path}:a").rate == 1e-4
    with pytest.raises(ParamsError, match="has no section `c`; it has a, b"):
        Inner.load(f"{path}:c")


def test_a_section_within_a_section(tmp_path: Path) -> None:
    path = write(tmp_path, "a: {b: {rate: 3}, c: {rate: 4}, d: 5}")
    assert Inner.load(f"{path}:a.b").rate == 3 and Inner.load(f"{path}:a.c").rate == 4
    with pytest.raises(ParamsError, match=rf"{path}: a: has no section `d`; it has b, c, d"):
        Inner.load(f"{path}:a.d")
    with pytest.raises(ParamsError, match="has no section `e`; it has a"):
        Inner.load(f"{path}:e.b")
    with pytest.raises(ParamsError, match="unknown parameter `rates`"):
        Inner.load(str(write(tmp_path, "a: {b: {rates: 3}}")) + ":a.b")


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[1] / "params/training").glob("*.yaml")), ids=lambda f: f.stem
)
def test_committed_recipes_are_valid_and_sourced(file: Path) -> None:
    for section in ("burn_in", "retrain"):
        TrainingParams.load(f"{file}:{section}")
    values = [
        line for line in file.read_text().splitlines() if line.startswith(" ") and not line.rstrip().endswith(":")
    ]
    assert all("#" in line for line in values)


def test_a_key_that_is_there_twice_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("a: 1\nb: {c: 2, c: 3}\n")
    with pytest.raises(ParamsError, match=r"p\.yaml: not valid YAML: .*`c` is there twice; leave one"):
        read(tmp_path / "p.yaml")
