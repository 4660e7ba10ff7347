"""What every method passes on every detector; a new method or detector file joins by itself."""

import copy
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from scantling import methods, train
from scantling.data import sampler
from scantling.data.loader import Pool, TrainingStep, training_steps
from scantling.methods import MethodParams, supervised
from scantling.pseudo import COLUMNS
from scantling.target import Target
from tests import toy

FILES = sorted((toy.ROOT / "params/methods").glob("*.yaml"))
DETECTORS = sorted(p.stem for p in (toy.ROOT / "params/detectors").glob("*_lite.yaml"))
CLASSES = ("square", "bar")
every = pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
each_detector = pytest.mark.parametrize("detector", DETECTORS)


def refined_table(images: range, score: float = 0.95) -> pd.DataFrame:
    rows = [
        {"image_id": i, "label": 0, "score": score, "x1": 10.0, "y1": 10.0, "x2": 34.0, "y2": 34.0, "spread": 0.001}
        for i in images
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    return supervised.unused(table).assign(for_class=True) if len(table) else supervised.unused(table)


def params_of(file: Path, classes: tuple[str, ...] = CLASSES) -> MethodParams:
    params = MethodParams.load(file)
    named = {c: t for c, t in getattr(params, "class_score_of", {}).items() if c in classes}
    return params.model_copy(update={"class_score_of": named}) if hasattr(params, "class_score_of") else params


def method_of(file: Path, classes: tuple[str, ...] = CLASSES, refined: pd.DataFrame | None = None) -> Any:
    table = refined_table(range(8)) if refined is None else refined
    return methods.create(params_of(file, classes), classes, table)


def batch_of(pool: Pool, method: Any, seed: int = 0) -> TrainingStep:
    stream = sampler.steps(
        pool.labeled,
        pool.unlabeled if method.unlabeled_views else [],
        labeled_per_step=2,
        unlabeled_per_step=2,
        seed=seed,
    )
    views = {"labeled_views": method.labeled_views, "unlabeled_views": method.unlabeled_views}
    return next(training_steps(pool, toy.VIEWS, **views, stream=stream, first=0, last=1, seed=seed))


def labeler_of(method: Any, detector: str, classes: tuple[str, ...] = CLASSES) -> torch.nn.Module | None:
    return None if method.params.teacher in ("cached", "student") else toy.detector(detector, classes, seed=1).eval()


def step(
    method: Any, detector: str, batch: TrainingStep, classes: tuple[str, ...] = CLASSES
) -> dict[str, torch.Tensor]:
    student = toy.detector(detector, classes).train()
    torch.manual_seed(0)
    losses, _ = method.step(student, labeler_of(method, detector, classes), batch)
    total = torch.stack(list(losses.values())).sum()
    assert torch.isfinite(total), losses
    total.backward()
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(g).all() for g in gradients)
    return {k: v.detach() for k, v in losses.items()}


@every
@each_detector
def test_finite_losses_and_gradients(file: Path, detector: str, tmp_path: Path) -> None:
    method = method_of(file)
    losses = step(method, detector, batch_of(toy.pool(tmp_path), method))
    assert any(name.startswith("labeled/") for name in losses)
    if method.unlabeled_views:
        assert any(name.startswith("unlabeled/") for name in losses)


def without_boxes(batch: TrainingStep) -> TrainingStep:
    for view in batch.labeled.values():
        view.targets = [Target.empty() for _ in view.targets]
    return batch


@every
@each_detector
def test_no_labeled_box_in_the_batch(file: Path, detector: str, tmp_path: Path) -> None:
    method = method_of(file)
    step(method, detector, without_boxes(batch_of(toy.pool(tmp_path), method)))


@every
@each_detector
def test_no_unlabeled_image(file: Path, detector: str, tmp_path: Path) -> None:
    method = method_of(file)
    losses = step(method, detector, batch_of(toy.pool(tmp_path, unlabeled=0), method))
    assert not any(name.startswith("unlabeled/") for name in losses)


