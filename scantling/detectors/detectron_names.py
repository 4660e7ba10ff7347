"""Names and batch norm of Detectron's ResNet files -> torchvision's.

Two vocabularies are read: Caffe2's (`res4_22_branch2b_w`, in the published R-50.pkl, R-101.pkl and X-101-32x8d.pkl) and
detectron2's (`res4.22.conv2.weight`, what its converter writes). Detectron's own files have batch norm folded into
a scale and a shift (`_bn_s`, `_bn_b`); those of detectron2's model zoo have all four tensors.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

CAFFE2 = re.compile(r"res([2-5])_(\d+)_branch(1|2a|2b|2c)_(?:(w)|bn_(\w+))")
DETECTRON2 = re.compile(r"res([2-5])\.(\d+)\.(shortcut|conv[123])\.(?:(weight)|norm\.(\w+))")
LAYERS = {
    "1": ("downsample.0", "downsample.1"),
    "shortcut": ("downsample.0", "downsample.1"),
    **{name: (f"conv{i}", f"bn{i}") for i in (1, 2, 3) for name in (f"conv{i}", f"2{'abc'[i - 1]}")},
}
NORM = {
    "s": "weight", "gamma": "weight", "weight": "weight",
    "b": "bias", "beta": "bias", "bias": "bias",
    "rm": "running_mean", "running_mean": "running_mean",
    "riv": "running_var", "running_var": "running_var",  # a variance in spite of its name "inverse variance"
    "num_batches_tracked": "num_batches_tracked",
}  # fmt: skip
STEM = {"conv1_w": "conv1.weight", "stem.conv1.weight": "conv1.weight"}
# The stem's bias is left out as in Detectron, detectron2 and mmdetection, whose convolution before a norm has none.
LEFT_OUT = ("conv1_b", "stem.conv1.bias")
CLASSIFIERS = {"fc1000_w": "weight", "pred_w": "weight", "fc1000_b": "bias", "pred_b": "bias"}


def is_caffe2(state: dict[str, Any]) -> bool:
    """True for Caffe2's names."""
    return "conv1_w" in state


def has_statistics(state: dict[str, Any]) -> bool:
    """True if batch norm comes with means and variances, not folded into scale and shift."""
    return any(name.endswith(("_rm", "running_mean")) for name in state)


def arrays(content: dict[str, Any]) -> dict[str, np.ndarray]:
    """The weights among the values of a file: those of `model` or `blobs` if it has them, without solver state."""
    for wrapper in ("model", "blobs"):
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    return {k: v for k, v in content.items() if isinstance(v, np.ndarray) and not k.endswith("_momentum")}


def to_torchvision(state: dict[str, np.ndarray], epsilon: float) -> dict[str, Tensor]:
    """Tensors under torchvision's names; names that are none of a ResNet stay as they are.

    epsilon: what the network's norm adds to a variance. A norm folded into scale and shift gets the mean 0 and the
    variance 1 - epsilon, so that its factor is exactly the scale.
    """
    found = {}
    for name, array in state.items():
        renamed = _renamed(name)
        if renamed is not None:
            # A copy in the machine's byte order: the arrays share the file's bytes.
            found[renamed] = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C", copy=True))
    for name in [n for n in found if n.endswith(".bias") and _is_norm(n)]:
        norm, zeros = name.removesuffix("bias"), torch.zeros_like(found[name])
        if norm + "running_mean" not in found and norm + "running_var" not in found:
            found |= {norm + "running_mean": zeros, norm + "running_var": zeros + (1 - epsilon)}
    return found


def _is_norm(name: str) -> bool:
    return re.search(r"(bn\d|downsample\.1)\.bias$", name) is not None


def _renamed(name: str) -> str | None:
    """torchvision's name; None for what is left out."""
    if name in LEFT_OUT:
        return None
    if name in STEM:
        return STEM[name]
    if name in CLASSIFIERS:
        return f"fc.{CLASSIFIERS[name]}"
    if stem_norm := re.fullmatch(r"res_conv1_bn_(\w+)|stem\.conv1\.norm\.(\w+)", name):
        return f"bn1.{NORM.get(stem_norm[1] or stem_norm[2], name)}"
    if match := CAFFE2.fullmatch(name) or DETECTRON2.fullmatch(name):
        stage, block, layer, weight, norm = match.groups()
        conv, bn = LAYERS[layer]
        return f"layer{int(stage) - 1}.{block}." + (f"{conv}.weight" if weight else f"{bn}.{NORM.get(norm, norm)}")
    return name.removeprefix("stem.")  # detectron2's converter puts the classifier there: stem.fc.weight
