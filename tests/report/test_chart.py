import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scantling.report.chart import Dots, Frame, Line, dot_chart, extent, line_chart, ticks

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("low", "high", "about", "expected"),
    [
        (0, 1, 3, [0, 0.5, 1]),
        (0, 900, 4, [0, 200, 400, 600, 800]),
        (34, 56, 5, [35, 40, 45, 50, 55]),
        (-0.2, 0.2, 4, [-0.2, -0.1, 0, 0.1, 0.2]),
        (5, 5, 3, [5]),
    ],
)
def test_ticks(low, high, about, expected):
    assert ticks(low, high, about) == pytest.approx(expected)


@pytest.mark.parametrize("top", [1.0, 0.00035, 12345.0])
def test_ticks_have_room_for_all_their_digits(top):
    """A character of the axis takes at most 6 units; without room its first digits would be cut off."""
    svg = ET.fromstring(line_chart([Line("a", [(0, 0), (1, top)], "m1")], label="a", x=(0, 1), y=(0, top)))
    shown = [text for text in svg.iter(f"{SVG}text") if text.get("text-anchor") == "end"]
    assert len(shown) >= 3 and all(float(text.get("x")) >= 6 * len(text.text) for text in shown)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 8))
def test_ticks_lie_inside_and_are_few(low, span, about):
    found = ticks(low, low + span, about)
    assert all(low - 1e-6 * span <= t <= low + span * (1 + 1e-6) for t in found)
    assert len(found) <= 2 * about + 2


def test_frame_turns_y_around():
    frame = Frame((0, 10), (0, 1), width=100, height=50, left=10, right=0, top=0, bottom=10)
    assert frame.at(0, 0) == (10, 40)
    assert frame.at(10, 1) == (100, 0)


def test_lines_break_at_gaps_and_single_points_show():
    points = [(0, 0.0), (1, 1.0), (2, None), (3, 0.5)]
    svg = line_chart([Line("recall <all>", points, "recall")], label="a & b", x=(0, 3), y=(0, 1), marks=[2])
    root = ET.fromstring(svg)
    (line,) = [p for p in root.iter(f"{SVG}path") if p.get("class") == "line recall"]
    assert line.get("d").count("M") == 2 and line.get("d").endswith("h1.5")
    assert line.find(f"{SVG}title").text == "recall <all>" and root.get("aria-label") == "a & b"


def test_no_point_is_legal():
    assert ET.fromstring(line_chart([Line("x", [], "m1")], label="x", x=(0, 1), y=(0, 1))) is not None
    assert ET.fromstring(dot_chart([], label="x", x=(0, 1))) is not None


def test_dots_stay_in_the_drawing_when_the_interval_does_not():
    svg = dot_chart([Dots("soft", [40, 42], 41, (10, 90), "m1")], label="AP", x=(39, 43))
    root = ET.fromstring(svg)
    assert len(list(root.iter(f"{SVG}circle"))) == 2
    (span,) = [p for p in root.iter(f"{SVG}path") if p.get("class") == "span m1"]
    start, end = (float(v) for v in span.get("d")[1:].replace("H", " ").split()[::2])
    assert 0 < start < end < 400


@given(st.lists(st.floats(-1e3, 1e3), max_size=5), st.booleans())
def test_extent_holds_all_values(values, zero):
    low, high = extent(values, zero=zero)
    assert low < high and all(low <= v <= high for v in values)
