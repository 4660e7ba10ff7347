"""Facts about labels: rounds apart from first labels, and what older results do not have."""

import dataclasses

import pytest

from scantling.report import labels, results


@pytest.fixture(scope="module")
def mining(made):
    return [r for r in results.load(made.results, made.study) if r.run.method == "mining"]


def later(result):
    """The second round of a run: better labels, and what they changed."""
    run = result.run.model_copy(update={"method": "mining_round2", "after": result.run.key})
    pseudo = result.quality["pseudo"]
    better = pseudo | {"all": pseudo["all"] | {"precision": [0.95] * 5}}
    changes = {"all": {"before": 4, "now": 6, "same": 3, "moved": 1, "added": 2, "removed": 0}}
    changes["precision"] = {"added": 0.5, "removed": None}
    quality = result.quality | {"pseudo": better, "changes": changes}
    return dataclasses.replace(result, run=run, quality=quality)


def test_labels_are_those_of_the_first_round(mining):
    alone = labels.facts(mining)
    assert alone["rounds"] == [] and alone["all"]["suggested"] is None and alone["sizes"] == {}
    both = labels.facts([*mining, *map(later, mining)])
    assert both | {"rounds": []} == alone
    (round_two,) = both["rounds"]
    assert round_two["method"] == "mining_round2" and round_two["precision"] == pytest.approx(0.95)
    assert round_two["changes"]["added"] == 2 and round_two["changes"]["relabeled"] is None
    assert round_two["added_precision"] == 0.5 and round_two["removed_precision"] is None


def test_a_comparison_of_later_rounds_alone_has_their_labels(mining):
    assert labels.facts([later(result) for result in mining])["all"]["precision"] == pytest.approx(0.95)


def test_found_is_none_where_a_step_is_missing():
    tree = {"a": {"b": None, "c": 0}}
    assert labels.found(tree, "a", "c") == 0
    assert labels.found(tree, "a", "b", "c") is labels.found(tree, "x", "c") is labels.found(None, "a") is None
