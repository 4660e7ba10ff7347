"""Which parameter gets which rate and which decay."""

import pytest
import torch
from torch import nn

from scantling.optimizer import Optimizer, make_optimizer
from tests import tiny, toy


def test_the_trunk_has_its_own_rate_and_frozen_parameters_none() -> None:
    model = toy.detector("faster_rcnn_lite")
    optimizer = make_optimizer(model, Optimizer(name="adamw", learning_rate=1e-3, backbone_factor=0.3))
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([1e-3, 3e-4])
    held = {id(p) for g in optimizer.param_groups for p in g["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    trunk = {id(p) for n, p in model.named_parameters() if n.startswith("backbone.")}
    assert {id(p) for p in optimizer.param_groups[1]["params"]} <= trunk


def test_networks_of_a_method_learn_at_the_rate_of_the_rest() -> None:
    networks = nn.ModuleDict({"polish": nn.Linear(3, 2)})
    optimizer = make_optimizer(tiny.detector("retinanet"), Optimizer(name="sgd", learning_rate=0.1), networks)
    assert {id(p) for p in networks.parameters()} <= {id(p) for p in optimizer.param_groups[0]["params"]}


def test_normalization_may_be_spared_from_weight_decay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4))
    params = Optimizer(name="sgd", learning_rate=0.1, weight_decay=0.01, norm_decay=False)
    decayed = {id(p): g["weight_decay"] for g in make_optimizer(model, params).param_groups for p in g["params"]}
    assert [decayed[id(p)] for p in model.parameters()] == [0.01, 0.01, 0, 0, 0.01, 0.01, 0, 0]
    whole = make_optimizer(model, params.model_copy(update={"norm_decay": True}))
    assert [g["weight_decay"] for g in whole.param_groups] == [0.01]


def test_scales_of_a_detector_are_no_normalization() -> None:
    model = tiny.detector("fcos")
    params = Optimizer(name="sgd", learning_rate=0.1, weight_decay=0.01, norm_decay=False)
    decayed = {id(p): g["weight_decay"] for g in make_optimizer(model, params).param_groups for p in g["params"]}
    scales = [p for n, p in model.named_parameters() if n.endswith("scales")]
    assert scales and all(decayed[id(p)] == 0.01 for p in scales)


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_each_name_is_its_optimizer(name: str, kind: type) -> None:
    params = Optimizer.model_validate({"name": name, "learning_rate": 0.5, "momentum": 0.8})
    optimizer = make_optimizer(nn.Linear(2, 2), params)
    assert type(optimizer) is kind and optimizer.param_groups[0]["lr"] == 0.5
    if name == "sgd":
        assert optimizer.param_groups[0]["momentum"] == 0.8
