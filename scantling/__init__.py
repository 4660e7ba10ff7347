"""Object detection from scanty labels.

from scantling import load_detector
detector = load_detector("results/retrain/KEY/teacher.safetensors")
found = detector.predict("a.jpg")  # .boxes (N, 4), .labels, .scores, .names
"""

import importlib

__version__ = "0.1.0"

# Read when asked for: a stage that needs no torch does not load it, nor depends on the detectors' code.
_PUBLIC = {name: "scantling.trained" for name in ("Found", "TrainedDetector", "load_detector")}


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
