"""Small detectors, and a scene for them."""

from __future__ import annotations

import pytest
import torch

from scantling.target import Target
from tests.detectors.small import DISTINCT, SIZES, small, small_of


@pytest.fixture
def frcnn():
    return small_of("faster_rcnn")


@pytest.fixture
def retina():
    return small_of("retinanet")


@pytest.fixture
def fcos():
    return small_of("fcos")


@pytest.fixture(params=DISTINCT, scope="session")
def built(request):
    return small(request.param)


@pytest.fixture
def detector(built):
    """One of every parameter file (of those that differ in the trunk only, one), built once."""
    built.zero_grad(set_to_none=True)
    return built.train()


@pytest.fixture(scope="session")
def seen(built, images):
    """The features of `images`, computed once, no gradient beyond them."""
    with torch.no_grad():
        return built.features(images, SIZES)


@pytest.fixture(scope="session")
def images():
    """(2, 3, 96, 128) uint8"""
    return torch.randint(0, 256, (2, 3, 96, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def targets():
    """Three boxes, two boxes."""
    first = torch.tensor([[10.0, 12, 44, 40], [60, 20, 90, 70], [5, 60, 25, 80]])
    second = torch.tensor([[30.0, 30, 62, 60], [80, 8, 120, 50]])
    return [Target.of(first, torch.tensor([0, 1, 2])), Target.of(second, torch.tensor([2, 0]))]
