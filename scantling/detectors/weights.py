"""Backbone weights from a file: nothing is downloaded, and nothing in a file is executed."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from scantling.detectors import detectron_pickle
from scantling.stage import BadInput


def read(path: str | Path, expected: str) -> dict[str, Tensor]:
    """The named tensors of a .safetensors, .pth or .pt file. `expected` says in errors what the file should be.

    A dictionary inside `state_dict` or `model`, as training programs write it, is taken out.
    """
    path = _existing(path, expected)
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _load_torch(path)
    except Exception as error:  # whatever a reader of damaged files stumbles over: they have no error of their own
        raise _unreadable(path, error, expected) from None
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) and type(k) is str for k, v in state.items()):
        raise BadInput(f"{path}: holds something else than named tensors; expected {expected}")
    return dict(state)


def read_pickle(path: str | Path, expected: str) -> dict[str, Any]:
    """The named values of a .pkl file of Detectron or detectron2; see detectron_pickle."""
    path = _existing(path, expected)
    try:
        return detectron_pickle.read(path)
    except (detectron_pickle.Refused, OSError) as error:
        raise _unreadable(path, error, expected) from None


def fill(module: nn.Module, state: dict[str, Tensor], path: str | Path, expected: str, *, spare: Iterable[str]) -> None:
    """Copy `state` into `module`; every tensor of the module must be there in its shape, with finite values.

    Names that begin with one of `spare` (a classifier) may be left over, nothing else; batch norm's counters may be
    missing or left over.
    """
    own = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    spare = (*spare, "num_batches_tracked")
    absent = [k for k in own if k not in state]
    differing = [k for k in own if k in state and state[k].shape != own[k].shape]
    extra = [k for k in state if k not in own and not k.startswith(spare) and not k.endswith("num_batches_tracked")]
    if absent or differing or extra:
        if absent:
            reason = f"has no tensor `{absent[0]}`"
        elif differing:
            found, needed = tuple(state[differing[0]].shape), tuple(own[differing[0]].shape)
            reason = f"`{differing[0]}` has shape {found} instead of {needed}"
        else:
            reason = f"has a tensor `{extra[0]}` that does not belong there"
        raise BadInput(f"{path}: weights of another architecture ({reason}); expected {expected}")
    for name in own:
        # Variances are checked too: a negative one would make every feature NaN.
        if not torch.isfinite(state[name]).all() or (
            name.endswith(("running_var", "variance")) and state[name].min() < 0
        ):
            raise BadInput(f"{path}: damaged, `{name}` has values that are not finite or negative variances")
    module.load_state_dict({k: state[k] for k in own}, strict=False)  # what is missing are counters, see above


def _load_torch(path: Path) -> Any:
    """Either form of torch.save; its reader builds tensors and refuses everything that would run code."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        if any(e.compress_type != zipfile.ZIP_STORED for e in entries):
            raise ValueError("compressed; torch.save does not compress")
        if sum(e.file_size for e in entries) > path.stat().st_size:
            raise ValueError("says that it holds more than its size")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it has to say of odd files; an error says it in a sentence
        return torch.load(path, map_location="cpu", weights_only=True)


def _existing(path: str | Path, expected: str) -> Path:
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: there is no such weights file; expected {expected}")
    return path


def _unreadable(path: Path, error: Exception, expected: str) -> BadInput:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return BadInput(f"{path}: not a readable weights file ({reason[:120]}); expected {expected}")
