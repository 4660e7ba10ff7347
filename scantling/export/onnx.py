"""Write a trained model as one ONNX file, NMS included.

  input   image   (H, W, 3) uint8, RGB, turned upright: a decoded picture of any size, nothing else done to it
  output  boxes   (N, 4) float32, x1 y1 x2 y2 in pixels of that picture, best first
          labels  (N,) int64, place in the list of class names
          scores  (N,) float32, 0..1
Resizing as the model's `input` says, `antialias` included, is part of the graph. The file's metadata say `classes`
(JSON), `score_threshold`, `nms_iou`, `limit` and `canvas`. With --check the file is run by onnxruntime and must give
what the model gives; both need `pip install -e .[onnx]`.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scantling import log
from scantling.data.images import decode
from scantling.export.onnx_graph import Graph, canvas_of
from scantling.stage import BadInput
from scantling.trained import SCORE_THRESHOLD, TrainedDetector, load_detector

OPSET = 18
# What onnxruntime may differ by: sums in another order, and resizing whose weights torch rounds to 16 bits, which moves
# a pixel by a gray level at most.
PIXELS, SCORE = 1.0, 0.02
OUTPUTS = ("boxes", "labels", "scores")


def write(
    detector: TrainedDetector,
    out: Path,
    *,
    canvas: tuple[int, int] | None = None,
    score_threshold: float = SCORE_THRESHOLD,
    nms_iou: float | None = None,
    limit: int | None = None,
) -> None:
    """The detector as an ONNX file, whole or not at all. canvas: see `onnx_graph.Graph`; None: no picture is cut short.

    By torch's tracing exporter: the newer one (dynamo=True, torch 2.15) stops at NMS, whose number of boxes a branch in
    torchvision asks for.
    """
    need("onnx")
    import onnx

    network = copy.deepcopy(detector.network).cpu().eval()
    rule = {
        "score_threshold": score_threshold,
        "nms_iou": detector.params.detect.nms_iou if nms_iou is None else nms_iou,
        "limit": detector.params.detect.limit if limit is None else limit,
    }
    size = canvas or canvas_of(network)
    if any(side < 1 or side % network.multiple for side in size):
        raise BadInput(f"--canvas {size[0]}x{size[1]}: both sides must be multiples of {network.multiple} pixels")
    graph = Graph(network, size, **rule).eval()
    example = torch.zeros((size[0] // 2 + 1, size[1] // 2 + 3, 3), dtype=torch.uint8)
    part = out.with_name(f".{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every fixed size; the canvas fixes them on purpose
        torch.onnx.export(
            graph,
            (example,),
            part,
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamic_axes={"image": {0: "height", 1: "width"}, **{name: {0: "found"} for name in OUTPUTS}},
        )
    model = onnx.load(part)
    about = {**rule, "canvas": list(size), "classes": list(detector.classes)}
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in about.items()})
    onnx.checker.check_model(model)
    onnx.save(model, part)
    os.replace(part, out)


def run(file: Path, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, labels, scores that onnxruntime gives for a picture (H, W, 3) uint8."""
    need("onnxruntime")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return tuple(session.run(list(OUTPUTS), {"image": picture}))  # type: ignore[return-value]


def compare(detector: TrainedDetector, file: Path, picture: Path, rule: dict[str, Any]) -> tuple[int, float, float]:
    """Number of boxes, and the largest difference of a coordinate and of a score between the model and its file.

    Each surely found box (a score that far above the threshold that it cannot fall below) must have its own counterpart
    of the same class. Raises BadInput where one has none within PIXELS and SCORE.
    """
    pixels = decode(picture)
    here = detector.predict(pixels, **rule)
    boxes, labels, scores = run(file, pixels.permute(1, 2, 0).numpy())
    sure = here.scores.numpy() > rule["score_threshold"] + SCORE
    free, far, off = np.ones(len(boxes), dtype=bool), 0.0, 0.0
    for box, label, score in zip(
        here.boxes.numpy()[sure], here.labels.numpy()[sure], here.scores.numpy()[sure], strict=True
    ):
        distance = np.abs(boxes - box).max(axis=1, initial=0.0)
        distance[~free | (labels != label) | (np.abs(scores - score) > SCORE)] = np.inf
        if not len(distance) or distance.min() > PIXELS:
            raise BadInput(
                f"{file}: does not give what the model gives for {picture}: {detector.classes[label]} {score:.3f} at "
                f"{np.round(box, 1).tolist()} is missing"
            )
        nearest = int(distance.argmin())
        free[nearest] = False
        far, off = max(far, float(distance[nearest])), max(off, float(abs(scores[nearest] - score)))
    return int(sure.sum()), far, off


def need(package: str) -> None:
    """Raises BadInput if an optional package is not there."""
    if importlib.util.find_spec(package) is None:
        raise BadInput(f"{package} is not installed; pip install 'scantling[onnx]', or: pip install onnx onnxruntime")


def _canvas(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text}: write HEIGHTxWIDTH, e.g. 192x256")
    return int(found[1]), int(found[2])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m scantling.export.onnx",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="results/retrain/KEY/teacher.safetensors")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument("--score-threshold", type=float, default=SCORE_THRESHOLD, help=f"({SCORE_THRESHOLD:g})")
    parser.add_argument("--nms-iou", type=float, help="the model's own")
    parser.add_argument("--limit", type=int, help="boxes an image; the model's own")
    parser.add_argument(
        "--canvas",
        type=_canvas,
        metavar="HEIGHTxWIDTH",
        help="less work, e.g. 192x256 where no picture stands; else a square",
    )
    parser.add_argument("--check", type=Path, nargs="+", metavar="IMAGE", default=[], help="compare on these images")
    given = parser.parse_args(argv)
    try:
        need("onnx")
        if given.check:
            need("onnxruntime")
        if not 0 <= given.score_threshold < 1 or not 0 < (given.nms_iou or 0.5) <= 1 or (given.limit or 1) < 1:
            raise BadInput("--score-threshold is 0 to 0.99, --nms-iou above 0 to 1, --limit at least 1")
        for picture in given.check:
            decode(picture)  # what cannot be read is said before the work
        detector = load_detector(given.model, "cpu")
        rule = {"score_threshold": given.score_threshold, "nms_iou": given.nms_iou, "limit": given.limit}
        write(detector, given.out, canvas=given.canvas, **rule)
        log.line(f"{given.out}: {given.out.stat().st_size / 1e6:.1f} MB, classes {', '.join(detector.classes)}")
        for picture in given.check:
            count, far, off = compare(detector, given.out, picture, rule)
            log.line(f"{picture}: {count} boxes agree, within {far:.3f} px and {off:.4f} of the score")
    except BadInput as error:
        sys.exit(f"onnx: {error}")


if __name__ == "__main__":
    main()
