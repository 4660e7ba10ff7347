"""What can be wrong with a data set, as a table: what is counted, shown and refused, and what a parameter may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from scantling.data.folder import FolderParams
from scantling.data.problems import EXAMPLES, KINDS, LONGEST_EXAMPLE, Findings, check_policy, one_line
from scantling.params import ParamsError
from scantling.stage import BadInput


def test_what_is_found_of_a_kind_is_one_entry() -> None:
    found = Findings()
    assert found.add("box_outside", ["a", "b", "c"])
    assert found.add("crowd", [])
    assert found.add("box_outside", ["d", "e", "f"], 40)
    assert [(p.kind, p.level, p.count) for p in found] == [("box_outside", "repair", 43)]
    assert found[0].examples == ("a", "b", "c", "d", "e") and len(found[0].examples) == EXAMPLES
    found.refuse("a.json")


def test_errors_are_refused_in_one_sentence_each() -> None:
    found = Findings({"crowd": "error"})
    assert not found.add("crowd", ["1.jpg"])
    assert not found.add("missing_file", ["2.jpg", "3.jpg"], 7)
    with pytest.raises(BadInput) as caught:
        found.refuse("bolts")
    first, second = str(caught.value).splitlines()
    assert first == "bolts: 1 x image with a crowd region, e.g. 1.jpg; " + KINDS["crowd"].remedy
    assert second.startswith("bolts: 7 x image without file, e.g. 2.jpg, 3.jpg and 5 more; put the file there; or set")
    assert "`problems: {missing_file: repair}` (left out with its boxes)" in second


def test_examples_are_one_line_of_characters() -> None:
    found = Findings()
    found.add("crowd", ["a\nb\x00\ud800\u202ec", "x" * 10**6, Path("ä b")])
    assert found[0].examples[0] == r"a\nb\x00\ud800\u202ec"
    assert len(found[0].examples[1]) <= LONGEST_EXAMPLE + 3
    assert found[0].examples[2] == "ä b"
    assert len(one_line("\ud800" * 10**6)) < 10 * LONGEST_EXAMPLE


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"box_outsid": "error"}, "unknown problem `box_outsid`; did you mean `box_outside`?"),
        ({"crowd": "repair"}, "problem `crowd` cannot be `repair`; it can be error or note"),
        ({"missing_file": "note"}, "cannot be `note`; it can be error or repair"),
        ({"path_outside": "repair"}, "cannot be `repair`; it can be error"),
    ],
)
def test_a_policy_that_cannot_be(policy: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        check_policy(policy)
    (tmp_path / "p.yaml").write_text(f"name: a\nroot: .\nproblems: {policy}\n")
    with pytest.raises(ParamsError, match=rf"p\.yaml: `problems` = .*{message}"):
        FolderParams.load(tmp_path / "p.yaml")


@pytest.mark.parametrize("kind", KINDS)
def test_texts_say_what_a_person_needs(kind: str) -> None:
    """They are put into sentences: no capital, no full stop."""
    known = KINDS[kind]
    for text in (known.title, known.remedy, known.repair or "x"):
        assert text and text.startswith("EXIF") or text[0] == text[0].lower()
        assert not text.endswith(".") or text.endswith("...")
    assert known.default != "repair" or known.repair
    check_policy({kind: "error"})
