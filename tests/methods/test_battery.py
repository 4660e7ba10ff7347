"""What every method passes on every detector; a new method or detector file joins by itself."""

import copy
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from scantling import checkpoint, methods, train
from scantling.augment.views import ViewParams
from scantling.data import sampler
from scantling.data.loader import Pool, TrainingStep, training_steps
from scantling.methods import MethodParams, supervised
from scantling.pseudo import COLUMNS
from scantling.target import Target
from tests import tiny, toy

FILES = sorted((toy.ROOT / "params/methods").glob("*.yaml"))
CLASSES = tiny.CLASSES
ODD = ViewParams.model_validate(
    {"labeled": {"short_px": [37, 53], "long_px": 71}}
    | {name: {"short_px": [37, 53], "long_px": 71, "flip_horizontal": 0.5} for name in ("raw", "weak", "strong")}
)
# what makes a step slow and changes nothing else; where a method has it, the tests are faster
SMALL = {"width": 16, "cells": 3, "proposals": 20, "box_copies": (4, 0.2), "class_copies": ((2, 0.06), (2, 0.2))}


def kinds() -> list[Path]:
    """Of the files that differ in numbers alone one: the first of each method and teacher mode."""
    found: dict[tuple[str, str], Path] = {}
    for file in FILES:
        params = MethodParams.load(file)
        found.setdefault((params.method, params.teacher), file)
    return sorted(found.values())


def learners() -> list[Path]:
    """Of each method one file: its teacher's mode changes who labels, not how it learns."""
    return sorted({MethodParams.load(file).method: file for file in reversed(kinds())}.values())


def on_each_or_two_stage(files: list[Path], everywhere: list[Path]) -> pytest.MarkDecorator:
    """`files` on the two-stage detector, which has all the parts, and those of `everywhere` on the others as well."""
    cases = [(f, d) for f in files for d in tiny.ARCHITECTURES if f in everywhere or d == "faster_rcnn"]
    return pytest.mark.parametrize(("file", "detector"), cases, ids=[f"{d}-{f.stem}" for f, d in cases])


every_file = pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
every_learner = pytest.mark.parametrize("file", learners(), ids=lambda f: f.stem)
every = pytest.mark.parametrize("file", kinds(), ids=lambda f: f.stem)
on_each = pytest.mark.parametrize("detector", tiny.ARCHITECTURES)


