"""A ResNet as Caffe2 names it: random weights, and its forward pass written out with these names."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3), "resnext101_32x8d": (3, 4, 23, 3)}


def random_blobs(name="resnet50", *, norm="affine", seed=0):
    """Arrays by name. norm: affine (Detectron's `_s`, `_b`), gamma (detectron2's MSRA files), rm (Caffe2's ResNeXt)."""
    rng = np.random.default_rng(seed)
    blobs, grouped = {}, name == "resnext101_32x8d"

    def conv(blob, outputs, inputs, kernel):
        shape = (outputs, inputs, kernel, kernel)
        blobs[f"{blob}_w"] = (rng.standard_normal(shape, np.float32) * (2 / (inputs * kernel**2)) ** 0.5).astype("f4")

    def batch_norm(blob, channels, scale):
        def draw(low, high):
            return rng.uniform(low, high, channels).astype("f4")

        factor, summand, *more = {
            "affine": ("s", "b"),
            "gamma": ("gamma", "beta", "running_mean", "running_var"),
            "rm": ("s", "b", "rm", "riv"),
        }[norm]
        blobs[f"{blob}_bn_{factor}"] = draw(0.6, 1.2) * np.float32(scale)
        blobs[f"{blob}_bn_{summand}"] = draw(-0.2, 0.2)
        for kind, (low, high) in zip(more, ((-0.2, 0.2), (0.5, 1.5)), strict=False):
            blobs[f"{blob}_bn_{kind}"] = draw(low, high)

    conv("conv1", 64, 3, 7)
    batch_norm("res_conv1", 64, 1.0)
    inputs = 64
    for stage, count in enumerate(BLOCKS[name]):
        outputs = 256 * 2**stage
        width, groups = (outputs, 32) if grouped else (outputs // 4, 1)
        for i in range(count):
            block = f"res{stage + 2}_{i}"
            if i == 0:
                conv(f"{block}_branch1", outputs, inputs, 1)
                batch_norm(f"{block}_branch1", outputs, 0.7)
            conv(f"{block}_branch2a", width, inputs, 1)
            conv(f"{block}_branch2b", width, width // groups, 3)
            conv(f"{block}_branch2c", outputs, width, 1)
            for branch, scale in (("2a", 1.0), ("2b", 1.0), ("2c", 0.3)):
                batch_norm(f"{block}_branch{branch}", outputs if branch == "2c" else width, scale)
            inputs = outputs
    blobs["pred_w" if grouped else "fc1000_w"] = np.zeros((10, 2048), "f4")
    blobs["pred_b" if grouped else "fc1000_b"] = np.zeros(10, "f4")
    return blobs if grouped else {"conv1_b": np.ones(64, "f4"), **blobs}  # a bias that nobody uses


def forward(blobs, x, name="resnet50"):
    """res2 to res5 of (B, 3, H, W) in the order of channels that the weights want; stride in the 1x1 but in ResNeXt."""
    w = {k: torch.from_numpy(v) for k, v in blobs.items()}
    grouped = name == "resnext101_32x8d"

    def layer(x, conv, norm, stride=1, padding=0, groups=1):
        x = F.conv2d(x, w[f"{conv}_w"], None, stride, padding, 1, groups)
        if f"{norm}_bn_gamma" in w:
            kinds = ("running_mean", "running_var", "gamma", "beta")
        elif f"{norm}_bn_rm" in w:
            kinds = ("rm", "riv", "s", "b")
        else:
            return x * w[f"{norm}_bn_s"][:, None, None] + w[f"{norm}_bn_b"][:, None, None]
        return F.batch_norm(x, *(w[f"{norm}_bn_{kind}"] for kind in kinds), eps=1e-5)

    x = F.max_pool2d(layer(x, "conv1", "res_conv1", 2, 3).relu(), 3, 2, 1)
    found = []
    for stage, count in enumerate(BLOCKS[name]):
        for i in range(count):
            block, stride = f"res{stage + 2}_{i}", 2 if i == 0 and stage > 0 else 1
            first, second = (1, stride) if grouped else (stride, 1)
            y = layer(x, f"{block}_branch2a", f"{block}_branch2a", first).relu()
            y = layer(y, f"{block}_branch2b", f"{block}_branch2b", second, 1, 32 if grouped else 1).relu()
            y = layer(y, f"{block}_branch2c", f"{block}_branch2c")
            skip = layer(x, f"{block}_branch1", f"{block}_branch1", stride) if i == 0 else x
            x = (y + skip).relu()
        found.append(x)
    return found


def python2_pickle(blobs, protocol=2):
    """What Python 2 wrote for a dictionary of float32 arrays: texts and data are byte strings."""

    def string(content):
        if protocol == 0:
            return b"S" + repr(content)[1:].encode() + b"\n"
        if len(content) < 256:
            return b"U" + bytes([len(content)]) + content
        return b"T" + len(content).to_bytes(4, "little") + content

    def number(n):
        return b"I%d\n" % n if protocol == 0 else b"J" + n.to_bytes(4, "little", signed=True)

    def bag(*items):
        return b"(" + b"".join(items) + b"t"

    out = b"(d" if protocol == 0 else b"\x80\x02}"
    for i, (name, array) in enumerate(blobs.items()):
        put = b"p%d\n" % i if protocol == 0 else b"r" + i.to_bytes(4, "little")
        dtype = (
            b"cnumpy\ndtype\n" + bag(string(b"f4"), number(0), number(1)) + b"R"
            + bag(number(3), string(b"<"), b"N", b"N", b"N", number(-1), number(-1), number(0)) + b"b"
        )  # fmt: skip
        shape = bag(*(number(n) for n in array.shape))
        made = (
            b"cnumpy.core.multiarray\n_reconstruct\n" + bag(b"cnumpy\nndarray\n", bag(number(0)), string(b"b")) + b"R"
            + bag(number(1), shape, dtype, b"I00\n" if protocol == 0 else b"\x89", string(array.tobytes())) + b"b"
        )  # fmt: skip
        out += string(name.encode()) + put + made + b"s"
    return out + b"."
