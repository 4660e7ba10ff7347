"""CI-SSOD's parts, each alone: class weights, thresholds, and which images are drawn."""

import copy
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from scantling import distributed, methods
from scantling.data.loader import TrainingStep
from scantling.methods import MethodParams
from scantling.params import ParamsError, check, read
from tests import tiny, toy
from tests.methods import test_battery as battery
from tests.methods.recording import view

FILE = toy.ROOT / "params/methods/ci_ssod.yaml"
CLASSES = ("square", "bar")


def method(student: nn.Module, **changes: object):
    one = methods.create(MethodParams.load(FILE).model_copy(update=changes), CLASSES, None)
    one.networks = nn.ModuleDict(one.modules(student))
    one.averages = copy.deepcopy(one.networks)
    return one


def ablation(student: nn.Module, name: str, **changes: object):
    params = MethodParams.load(FILE.with_name(f"ci_ssod_{name}.yaml"))
    return method(student, **(dict(params) | changes))


def step(step: int = 0) -> TrainingStep:
    labeled = {"labeled": view([1, 2], boxes=2)}
    return TrainingStep(labeled, {"weak": view([3, 4]), "strong": view([3, 4])}, step=step)


@pytest.fixture
def pair() -> tuple[nn.Module, nn.Module]:
    return tiny.detector("faster_rcnn", CLASSES).train(), tiny.detector("faster_rcnn", CLASSES).eval()


def test_class_weights_learn_beside_the_student(pair: tuple[nn.Module, nn.Module]) -> None:
    one = method(pair[0], reweight_warm_up_steps=0)
    losses, logged = one.step(*pair, step(1))
    assert {"labeled/balance", "unlabeled/balance"} <= set(losses)
    torch.stack(list(losses.values())).sum().backward()
    weights = one.networks["balance"].log_weights
    assert weights.grad is not None and weights.grad.abs().sum() > 0
    assert one.networks["balance"].matrix.abs().sum() > 0 and logged["class_weight_min"] == pytest.approx(1)
    plain = method(pair[0], reweight=False, gradient_thresholds=False)
    assert not any(name.endswith("balance") for name in plain.step(*pair, step(1))[0])


def test_thresholds_alone_learn_class_weights_that_no_loss_uses(pair: tuple[nn.Module, nn.Module]) -> None:
    gbt = ablation(pair[0], "gbt", reweight_warm_up_steps=0, threshold_warm_up_steps=0, candidate_floor=0.0)
    off = ablation(pair[0], "off", candidate_floor=0.0)
    torch.manual_seed(0)
    found = gbt.step(*pair, step(1))[0]
    torch.manual_seed(0)
    plain = off.step(*pair, step(1))[0]
    assert torch.equal(found["labeled/class"], plain["labeled/class"]) and "labeled/balance" in found
    assert gbt.networks["balance"].matrix.abs().sum() > 0
    gbt.networks["balance"].weights.copy_(torch.tensor([3.0, 1.0, 1.0]))
    gbt.now = 5
    assert gbt._class_weights().tolist() == [3, 1]


def test_without_its_parts_it_is_soft_teacher(pair: tuple[nn.Module, nn.Module]) -> None:
    soft = methods.create(MethodParams.load(FILE.with_name("soft_teacher.yaml")), CLASSES, None)
    found = []
    for one in (soft, ablation(pair[0], "off")):
        torch.manual_seed(0)
        found.append(one.step(*pair, step(500)))
    assert found[0] == found[1]


@pytest.mark.parametrize(("name", "part"), [("gbr", 0), ("gbt", 1), ("crs", 2), ("rfs", 3), ("off", None)])
def test_each_ablation_has_one_part(name: str, part: int | None) -> None:
    p = MethodParams.load(FILE.with_name(f"ci_ssod_{name}.yaml"))
    parts = [p.reweight, p.class_thresholds, p.resample, p.labeled_repeat is not None]
    assert parts == [place == part for place in range(4)]
    same = set(type(p).model_fields) - {
        "reweight", "class_thresholds", "gradient_thresholds", "resample", "labeled_repeat"
    }  # fmt: skip
    whole = MethodParams.load(FILE)
    assert all(getattr(p, key) == getattr(whole, key) for key in same)


