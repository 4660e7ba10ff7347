"""What a report tells of the labels that a training found."""

import dataclasses

import pytest

from scantling.report import learned, results


@pytest.fixture(scope="module")
def soft(made):
    return [r for r in results.load(made.results, made.study) if r.run.method == "soft"]


def test_means_over_the_runs_of_a_method(soft):
    found = learned.along(soft)
    assert found is not None and found["steps"] == [14, 27, 40]
    assert found["precision"] == [None, 0.5, pytest.approx(0.627)]  # folds 1, 2, 3 have 0.626, 0.627, 0.628
    assert found["boxes_per_image"] == [0.0, 1.0, 2.0] and found["recall"] == pytest.approx([0.0, 0.4, 1.0])


def test_a_curve_goes_on_from_the_burn_in_and_leaves_out_what_is_not_known(soft):
    assert learned.points(soft, "precision") == [(20 + 27, 0.5), (20 + 40, pytest.approx(0.627))]
    assert [x for x, _ in learned.points(soft, "recall")] == [34, 47, 60]


def test_nothing_known_or_nothing_found(made, soft):
    older = [r for r in results.load(made.results, made.study) if r.run.method in ("mining", "supervised")]
    assert learned.along(older) is None and learned.points(older, "recall") == []
    training = soft[0].quality["training"]
    never = training | {"all": training["all"] | {"count": [0, 0, 0]}}
    assert learned.along([dataclasses.replace(soft[0], quality={**soft[0].quality, "training": never})]) is None


def test_what_an_earlier_version_evaluated_tells_no_parts(soft):
    training = soft[0].quality["training"]
    every = {name: value for name, value in training["all"].items() if name != "parts"}
    older = dataclasses.replace(soft[0], quality={**soft[0].quality, "training": training | {"all": every}})
    found = learned.along([older])
    assert found is not None and found["parts"] == [None, None, None] and found["recall"] == [0.0, 0.4, 1.0]
    assert learned.points([older], "parts") == []


def test_runs_of_another_length_are_left_out(soft):
    training = soft[1].quality["training"] | {"steps": [1, 2, 3]}
    other = dataclasses.replace(soft[1], quality={**soft[1].quality, "training": training})
    assert learned.along([soft[0], other]) == learned.along([soft[0]])


def test_the_page_draws_it_and_the_tables_name_it(made):
    page = next(made.out.glob("*.html")).read_text()
    assert page.count("recall of the labels found over training steps") == 1  # of the newer group alone
    text = (made.out / "tables.md").read_text()
    assert "ends at step 14, 27, 40 of retraining" in text
    assert "| `soft` | 0.00 / - / 0.00 / - | 1.00 / 0.50 / 0.40 / 0.25 | 2.00 / 0.63 / 1.00 / 0.00 |" in text