@every
@each_detector
def test_no_pseudo_label_survives(file: Path, detector: str, tmp_path: Path) -> None:
    params = params_of(file)
    strict = {
        k: 1.0 for k in ("class_score", "objectness_score", "candidate_score", "mine_score") if hasattr(params, k)
    }
    method = methods.create(
        params.model_copy(update={**strict, "class_score_of": {}}), CLASSES, refined_table(range(0))
    )
    step(method, detector, batch_of(toy.pool(tmp_path), method))


@every
def test_one_class(file: Path, tmp_path: Path) -> None:
    pool = toy.pool(tmp_path)
    for labels in pool.labels.values():
        labels.zero_()
    method = method_of(file, ("square",))
    step(method, DETECTORS[0], batch_of(pool, method), ("square",))


def train_toy(
    file: Path, work: Path, pool: Pool, steps: int, spoil: Callable[[Any], None] | None = None
) -> train.Training:
    method = method_of(file)
    if spoil is not None:
        spoil(method)
    student = toy.detector(DETECTORS[0])
    average = copy.deepcopy(student)
    mode = method.params.teacher
    labeler = average if mode == "ema" else labeler_of(method, DETECTORS[0])
    return train.run(
        student=student, average=average, labeler=labeler, method=method, pool=pool, views=toy.VIEWS,
        params=toy.training(steps), seed=5, device="cpu", work=work, what="toy",
    )  # fmt: skip


class Killed(Exception):
    pass


def kill_at(call: int) -> Callable[[Any], None]:
    def spoil(method: Any) -> None:
        original, count = method.step, 0

        def step(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == call:
                raise Killed
            return original(*arguments)

        method.step = step

    return spoil


@every
def test_a_killed_training_ends_with_the_same_bits(file: Path, tmp_path: Path) -> None:
    pool = toy.pool(tmp_path)
    whole = train_toy(file, tmp_path / "a", pool, 5)
    with pytest.raises(Killed):
        train_toy(file, tmp_path / "b", pool, 5, kill_at(4))  # checkpoints every 2 steps: goes on at step 2
    resumed = train_toy(file, tmp_path / "b", pool, 5)
    for one, other in ((whole.student, resumed.student), (whole.teacher, resumed.teacher)):
        for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b), name
    same = [c for c in whole.history if c not in ("images_per_second", "peak_memory_mib")]
    pd.testing.assert_frame_equal(whole.history[same], resumed.history[same])


@every
def test_the_loss_falls_on_a_few_images(file: Path, tmp_path: Path) -> None:
    history = train_toy(file, tmp_path / "w", toy.pool(tmp_path), 14).history
    labeled = history[[c for c in history if c.startswith("labeled/")]].sum(axis=1)
    assert labeled.iloc[-4:].mean() < labeled.iloc[:4].mean()


def test_a_loss_that_is_not_finite_names_itself_and_leaves_the_batch(tmp_path: Path) -> None:
    def spoil(method: Any) -> None:
        original = method.step

        def step(*arguments: Any) -> Any:
            losses, logged = original(*arguments)
            return losses | {"labeled/class": losses["labeled/class"] * float("nan")}, logged

        method.step = step

    with pytest.raises(train.NotFinite, match="labeled/class is not finite at step 0"):
        train_toy(toy.ROOT / "params/methods/supervised.yaml", tmp_path / "w", toy.pool(tmp_path), 2, spoil)
    assert (tmp_path / "w" / "not_finite_step_0.json").is_file()


@every
def test_the_parameter_file_is_complete_and_every_value_has_a_source(file: Path) -> None:
    params = MethodParams.load(file)
    keys = [line.split(":")[0] for line in file.read_text().splitlines() if line and not line.startswith("#")]
    assert set(keys) == set(type(params).model_fields), "every parameter is written out"
    unsourced = [
        line for line in file.read_text().splitlines()
        if line and not line.startswith(("#", "method:")) and "#" not in line
    ]  # fmt: skip
    assert not unsourced


@every
def test_the_module_bears_the_name_of_its_method(file: Path) -> None:
    params = MethodParams.load(file)
    module = importlib.import_module(f"scantling.methods.{params.method}")
    assert isinstance(params, module.Params)