def test_one_stage_detectors_have_no_class_weights() -> None:
    student = tiny.detector("retinanet", CLASSES)
    assert "balance" not in method(student).networks


def test_thresholds_move_after_their_warm_up(pair: tuple[nn.Module, nn.Module]) -> None:
    one = method(pair[0], threshold_warm_up_steps=3, candidate_floor=0.0)
    fixed = one.class_threshold.clone()
    one.step(*pair, step(2))
    assert torch.equal(one.class_threshold, fixed) and one.networks["thresholds"].scores.sum() > 0
    one.step(*pair, step(3))
    low, high = one.params.threshold_limits
    assert not torch.equal(one.class_threshold, fixed) and one.class_threshold.min() >= low - 1e-6
    assert one.class_threshold.max() <= high + 1e-6


def test_two_rules_for_the_same_thresholds_are_refused() -> None:
    asked = read(FILE) | {"teacher": "cached", "background": "cached", "scores_by_density": [0.3, 0.9]}
    with pytest.raises(ParamsError, match=r"^ci: `class_thresholds` and .* write `class_thresholds: false`"):
        check(type(MethodParams.load(FILE)), asked, "ci")


def test_the_pool_has_the_boxes_that_polish_took_for_labels(pair: tuple[nn.Module, nn.Module]) -> None:
    asked = MethodParams.load(FILE).model_copy(
        update={"teacher": "cached", "background": "cached", "threshold_warm_up_steps": 0, "candidate_floor": 0.0}
    )
    rows = [(3, 0, 0.7, True), (3, 0, 0.6, False), (4, 0, 0.9, True), (4, 1, 0.4, False)]
    table = pd.DataFrame(rows, columns=["image_id", "label", "score", "for_class"]).astype({"score": "float32"})
    table = table.assign(
        spread=0.01, x1=4.0, y1=4.0, x2=20.0, y2=20.0, source="teacher", weight=1.0, ignore=False,
        for_objectness=table["for_class"], for_box=table["for_class"],
    )  # fmt: skip
    one = methods.create(asked, CLASSES, table)
    one.networks = nn.ModuleDict(one.modules(pair[0]))
    for now in range(1, 4):
        one.step(pair[0], None, step(now))
    assert one.class_threshold.tolist() == pytest.approx([0.7, 0.9])
    assert one.visited[3] == ([0], [0.0]) and one.visited[4][1] == pytest.approx([0.2])


def test_rare_classes_are_drawn_more_often_and_the_pool_survives_a_kill(
    pair: tuple[nn.Module, nn.Module], tmp_path: object
) -> None:
    pool = toy.pool(tmp_path, labeled=4, unlabeled=4)  # type: ignore[arg-type]
    one = method(pair[0], labeled_repeat=None, rarity=1.0)
    assert one.drawn(pool, 0, 100) == (pool.labeled, pool.unlabeled)
    first, second, *rest = pool.unlabeled
    one.seen = {first: ([1], [0.5]), second: ([], [])}
    pool.labels.zero_()  # no labeled bar: it is rare
    _, unlabeled = one.drawn(pool, 100, 100)
    assert unlabeled.count(first) > 1 and unlabeled.count(second) == 1 and set(rest) <= set(unlabeled)
    again = method(pair[0], labeled_repeat=None, rarity=1.0)
    again.load_state_dict(one.state_dict())
    assert again.drawn(pool, 100, 100)[1] == unlabeled
    assert method(pair[0], resample=False).redraw_every is None


