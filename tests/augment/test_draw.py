"""What is drawn: ranges, shares and order of every published step."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from scantling.augment import coloring, draw, geometry
from scantling.augment.plan import Plan
from scantling.augment.settings import OneOf, View, ViewParams
from tests.augment.published import CO_STUDENT, OWN, SOFT_TEACHER, SPARSEDET, UNBIASED_TEACHER

GOLDEN = Path(__file__).parents[1] / "golden/soft_teacher"
SIZE = (100, 140)
BOXES = torch.tensor([[10.0, 20.0, 60.0, 80.0], [70.0, 5.0, 130.0, 95.0]])


def drawn(section: dict, count: int = 400, size: tuple[int, int] = SIZE, **others: object) -> list[Plan]:
    view, rng = View.model_validate(section), np.random.default_rng(0)
    return [draw.draw(view, size, rng, **others) for _ in range(count)]


def names(plan: Plan) -> list[str]:
    return [step.name for step in plan.steps]


def values(plans: list[Plan], name: str) -> np.ndarray:
    return np.array([step.values for plan in plans for step in plan.before + plan.steps if step.name == name])


def test_published_magnitudes() -> None:
    case = json.loads((GOLDEN / "rand_aug_magnitudes.json").read_text())

    def of(operation: str) -> list[float]:
        return [coloring.one_of(OneOf(), operation, m)[0].values[0] for m in case["magnitude"]]

    assert of("solarize") == case["solarize_threshold"]
    assert of("posterize") == case["posterize_bits"]
    for operation in ("color", "contrast", "brightness", "sharpness"):
        assert of(operation) == pytest.approx(case["enhance_factor"])
    assert coloring.one_of(OneOf(), "identity", 5) == []


def test_soft_teachers_weak_view_is_a_size_and_a_flip() -> None:
    plans = drawn(SOFT_TEACHER["weak"])
    assert {min(plan.size) for plan in plans} == set(range(60, 87))  # 87 to 90 end at the cap of the long side
    assert max(max(plan.size) for plan in plans) == 120
    assert {name for plan in plans for name in names(plan)} == {"flip_horizontal"}
    assert np.mean([names(plan) == ["flip_horizontal"] for plan in plans]) == pytest.approx(0.5, abs=0.08)
    assert not any(plan.antialias for plan in plans)


def test_soft_teachers_strong_view() -> None:
    plans = drawn(SOFT_TEACHER["strong"] | {"flip_horizontal": 0.0}, 900)
    counts = Counter(name for plan in plans for name in names(plan))
    for name in ("auto_contrast", "equalize", "solarize", "posterize", "color", "contrast", "brightness", "sharpness"):
        assert counts[name] / len(plans) == pytest.approx(1 / 9, abs=0.04)
    assert counts["warp"] == len(plans)
    patches = [sum(name == "erase" for name in names(plan)) for plan in plans]
    assert Counter(patches).keys() == {1, 2, 3, 4} and np.mean(patches) == pytest.approx(2.5, abs=0.15)
    assert all(set(names(plan)[-n:]) == {"erase"} for plan, n in zip(plans, patches, strict=True))
    warp_first = [names(plan)[0] == "warp" for plan in plans if names(plan)[:2].count("erase") == 0]
    assert np.mean(warp_first) == pytest.approx(0.5, abs=0.06)  # random order of color and geometry


def test_soft_teachers_erased_patches_have_the_images_shape() -> None:
    for plan in drawn(SOFT_TEACHER["strong"], 200):
        height, width = plan.size
        for step in plan.steps:
            if step.name == "erase":
                x, y, w, h, fill = step.values
                assert abs(w / width - h / height) <= 1 / min(plan.size) and w <= 0.2 * width
                assert 0 <= x <= width - w and 0 <= y <= height - h and fill == 125


def test_geometry_is_one_of_four() -> None:
    kinds = Counter()
    for a, b, dx, c, d, dy, fill in values(drawn(SOFT_TEACHER["strong"], 800), "warp"):
        rotated = np.isclose(a, d) and np.isclose(b, -c) and not np.isclose(b, 0)
        kind = "x" if (a, b, c, d, dy) == (1, 0, 0, 1, 0) else "y" if (a, b, c, d, dx) == (1, 0, 0, 1, 0) else ""
        kinds[kind or ("rotate" if rotated else "shear")] += 1
        assert fill == 125
        if rotated:
            assert abs(np.degrees(np.arctan2(c, a))) <= 30
        elif not kind:  # y after x: the matrix is shear_y @ shear_x
            assert abs(b) <= 0.4805 and abs(c) <= 0.4805 and a == 1 and d == pytest.approx(1 + b * c)
    assert all(count / 800 == pytest.approx(0.25, abs=0.06) for count in kinds.values()) and len(kinds) == 4


def test_co_students_geometry_has_no_rotation_and_no_shift_down() -> None:
    for a, b, _, c, d, dy, _ in values(drawn(CO_STUDENT["strong"], 300), "warp"):
        assert (a, d, dy) == (1, 1, 0) and (b == 0 or c == 0)


def test_unbiased_teachers_sizes_are_choices() -> None:
    plans = drawn(UNBIASED_TEACHER["weak"], size=(100, 110))
    assert set(Counter(min(plan.size) for plan in plans)) == {64, 72, 80}


def test_unbiased_teachers_strong_view_follows_the_weak_one() -> None:
    weak = drawn(UNBIASED_TEACHER["weak"], 1)[0]
    plans = drawn(UNBIASED_TEACHER["strong"], 1500, weak=weak)
    assert all(plan.on_weak and plan.size == weak.size and torch.equal(plan.matrix, weak.matrix) for plan in plans)
    shares = {name: np.mean([name in names(plan) for plan in plans]) for name in ("hue", "gray", "blur")}
    assert shares == pytest.approx({"hue": 0.8, "gray": 0.2, "blur": 0.5}, abs=0.05)
    assert values(plans, "hue").min() < -0.09 and values(plans, "hue").max() < 0.1
    assert 0.6 <= values(plans, "brightness").min() < 0.61 and 1.39 < values(plans, "color").max() <= 1.4
    assert 0.1 <= values(plans, "blur").min() and 1.95 < values(plans, "blur").max() <= 2
    jitter = ("brightness", "contrast", "color", "hue")
    orders = Counter(tuple(n for n in names(plan) if n in jitter) for plan in plans if "hue" in names(plan))
    assert len(orders) == 24  # four operations in random order
    place = {"gray": 1, "blur": 2, "noise": 3} | dict.fromkeys(jitter, 0)
    assert all([place[n] for n in names(plan)] == sorted(place[n] for n in names(plan)) for plan in plans)


def test_unbiased_teachers_three_erasings() -> None:
    weak = drawn(UNBIASED_TEACHER["weak"], 1)[0]
    height, width = weak.size
    plans = drawn(UNBIASED_TEACHER["strong"], 800, weak=weak)
    assert np.mean([names(plan).count("noise") for plan in plans]) == pytest.approx(0.7 + 0.5 + 0.3, abs=0.12)
    x, y, w, h, _ = values(plans, "noise").T
    areas, aspects = w * h / (height * width), h / w
    assert 0.015 < areas.min() and areas.max() < 0.21 and aspects.min() < 0.4 and aspects.max() > 2.5
    assert (x >= 0).all() and (x + w <= width).all() and (y >= 0).all() and (y + h <= height).all()


def test_sparsedets_strong_view_works_on_the_original_pixels() -> None:
    weak = drawn(SPARSEDET["weak"], 1)[0]
    for plan in drawn(SPARSEDET["strong"], 50, boxes=BOXES, weak=weak):
        assert [s.name for s in plan.before][:4] == ["contrast", "brightness", "color", "lighting"]
        assert plan.steps == weak.steps and torch.equal(plan.matrix, weak.matrix) and not plan.on_weak


def test_sparsedet_erases_inside_one_labeled_box() -> None:
    weak = drawn(SPARSEDET["weak"], 1)[0]
    plans = drawn(SPARSEDET["strong"], 400, boxes=BOXES, weak=weak)
    erased = values(plans, "erase")
    assert len(erased) > 380
    chosen = Counter()
    for x, y, w, h, fill in erased:
        inside = [x >= x1 - 1 and y >= y1 - 1 and x + w <= x2 and y + h <= y2 for x1, y1, x2, y2 in BOXES.tolist()]
        areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in BOXES.tolist()]
        assert any(i and 0.37 <= w * h / a <= 0.73 for i, a in zip(inside, areas, strict=True)) and fill == 0
        chosen[inside.index(True)] += 1
    assert min(chosen.values()) > 150
    assert len(values(drawn(SPARSEDET["strong"], 20, weak=weak), "erase")) == 0  # no box: nothing to erase in


def test_a_box_is_erased_where_the_view_shows_it() -> None:
    section = {"exact_px": [200, 280], "flip_horizontal": 1.0, "erase_box": SPARSEDET["strong"]["erase_box"]}
    for x, y, w, h, _ in values(drawn(section, 50, boxes=BOXES[:1]), "erase"):
        assert x >= 280 - 120 - 1 and x + w <= 280 - 20 and y >= 40 - 1 and y + h <= 160


def test_exact_size_zoom_and_fixed_order() -> None:
    plans = drawn(OWN["weak"])
    assert {plan.size for plan in plans} == {(70, 80)}
    factors = values(plans, "warp")[:, 0]
    assert len(factors) / len(plans) == pytest.approx(0.5, abs=0.08) and 0.75 <= factors.min() < factors.max() <= 1.4
    section = SOFT_TEACHER["strong"] | {"random_order": False, "flip_horizontal": 0.0}
    assert not any(names(plan)[0] == "warp" and "erase" not in names(plan)[1:2] for plan in drawn(section, 100))


def test_the_matrix_is_the_product_of_the_steps() -> None:
    for plan in drawn(OWN["labeled"] | {"geometric": SOFT_TEACHER["strong"]["geometric"]}, 100):
        height, width = plan.size
        matrix = geometry.scale(width / SIZE[1], height / SIZE[0])
        for step in plan.steps:
            match step.name:
                case "flip_horizontal":
                    matrix = geometry.flip_horizontal(width) @ matrix
                case "flip_vertical":
                    matrix = geometry.flip_vertical(height) @ matrix
                case "warp":
                    matrix = geometry.from_rows([step.values[:6]])[0] @ matrix
        torch.testing.assert_close(plan.matrix, matrix)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"flip_horizontal": 0.5}, "give one of short_px"),
        ({"short_px": [60, 60], "exact_px": [60, 60], "long_px": 99}, "give one of short_px"),
        ({"short_px": [60, 60]}, "give long_px"),
        ({"short_px": [90, 60], "long_px": 99}, "an interval is"),
        ({"same_geometry": True, "flip_vertical": 0.5}, "leave them out"),
        ({"exact_px": [9, 9], "color": {"operations": ["invert"]}}, "auto_contrast"),
    ],
)
def test_a_view_that_cannot_be_is_refused(section: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        View.model_validate(section)


def test_only_the_strong_view_shares_geometry() -> None:
    with pytest.raises(ValidationError, match="only strong"):
        ViewParams.model_validate(UNBIASED_TEACHER | {"raw": {"same_geometry": True}})
