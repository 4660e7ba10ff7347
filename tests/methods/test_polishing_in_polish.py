"""Polishing networks as an artefact of polish: taught on a teacher's features, asked about a table, read in retrain."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from scantling import boxes as box_ops
from scantling import checkpoint, methods, polish, train
from scantling.data.index import XYXY
from scantling.data.loader import TrainingStep
from scantling.methods import MethodParams
from scantling.params import ParamsError, check, read
from scantling.pseudo import COLUMNS, REFINED_XYXY
from scantling.stage import BadInput
from tests import tiny, toy
from tests.methods.recording import view

FOLDER = toy.ROOT / "params/methods"
SMALL = {"width": 16, "cells": 3, "proposals": 20, "box_copies": (4, 0.2), "class_copies": ((2, 0.06), (2, 0.2))}


def method(mode: str, refined: pd.DataFrame | None = None, **changes: object):
    params = MethodParams.load(FOLDER / f"polishing_teacher_{mode}.yaml")
    return methods.create(params.model_copy(update=SMALL | changes), tiny.CLASSES, refined)


def taught(one: object, folder: Path, keep: Path) -> tuple[nn.ModuleDict, dict[str, float]]:
    task = one.taught()  # type: ignore[attr-defined]
    assert task is not None
    learner, params = task
    params = params.model_copy(update={"checkpoint_every_steps": 2, "rehearse": False, "log_every_steps": 1})
    return polish.networks_of(
        learner, tiny.detector("faster_rcnn", seed=1), toy.pool(folder), toy.VIEWS, params,
        seed=3, device="cpu", keep=keep, made_by="hash",
    )  # fmt: skip


def test_killed_and_resumed_training_ends_with_the_same_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = method("cached", polish_steps=6)
    whole, facts = taught(one, tmp_path, tmp_path / "a")
    assert set(facts) == {"iou_before", "iou_after", "polish_accuracy"} and 0 < facts["iou_before"] < 1
    calls = 0
    original = train.step.take

    def killed(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(train.step, "take", killed)
    with pytest.raises(KeyboardInterrupt):
        taught(one, tmp_path, tmp_path / "b")
    assert list((tmp_path / "b").glob("state_*.pt"))
    resumed, again = taught(one, tmp_path, tmp_path / "b")
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert facts == again and not list((tmp_path / "b").glob("state_*.pt"))
    before = calls
    taught(one, tmp_path, tmp_path / "b")  # other thresholds: the networks are there
    assert calls == before


def test_thresholds_do_not_decide_what_the_networks_learn() -> None:
    plain = method("cached").taught()[0].decides()
    assert method("cached", trust_polished=0.3, initial_score=0.1, unlabeled_weight=9.0).taught()[0].decides() == plain
    assert method("cached", positive_iou=0.5).taught()[0].decides() != plain
    assert method("cached", polish_boxes=False, polish_classes=False).taught() is None
    ema = methods.create(MethodParams.load(FOLDER / "polishing_teacher.yaml"), tiny.CLASSES, None)
    assert ema.taught() is None  # as published: in the loop


def pseudo_table() -> pd.DataFrame:
    rows = [
        {"image_id": i, "label": 0, "score": s, "x1": x, "y1": 8.0, "x2": x + 20, "y2": 30.0, "spread": 0.1}
        for i, s, x in ((0, 0.9, 4.0), (5, 0.9, 4.0), (5, 0.6, 30.0), (5, 0.3, 50.0), (6, 0.8, 20.0))
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def split_of(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    images, split = toy.tables(folder)
    return images, split


def test_the_table_gets_what_the_networks_say_of_confident_boxes_of_unlabeled_images(tmp_path: Path) -> None:
    one, pseudo = method("cached", trust_polished=0.0, trust_teacher=0.85), pseudo_table()
    images, split = split_of(tmp_path)
    teacher = tiny.detector("faster_rcnn", seed=1)
    torch.manual_seed(0)
    networks = nn.ModuleDict(method("frozen").modules(teacher)).eval()
    wanted = one.looks_at(pseudo, split)
    assert wanted.tolist() == [False, True, True, False, True]  # labeled, sure, sure, unsure, sure
    asked: list[int] = []

    def improve(*arguments: object) -> object:
        asked.append(sum(len(b) for b in arguments[2]))  # type: ignore[misc, attr-defined]
        return one.improve(networks, *arguments)

    size = tiny.params("faster_rcnn").input
    tables = partial(polish.refined, improve, teacher, pseudo, wanted, images, tmp_path, input=size, device="cpu")
    table = tables(keep=tmp_path / "keep")
    assert asked == [3]
    pd.testing.assert_frame_equal(table, tables(keep=tmp_path / "keep"))  # a killed run reads what it had
    assert asked == [3]
    changed = (table[REFINED_XYXY].to_numpy() != table[XYXY].to_numpy()).any(1)
    assert changed.tolist() == wanted.tolist()
    boxes = torch.from_numpy(table[REFINED_XYXY].to_numpy(np.float32))
    assert torch.equal(boxes, box_ops.clip(boxes, (64, 80))) and table["refined_score"].between(0, 1).all()
    refined, aids = one.refine(table, split)
    assert refined["for_box"].tolist() == wanted.tolist() and refined["for_class"].tolist() == wanted.tolist()
    # 0.9 is above trust_teacher: the teacher's class stays whatever the network says
    assert refined["refined_label"][1] == 0 and aids["for_box"] == 3
    for row in (2, 4):
        assert refined["refined_label"][row] == table["refined_label"][row]


def test_cached_training_learns_the_polished_boxes_and_classes() -> None:
    one, images = method("cached", trust_polished=0.0), [7]
    pseudo = pseudo_table().iloc[[1, 2]].assign(image_id=7).reset_index(drop=True)
    polished = pseudo.assign(refined_label=[1, 1], refined_score=[0.9, 0.9])
    polished[REFINED_XYXY] = pseudo[XYXY] + 2
    refined, _ = one.refine(polished, pd.DataFrame({"image_id": images, "labeled": [False], "box_id": [-1]}))
    reader = method("cached", refined)
    assert reader.modules(tiny.detector("faster_rcnn")) == {}
    (target,) = reader._read(view([7]))
    for_class, for_box = target.boxes[target.for_class], target.boxes[target.for_box]
    torch.testing.assert_close(for_class, torch.from_numpy(pseudo[XYXY].to_numpy(np.float32)))
    torch.testing.assert_close(for_box, torch.from_numpy(polished[REFINED_XYXY].to_numpy(np.float32)))
    assert target.labels[target.for_class].tolist() == [0, 1] and target.labels[target.for_box].tolist() == [0, 0]


def test_frozen_training_uses_the_networks_of_polish_and_leaves_them_alone() -> None:
    teacher, student = tiny.detector("faster_rcnn", seed=1).eval(), tiny.detector("faster_rcnn").train()
    torch.manual_seed(0)
    made = nn.ModuleDict(method("frozen").modules(student))
    one = method("frozen", initial_score=0.0)
    one.given = made.state_dict()
    one.networks = nn.ModuleDict(one.modules(student))
    one.averages = one.networks
    assert not any(p.requires_grad for p in one.networks.parameters())
    for a, b in zip(made.state_dict().values(), one.networks.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    batch = TrainingStep({"labeled": view([1], 1)}, {"weak": view([2]), "strong": view([2])})
    losses, logged = one.step(student, teacher, batch)
    assert logged["pseudo_boxes_for_box"] > 0 and not [n for n in losses if "polish" in n]


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    file = FOLDER / "polishing_teacher_cached.yaml"
    for changes, message in (({"polish_steps": 0}, "polish_steps"), ({"background": "live"}, "asks a live teacher")):
        with pytest.raises(ParamsError, match=message):
            check(type(MethodParams.load(file)), read(file) | changes, file)
    path = tmp_path / "polishing.safetensors"
    checkpoint.save_polishing(path, nn.ModuleDict(), teacher="hash", facts={})
    assert checkpoint.load_polishing(path) == ({}, "hash", {})
    path.write_bytes(b"no such thing")
    with pytest.raises(BadInput, match="run polish again"):
        checkpoint.load_polishing(path)