def test_the_newest_visit_of_an_image_counts_whichever_process_made_it(
    pair: tuple[nn.Module, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes in one: what the other one visited is joined after ours, so equal keys would be overwritten."""
    ours, other = method(pair[0]), method(pair[0])

    def meet() -> None:
        both = ours.visited | other.visited
        monkeypatch.setattr(distributed, "joined", lambda _: both)
        ours.state_dict(), other.state_dict()

    ours.visited, other.visited = {7: ([0], [0.1])}, {8: ([1], [0.2])}
    meet()
    ours.visited = {7: ([1], [0.3])}  # only here; the other process knows the earlier visit
    meet()
    assert ours.seen == other.seen == {7: ([1], [0.3]), 8: ([1], [0.2])}
    assert not ours.visited and not other.visited


def test_what_a_rehearsal_has_seen_is_forgotten(pair: tuple[nn.Module, nn.Module]) -> None:
    one = method(pair[0])
    before = one.state_dict()
    one.visited = {7: ([0], [0.1])}  # seen by a step that does not count
    one.load_state_dict(before)
    one.state_dict()
    assert one.seen == {}


def test_what_it_found_out_can_be_read_and_survives_a_kill(tmp_path: Path) -> None:
    changes = {
        "candidate_floor": 0.0, "threshold_limits": (0.001, 0.01), "threshold_warm_up_steps": 0,
        "reweight_warm_up_steps": 0, "rarity": 1.0,
    }  # fmt: skip

    def soon(method: object) -> None:  # every part is at work from the second step on
        method.__init__(method.params.model_copy(update=changes), CLASSES, None)  # type: ignore[misc, attr-defined]

    def killed(method: object) -> None:
        soon(method)
        battery.kill_at(4)(method)

    pool = toy.pool(tmp_path)
    whole = battery.train_tiny(FILE, "faster_rcnn", tmp_path / "a", pool, 5, soon).aids
    with pytest.raises(battery.Killed):
        battery.train_tiny(FILE, "faster_rcnn", tmp_path / "b", pool, 5, killed)
    assert battery.train_tiny(FILE, "faster_rcnn", tmp_path / "b", pool, 5, soon).aids == whole
    assert json.loads(json.dumps(whole)) == whole
    assert set(whole["class_weights"]) == {*CLASSES, "background"} and whole["class_weights"]["bar"] != 1
    assert whole["gradients"]["rows"]["bar"]["bar"] < 0 < whole["gradients"]["rows"]["bar"]["background"]
    assert all(0.001 <= t <= 0.011 for t in whole["class_thresholds"].values())
    assert set(whole["image_repeats"]) == {"labeled", "unlabeled"}


def test_offline_thresholds_and_repetitions_come_from_the_table() -> None:
    rows = [(5, 0, 0.95), (6, 0, 0.85), (6, 1, 0.62), (7, 1, 0.58), (1, 0, 0.99)]  # image, class, score
    table = pd.DataFrame(
        [{"image_id": i, "label": c, "score": s, "x1": 0.0, "y1": 0.0, "x2": 9.0, "y2": 9.0} for i, c, s in rows]
    ).assign(spread=0.01)
    split = pd.DataFrame(
        {"image_id": [1, 2, 5, 6, 7], "labeled": [True] * 2 + [False] * 3, "box_id": [3, 4, -1, -1, -1],
         "label": [0, 0, -1, -1, -1]}
    )  # fmt: skip
    params = MethodParams.load(FILE).model_copy(update={"rarity": 90.0})
    refined, aids = methods.create(params, CLASSES, None).refine(table, split)
    mean = (0.9 + 0.6) / 2  # of the classes' mean scores, with 0.9 the highest threshold
    assert aids["class_thresholds"] == pytest.approx({"square": 0.9, "bar": 0.9 * 0.6 / mean})
    assert refined["for_class"].tolist() == [True, False, False, False, False]
    assert aids["image_repeats"] == {"labeled": {}, "unlabeled": {}}  # 5 is 0.05 above, times sqrt(90/1): below 1
    params = MethodParams.load(FILE).model_copy(update={"class_thresholds": False, "rarity": 90.0, "class_score": 0.6})
    refined, aids = methods.create(params, CLASSES, None).refine(table, split)
    assert refined["for_class"].tolist() == [True, True, True, False, False]
    assert set(aids["image_repeats"]["unlabeled"]) == {"5", "6"}