def refined_table(images: range, score: float = 0.95) -> pd.DataFrame:
    rows = [
        {"image_id": i, "label": 0, "score": score, "x1": 10.0, "y1": 10.0, "x2": 34.0, "y2": 34.0, "spread": 0.001}
        for i in images
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    return supervised.unused(table).assign(for_class=True) if len(table) else supervised.unused(table)


def params_of(file: Path, classes: tuple[str, ...] = CLASSES) -> MethodParams:
    """The committed parameters, smaller, and without what they say of classes that are not here."""
    params = MethodParams.load(file)
    named = {k: {c: t for c, t in v.items() if c in classes} for k, v in params if isinstance(v, dict)}
    return params.model_copy(update=named | {k: v for k, v in SMALL.items() if hasattr(params, k)})


def method_of(file: Path, classes: tuple[str, ...] = CLASSES) -> Any:
    return methods.create(params_of(file, classes), classes, refined_table(range(10)))


def batch_of(
    pool: Pool, method: Any, *, labeled: int = 2, unlabeled: int = 2, views: ViewParams = toy.VIEWS
) -> TrainingStep:
    stream = sampler.steps(
        pool.labeled,
        pool.unlabeled if method.unlabeled_views else [],
        labeled_per_step=labeled,
        unlabeled_per_step=unlabeled,
        seed=0,
    )
    wanted = {"labeled_views": method.labeled_views, "unlabeled_views": method.unlabeled_views}
    return next(training_steps(pool, views, **wanted, stream=stream, first=0, last=1, seed=0))


def ready(method: Any, student: torch.nn.Module) -> Any:
    """The method as the loop prepares it."""
    method.networks = torch.nn.ModuleDict(method.modules(student))
    method.averages = copy.deepcopy(method.networks).requires_grad_(False)
    return method


def labeler_of(method: Any, detector: str, classes: tuple[str, ...] = CLASSES) -> torch.nn.Module | None:
    return None if method.params.teacher in ("cached", "student") else tiny.detector(detector, classes, seed=1).eval()


def step(
    method: Any, detector: str, batch: TrainingStep, classes: tuple[str, ...] = CLASSES, bfloat16: bool = False
) -> dict[str, torch.Tensor]:
    """Losses of one step; they and all gradients are finite, and there is a gradient for everything that learns."""
    student = tiny.detector(detector, classes).train()
    ready(method, student)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        losses, logged = method.step(student, labeler_of(method, detector, classes), batch)
    total = torch.stack([loss.float() for loss in losses.values()]).sum()
    assert torch.isfinite(total), losses
    total.backward()
    learning = {name: p for name, p in student.named_parameters() if p.requires_grad}
    assert [name for name, p in learning.items() if p.grad is None] == [], "processes would wait for each other"
    assert all(torch.isfinite(p.grad).all() for p in learning.values() if p.grad is not None)
    assert all(name.startswith(("labeled/", "unlabeled/")) for name in losses)
    assert all(isinstance(value, int | float) for value in logged.values())
    return {k: v.detach() for k, v in losses.items()}


@on_each_or_two_stage(FILES, kinds())
def test_finite_losses_and_gradients(file: Path, detector: str, tmp_path: Path) -> None:
    """Files that differ from another in numbers alone are not asked on every detector."""
    method = method_of(file)
    losses = step(method, detector, batch_of(toy.pool(tmp_path), method))
    assert any(name.startswith("labeled/") for name in losses)
    if method.unlabeled_views:
        assert any(name.startswith("unlabeled/") for name in losses)


@every
@on_each
def test_half_precision(file: Path, detector: str, tmp_path: Path) -> None:
    method = method_of(file)
    batch = batch_of(toy.pool(tmp_path), method)
    fine, coarse = step(method, detector, batch), step(method, detector, batch, bfloat16=True)
    for name in (n for n in fine if n.startswith("labeled/")):
        assert float(coarse[name]) == pytest.approx(float(fine[name]), rel=0.25, abs=0.05), name


def without_boxes(batch: TrainingStep) -> TrainingStep:
    for view in batch.labeled.values():
        view.targets = [Target.empty(seed=t.seed) for t in view.targets]
    return batch


@every
@on_each
def test_no_labeled_box_in_the_batch(file: Path, detector: str, tmp_path: Path) -> None:
    method = method_of(file)
    step(method, detector, without_boxes(batch_of(toy.pool(tmp_path), method)))


@every
@on_each
def test_no_unlabeled_image(file: Path, detector: str, tmp_path: Path) -> None:
    method = method_of(file)
    losses = step(method, detector, batch_of(toy.pool(tmp_path, unlabeled=0), method))
    assert not any(name.startswith("unlabeled/") for name in losses)


@every
@on_each
def test_no_pseudo_label_survives(file: Path, detector: str, tmp_path: Path) -> None:
    params = params_of(file)
    strict: dict[str, Any] = {k: 1.0 for k, v in params if "score" in k and isinstance(v, float)}
    strict |= {k: {} for k, v in params if isinstance(v, dict)}
    method = methods.create(params.model_copy(update=strict), CLASSES, refined_table(range(0)))
    step(method, detector, batch_of(toy.pool(tmp_path), method))


@every
@on_each
def test_one_class(file: Path, detector: str, tmp_path: Path) -> None:
    pool = toy.pool(tmp_path)
    pool.labels.zero_()
    method = method_of(file, ("square",))
    step(method, detector, batch_of(pool, method), ("square",))


@every
@on_each
def test_one_image(file: Path, detector: str, tmp_path: Path) -> None:
    method = method_of(file)
    step(method, detector, batch_of(toy.pool(tmp_path, labeled=1, unlabeled=1), method, labeled=1, unlabeled=1))


@every
@on_each
def test_odd_sizes(file: Path, detector: str, tmp_path: Path) -> None:
    method = method_of(file)
    batch = batch_of(toy.pool(tmp_path), method, labeled=3, unlabeled=3, views=ODD)
    sizes = {s for side in (batch.labeled, batch.unlabeled) for view in side.values() for s in view.sizes}
    assert len(sizes) > 1, "ragged batches were meant"
    step(method, detector, batch)


@every_learner
@on_each
def test_what_it_learns_from_is_noted(file: Path, detector: str, tmp_path: Path) -> None:
    params = params_of(file)
    lax = {k: 0.0 for k, v in params if ("score" in k or "trust" in k) and isinstance(v, float)}
    method = methods.create(params.model_copy(update=lax), CLASSES, refined_table(range(10)))
    student = tiny.detector(detector, CLASSES).train()
    ready(method, student).record.of(1, 1)
    method.record.at(1)
    _, logged = method.step(student, labeler_of(method, detector), batch_of(toy.pool(tmp_path), method))
    rows = method.record.table()
    if "pseudo_boxes" not in logged:
        assert rows.empty and method.threshold is None
    else:
        found = int((rows["label"] >= 0).sum())
        assert found / rows["view"].nunique() == pytest.approx(logged["pseudo_boxes"])
        assert found > 0 or detector != "faster_rcnn"  # random weights of the others score next to nothing


def train_tiny(
    file: Path,
    detector: str,
    work: Path,
    pool: Pool,
    steps: int,
    spoil: Callable[[Any], None] | None = None,
    **changes: Any,
) -> train.Training:
    method = method_of(file)
    if spoil is not None:
        spoil(method)
    student = tiny.detector(detector)
    average = copy.deepcopy(student)
    labeler = average if method.params.teacher == "ema" else labeler_of(method, detector)
    return train.run(
        student=student, average=average, labeler=labeler, method=method, pool=pool, views=toy.VIEWS,
        params=toy.training(steps, **changes), seed=5, device="cpu", work=work, what="toy",
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


@on_each_or_two_stage(kinds(), learners())
def test_a_killed_training_ends_with_the_same_bits(file: Path, detector: str, tmp_path: Path) -> None:
    """The whole without loader workers, the killed one with a worker at its second try: it may not matter."""
    pool = toy.pool(tmp_path)
    whole = train_tiny(file, detector, tmp_path / "a", pool, 5)
    with pytest.raises(Killed):
        train_tiny(file, detector, tmp_path / "b", pool, 5, kill_at(4))  # checkpoints every 2 steps: goes on at step 2
    resumed = train_tiny(file, detector, tmp_path / "b", pool, 5, workers=1)
    for one, other in (
        (whole.student, resumed.student),
        (whole.teacher, resumed.teacher),
        (whole.networks, resumed.networks),
        (whole.averages, resumed.averages),
    ):
        for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b), name
    same = [c for c in whole.history if c not in ("images_per_second", "peak_memory_mib")]
    pd.testing.assert_frame_equal(whole.history[same], resumed.history[same])


@every
@on_each
def test_saved_and_loaded_it_takes_the_same_next_step(file: Path, detector: str, tmp_path: Path) -> None:
    pool = toy.pool(tmp_path)
    trained = train_tiny(file, detector, tmp_path / "w", pool, 2)
    path = tmp_path / "student.safetensors"
    settings = {"step": 2, "role": "student", "networks": trained.networks}
    checkpoint.save_weights(path, trained.student, tiny.params(detector), **settings)
    losses = []
    for student in (trained.student, tiny.detector(detector)):
        if student is not trained.student:
            checkpoint.load_into(student, path)
        method = ready(method_of(file), student)
        method.networks.load_state_dict(checkpoint.load_networks(path))
        torch.manual_seed(0)
        found, _ = method.step(student.train(), labeler_of(method, detector), batch_of(pool, method))
        losses.append(torch.stack(list(found.values())).detach())
    assert torch.equal(*losses)


@every_learner
@on_each
def test_the_loss_falls_on_ten_images(file: Path, detector: str, tmp_path: Path) -> None:
    pool = toy.pool(tmp_path, labeled=5, unlabeled=5)
    slow = {"optimizer": {"name": "adamw", "learning_rate": 5e-4}, "checkpoint_every_steps": 100}
    history = train_tiny(file, detector, tmp_path / "w", pool, 20, **slow).history
    labeled = history[[c for c in history if c.startswith("labeled/")]].sum(axis=1)
    assert labeled.iloc[-4:].mean() < labeled.iloc[:4].mean()


@every_file
def test_the_parameter_file_is_complete_and_every_value_has_a_source(file: Path) -> None:
    params = MethodParams.load(file)
    keys = [line.split(":")[0] for line in file.read_text().splitlines() if line and not line.startswith("#")]
    expected = set(type(params).model_fields) - {"guards"}  # its defaults are nobody's method
    assert set(keys) - {"guards"} == expected, "every parameter is written out"
    unsourced = [
        line for line in file.read_text().splitlines()
        if line and not line.startswith(("#", "method:")) and "#" not in line
    ]  # fmt: skip
    assert not unsourced


@every_file
def test_the_module_bears_the_name_of_its_method(file: Path) -> None:
    params = MethodParams.load(file)
    module = importlib.import_module(f"scantling.methods.{params.method}")
    assert isinstance(params, module.Params)


def test_every_method_has_a_parameter_file() -> None:
    assert {MethodParams.load(file).method for file in FILES} == set(methods.names())


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_it_makes_a_table_of_what_polish_gives_it(file: Path) -> None:
    params = params_of(file)
    rows = [
        {"image_id": i, "labeled": i < 5, "box_id": i if i < 5 else -1, "label": 0 if i < 5 else -1}
        | dict(zip(("x1", "y1", "x2", "y2"), (4.0, 4.0, 30.0, 30.0), strict=True))
        for i in range(10)
    ]
    split = pd.DataFrame(rows)
    for images in (range(10), range(5), range(0)):  # some unlabeled images, labeled ones alone, no box at all
        found = supervised.unused(refined_table(images))[list(COLUMNS)]
        maker = methods.create(params, CLASSES, None)
        maker.held_out = pd.DataFrame({"label": [0, 0], "score": [0.9, 0.4], "right": [True, False]})
        refined, aids = maker.refine(found, split)
        assert len(refined) >= len(found) and isinstance(aids, dict)
