"""Weights on disk (safetensors with a descriptive header) and the rolling state of a training."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import nn

from scantling import detectors
from scantling.stage import BadInput


def save_weights(path: Path, detector: nn.Module, params: detectors.DetectorParams, *, step: int, role: str) -> None:
    """Weights plus what is needed to rebuild the detector: classes, parameters, step, role (student or teacher)."""
    header = {
        "classes": json.dumps(list(detector.classes)),
        "detector": json.dumps(params.resolved(), sort_keys=True),
        "step": str(step),
        "role": role,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in detector.state_dict().items()}
    path.write_bytes(_ordered(save(tensors, metadata=header)))


def _ordered(content: bytes) -> bytes:
    """The same safetensors file with its metadata in the order of their names: safetensors writes them in any order,
    and equal weights must be equal files (an 8-byte length, that much JSON padded to 8 bytes, then the tensors)."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def read_header(path: Path) -> dict[str, Any]:
    """classes, detector (typed parameters), step, role of a weights file."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        return {
            "classes": tuple(json.loads(header["classes"])),
            "detector": detectors.DetectorParams.of(json.loads(header["detector"]), path),
            "step": int(header["step"]),
            "role": header["role"],
        }
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such weights file; run the stage that trains it first") from None
    except Exception as error:  # safetensors raises its own kinds; a missing key is just as foreign a file
        raise BadInput(
            f"{path}: not a weights file of scantling ({error}); give one that burn_in or retrain wrote"
        ) from None


def load_weights(
    path: Path, *, classes: tuple[str, ...] | None = None, device: str = "cpu"
) -> tuple[nn.Module, dict[str, Any]]:
    """The detector of a weights file, in eval mode, and its header. `classes`: what the data set has."""
    header = read_header(path)
    if classes is not None and header["classes"] != classes:
        raise BadInput(
            f"{path}: trained on classes {list(header['classes'])}, but the data set has {list(classes)}; "
            "train on this data set, or make the class lists agree"
        )
    detector = detectors.build(header["detector"], header["classes"], pretrained=False)
    load_into(detector, path)
    return detector.to(device).eval(), header


def load_into(detector: nn.Module, path: Path) -> None:
    """Copy weights into a detector of the same form; anything missing or of another shape is refused."""
    tensors, own = load_file(path), detector.state_dict()
    wrong = sorted(set(tensors) ^ set(own)) + sorted(
        name for name in set(tensors) & set(own) if tensors[name].shape != own[name].shape
    )
    if wrong:
        raise BadInput(
            f"{path}: weights of another detector ({len(wrong)} tensors differ, first {wrong[0]}); "
            "give a weights file of the same detector parameters"
        )
    detector.load_state_dict(tensors)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Rolling training state: tensors, numbers and strings only; written aside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    torch.save(state, aside)
    os.replace(aside, path)


def load_state(path: Path, device: str) -> dict[str, Any] | None:
    """The state a killed run left, or None. Our own file, yet read as data only."""
    if not path.is_file():
        return None
    return torch.load(path, map_location=device, weights_only=True)
