"""Networks of the optional package timm as feature extractors; their weights come from a local file only."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scantling import log
from scantling.detectors import weights
from scantling.detectors.settings import TimmParams
from scantling.params import ParamsError
from scantling.stage import BadInput

PROBE = (64, 96)  # pixels, height and width, of the picture on which a network is tried out


class TimmBackbone(nn.Module):
    """(B, 3, H, W) normalized RGB, H and W multiples of 32 -> features at strides (4,) 8, 16, 32.

    mean, std: of pixels 0..255, as the network was trained. Raises BadInput without timm, ParamsError for a network
    that timm does not have or that gives no such features for any size of picture.
    """

    def __init__(self, params: TimmParams):
        super().__init__()
        self.params = params
        network = _create(params.model)
        config, levels = network.pretrained_cfg, _levels(network)
        self.mean, self.std = (tuple(255.0 * v for v in config[key]) for key in ("mean", "std"))
        self.strides = (4, 8, 16, 32) if params.finest_stride_px == 4 else (8, 16, 32)
        if not set(self.strides) <= set(levels):
            raise ParamsError(
                f"`backbone.model` = {params.model}: has features at strides {', '.join(map(str, levels))}; "
                f"name a network with {', '.join(map(str, self.strides))}"
            )
        self._indices = [levels.index(stride) for stride in self.strides]
        self._freeze(network, params)
        # What only the classifier needs: not loaded, not trained.
        names = set(network.state_dict())
        network.prune_intermediate_layers(self._indices, prune_norm=True, prune_head=True)
        heads = config["classifier"]
        heads = (heads,) if isinstance(heads, str) else tuple(heads or ())
        self._spare = (*sorted(names - set(network.state_dict())), *(f"{head}." for head in heads))
        self.network = network
        found = _try(network, self._indices, params.model)
        self.channels = tuple(f.shape[1] for f in found)
        if [tuple(f.shape[2:]) for f in found] != [(PROBE[0] // s, PROBE[1] // s) for s in self.strides]:
            raise ParamsError(
                f"`backbone.model` = {params.model}: its features are no maps of its strides; use another"
            )

    def forward(self, x: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Features of (B, 3, H, W). `sizes` is not used: padding is zero at the input only."""
        return _features(self.network, x, self._indices)

    def train(self, mode: bool = True) -> TimmBackbone:
        """Train or eval mode; fixed batch norms stay in eval mode."""
        super().train(mode)
        for norm in self._fixed:
            norm.eval()
        return self

    def load(self, source: str | None) -> None:
        """Weights from a file; None says in the log that the start is random. Raises BadInput if it does not fit."""
        model = self.params.model
        if source is None:
            log.line(f"{model} starts from RANDOM weights, nothing is frozen: `backbone.weights` is null")
            return
        expected = f"timm's weights of {model} (.safetensors or .pth, under timm's names); docs/weights.md"
        weights.fill(self.network, weights.read(Path(source), expected), source, expected, spare=self._spare)

    def _freeze(self, network: Any, params: TimmParams) -> None:
        """No gradient for what the first feature maps are made of; that is asked of autograd, as every network is
        built differently."""
        every = list(range(len(_levels(network))))
        frozen: set[int] = set()
        if params.weights is not None and params.frozen_stages:
            if params.frozen_stages > len(every):
                raise ParamsError(f"`backbone.frozen_stages`: {params.model} has only {len(every)} feature maps")
            features = _try(network, every[: params.frozen_stages], params.model)
            leaves = [p for p in network.parameters() if p.requires_grad]
            reached = torch.autograd.grad(features[-1].sum(), leaves, allow_unused=True)
            frozen = {id(p) for p, gradient in zip(leaves, reached, strict=True) if gradient is not None}
        for parameter in network.parameters():
            if id(parameter) in frozen:
                parameter.requires_grad_(False)
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        self._fixed = [m for m in norms if params.norm == "frozen" or id(m.weight) in frozen]
        for norm in self._fixed:
            norm.requires_grad_(False)


def _create(model: str) -> Any:
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise BadInput(
            "backbone.name = timm: the package timm is not installed; install it (pip install -e .[timm]) "
            "or name another backbone"
        ) from None
    if not timm.is_model(model):  # nor the address of a model elsewhere
        near = difflib.get_close_matches(model, timm.list_models(), 3)
        raise ParamsError(f"`backbone.model` = {model}: timm has no such network" + (f"; near: {near}" if near else ""))
    network = timm.create_model(model, pretrained=False, num_classes=0)
    if not hasattr(network, "forward_intermediates") or not hasattr(network, "feature_info"):
        raise ParamsError(f"`backbone.model` = {model}: timm gives no feature maps of it; name another network")
    return network


def _levels(network: Any) -> list[int]:
    """Stride of each feature map that the network can give, finest first."""
    return [network.feature_info[i]["reduction"] for i in range(len(network.feature_info))]


def _features(network: Any, x: Tensor, indices: list[int]) -> list[Tensor]:
    return network.forward_intermediates(x, indices=indices, norm=False, output_fmt="NCHW", intermediates_only=True)


def _try(network: Any, indices: list[int], model: str) -> list[Tensor]:
    """Features of a black picture, in eval mode."""
    training = network.training
    try:
        return _features(network.eval(), torch.zeros(1, 3, *PROBE), indices)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ParamsError(
            f"`backbone.model` = {model}: cannot be given pictures of any size ({str(error)[:80]}); "
            "name a convolutional network"
        ) from None
    finally:
        network.train(training)
