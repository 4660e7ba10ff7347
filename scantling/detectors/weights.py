"""Backbone weights from a file: nothing is downloaded, nothing unpickled but plain tensors."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from scantling.stage import BadInput


def read(path: str | Path, expected: str) -> dict[str, Tensor]:
    """The named tensors of a .safetensors, .pth or .pt file. `expected` says in errors what the file should be."""
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: there is no such weights file; expected {expected}")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{path}: not a readable weights file ({reason[:120]}); expected {expected}") from None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BadInput(f"{path}: holds something else than named tensors; expected {expected}")
    return dict(state)


def fill(module: nn.Module, state: dict[str, Tensor], path: str | Path, expected: str, *, spare: Iterable[str]) -> None:
    """Copy `state` into `module`; every tensor of the module must be there in its shape.

    Names that begin with one of `spare` (a classifier) and batch norm's counters may be left over, nothing else.
    """
    own = module.state_dict()
    absent = [k for k in own if k not in state]
    differing = [k for k in own if k in state and state[k].shape != own[k].shape]
    extra = [k for k in state if k not in own and not k.startswith(tuple(spare)) and "num_batches_tracked" not in k]
    if absent or differing or extra:
        if absent:
            reason = f"has no tensor `{absent[0]}`"
        elif differing:
            found, needed = tuple(state[differing[0]].shape), tuple(own[differing[0]].shape)
            reason = f"`{differing[0]}` has shape {found} instead of {needed}"
        else:
            reason = f"has a tensor `{extra[0]}` that does not belong there"
        raise BadInput(f"{path}: weights of another architecture ({reason}); expected {expected}")
    module.load_state_dict({k: state[k] for k in own})
