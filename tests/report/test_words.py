import pytest

from scantling.report import words


def gain(mean, low, high, n, kind):
    return {"mean": mean, "low": low, "high": high, "n": n, "kind": kind}


def method(found, equal_steps=True, rounds=1):
    return {"method": "soft", "gain": {"teacher": {"AP": found}}, "equal_steps": equal_steps, "rounds": rounds}


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (words.points, 0.4731, "47.3"),
        (words.points, None, "–"),
        (words.signed, 0.0214, "+2.1"),
        (words.signed, -0.0214, "−2.1"),
        (words.signed, -0.0001, "0.0"),
        (words.percent, 0.876, "88\u2009%"),
        (words.number, 123456, "123\u2009456"),
        (words.duration, 35.2, "35 s"),
        (words.duration, 59.7, "60 s"),
        (words.duration, 250, "4 min 10 s"),
        (words.duration, 11100, "3 h 05 min"),
        (words.duration, None, "–"),
    ],
)
def test_numbers(function, value, text):
    assert function(value) == text


def test_width():
    assert words.width(gain(0.4, 0.4, 0.4, 1, "one")) == "" == words.width(None)
    assert words.width(gain(0.4, 0.38, 0.42, 2, "range")) == "38.0 to 42.0"
    assert words.width(gain(0.4, 0.37, 0.43, 3, "t95")) == "±\u20093.0"


@pytest.mark.parametrize(
    ("found", "kind", "says"),
    [
        (gain(0.03, 0.01, 0.05, 3, "t95"), "up", "+3.0 AP (3 pairs of runs, 95\u2009% interval +1.0 to +5.0)"),
        (gain(-0.03, -0.05, -0.01, 3, "t95"), "down", "−3.0 AP"),
        (gain(0.03, -0.01, 0.07, 3, "t95"), "open", "which includes zero"),
        (gain(0.03, 0.02, 0.04, 2, "range"), "open", "two pairs of runs: +2.0 and +4.0"),
        (gain(0.03, 0.03, 0.03, 1, "one"), "open", "nothing is known of the spread"),
        (None, "open", "has no supervised run"),
    ],
)
def test_verdict(found, kind, says):
    """Only an interval that leaves zero out counts as a difference."""
    got, sentence = words.verdict(method(found), "supervised")
    assert got == kind and says in sentence


def test_verdict_without_a_baseline():
    assert words.verdict(method(None), None) == ("open", "soft has no baseline run to be compared with.")


def test_unequal_steps_are_said():
    assert (
        "may be longer training"
        in words.verdict(method(gain(0.1, 0, 0.2, 3, "t95"), equal_steps=False), "supervised")[1]
    )


def test_rounds_are_said_in_place_of_steps():
    said = words.verdict(method(gain(0.1, 0, 0.2, 3, "t95"), equal_steps=False, rounds=3), "supervised")[1]
    assert said.endswith(" It has 3 rounds of training, its baseline one.") and "longer" not in said
