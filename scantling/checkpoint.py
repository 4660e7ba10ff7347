"""Weights on disk (safetensors with a descriptive header) and the rolling state of a training."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from scantling import detectors, log
from scantling.stage import BadInput

OWN = "method."  # what a method trains beside the detector has names that begin so


def save_weights(
    path: Path,
    detector: nn.Module,
    params: detectors.DetectorParams,
    *,
    step: int,
    role: str,
    training: dict[str, Any] | None = None,
    networks: nn.Module | None = None,
) -> None:
    """Weights plus what is needed to rebuild the detector: classes, parameters, step, role (student or teacher).

    training: what it was trained with, for a reader. networks: what the method trained beside the detector.
    """
    header = {
        "classes": json.dumps(list(detector.classes)),
        "detector": json.dumps(params.resolved(), sort_keys=True),
        "step": str(step),
        "role": role,
        "training": json.dumps(training or {}, sort_keys=True),
    }
    state = dict(detector.state_dict())
    if networks is not None:
        state |= {OWN + name: tensor for name, tensor in networks.state_dict().items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
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
    """classes, detector (typed parameters), step, role and training (plain values) of a weights file."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        return {
            "classes": tuple(json.loads(header["classes"])),
            "detector": detectors.DetectorParams.of(json.loads(header["detector"]), path),
            "step": int(header["step"]),
            "role": header["role"],
            "training": json.loads(header.get("training", "{}")),
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
    try:
        with torch.device("meta"):  # no memory yet: the header of a small file can ask for any amount
            outline = detectors.build(header["detector"], header["classes"], pretrained=False)
    except RuntimeError as error:  # more than any memory
        raise BadInput(f"{path}: its header describes no detector ({error}); train it again") from None
    _refuse_other(_shapes(path), outline, path)
    detector = detectors.build(header["detector"], header["classes"], pretrained=False)
    load_into(detector, path)
    return detector.to(device).eval(), header


def load_into(detector: nn.Module, path: Path) -> None:
    """Copy weights into a detector of the same form; anything missing or of another shape is refused.

    What a method trained beside the detector is left to `load_networks`.
    """
    _refuse_other(_shapes(path), detector, path)
    detector.load_state_dict({name: tensor for name, tensor in load_file(path).items() if not name.startswith(OWN)})


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    with safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys() if not name.startswith(OWN)}


def _refuse_other(found: dict[str, tuple[int, ...]], detector: nn.Module, path: Path) -> None:
    own = {name: tuple(tensor.shape) for name, tensor in detector.state_dict().items()}
    wrong = sorted(set(found) ^ set(own)) + sorted(n for n in set(found) & set(own) if found[n] != own[n])
    if wrong:
        raise BadInput(
            f"{path}: weights of another detector ({len(wrong)} tensors differ, first {wrong[0]}); "
            "give a weights file of the same detector parameters"
        )


def load_networks(path: Path) -> dict[str, Tensor]:
    """The state of the networks that a method trained beside the detector; {} if it has none."""
    return {name.removeprefix(OWN): tensor for name, tensor in load_file(path).items() if name.startswith(OWN)}


def save_polishing(path: Path, networks: nn.Module, *, teacher: str, facts: dict[str, float]) -> None:
    """Networks by themselves, with the hash of the teacher's weights on whose features they learned, and `facts`.

    No network at all is legal.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in networks.state_dict().items()}
    header = {"teacher": teacher, "facts": json.dumps(facts, sort_keys=True)}
    aside = path.with_suffix(".part")
    aside.write_bytes(_ordered(save(tensors, metadata=header)))
    os.replace(aside, path)


def load_polishing(path: Path) -> tuple[dict[str, Tensor], str, dict[str, float]]:
    """The state, the teacher's hash and the facts that `save_polishing` wrote."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        return load_file(path), header["teacher"], json.loads(header["facts"])
    except Exception as error:  # as for weights
        raise BadInput(f"{path}: not a file of polishing networks ({error}); run polish again") from None


def save_state(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Rolling training state: tensors, numbers and strings only. The last two stay.

    Written aside and renamed to a name that holds the step and the hash of the content, so that a file is either whole
    or known not to be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / "state.part"
    with aside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, folder / f"state_{step:09d}_{_hash(aside)}.pt")
    for old in _states(folder)[2:]:
        old.unlink(missing_ok=True)


def load_state(folder: Path, device: str) -> dict[str, Any] | None:
    """The latest whole state that a killed run left, or None. Our own file, yet read as data only."""
    for path in _states(folder):
        if path.stem.rpartition("_")[2] == _hash(path):
            return torch.load(path, map_location=device, weights_only=True)
        log.line(f"{path}: damaged (its content does not have the hash in its name); using the one before")
    return None


def drop_states(folder: Path) -> None:
    """Remove the rolling state of a training that has ended."""
    for path in _states(folder):
        path.unlink(missing_ok=True)


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("state_*_*.pt"), reverse=True)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
