"""torch.compile for the parts of a detector whose shapes are those of the images: backbone and neck.

Proposals, assignment and suppression change their shapes with what is found, so they stay as they are. Names of
parameters do not change: a compiled and a plain training read each other's weights.
"""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch
from torch import nn

from scantling.stage import BadInput

PARTS = ("backbone", "neck")


def compile_parts(model: nn.Module, device: str) -> None:
    """Compile at the first call, and again for other shapes (the second time for all shapes at once).

    BadInput if what torch.compile needs is not installed.
    """
    missing = _missing(torch.device(device).type)
    if missing:
        raise BadInput(f"training: compile = true needs {missing}; install it or set compile: false")
    for name in PARTS:
        getattr(model, name).compile()


def _missing(kind: str) -> str:
    c, cpp = (os.environ.get(v) for v in ("CC", "CXX"))
    if kind == "cpu":
        found = [cpp] if cpp else ["g++", "clang++", "c++"]
        return "" if any(map(shutil.which, found)) else "a C++ compiler (g++ or clang++ on the PATH, or named by CXX)"
    if importlib.util.find_spec("triton") is None:
        return "the package triton"
    found = [c] if c else ["gcc", "clang", "cc"]
    return "" if any(map(shutil.which, found)) else "a C compiler (gcc or clang on the PATH, or named by CC)"
