"""A trained detector for other programs: load a weights file, ask it about pictures.

    from scantling import load_detector
    detector = load_detector("results/retrain/KEY/teacher.safetensors")
    found = detector.predict("a.jpg")

Classes, input size and architecture come from the file's header; nothing else has to be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scantling import boxes as box_ops
from scantling import checkpoint
from scantling.augment import views
from scantling.data import images
from scantling.data.loader import collate
from scantling.detectors.pyramid import PyramidDetector
from scantling.detectors.settings import DetectorParams
from scantling.stage import device as default_device
from scantling.target import Target

SCORE_THRESHOLD = 0.3  # probability; ours: a wrong box is deleted faster than a missing one is drawn


@dataclass(frozen=True)
class Found:
    """What was found in one picture, best first; all of it empty where there is nothing.

    boxes (N, 4) float32, x1 y1 x2 y2 in pixels of the picture turned upright; labels (N,) int64, 0..C-1; scores (N,)
    float32, 0..1; names: the N class names. Tensors on the CPU (`.numpy()` makes arrays of them).
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    names: list[str]

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class View:
    """A picture at the detector's test size: pixels (3, h, w) uint8, its matrix from original pixels, original size."""

    pixels: Tensor
    matrix: Tensor
    size: tuple[int, int]


class TrainedDetector:
    """A detector in eval mode on one device; made by `load_detector`."""

    def __init__(self, network: PyramidDetector, params: DetectorParams, device: str):
        self.network, self.params, self.device = network, params, device
        self.classes = network.classes
        self._view = params.input.view()

    def predict(
        self,
        image: str | Path | Image.Image | np.ndarray | Tensor,
        *,
        score_threshold: float = SCORE_THRESHOLD,
        nms_iou: float | None = None,
        limit: int | None = None,
    ) -> Found:
        """What is in a picture: a file, a Pillow image, an array (H, W, 3) or a tensor (3, H, W), uint8 RGB.

        score_threshold: class probabilities above it; nms_iou, limit (boxes a picture): None, the detector's own.
        Raises BadInput for a file that is missing or no picture, ValueError for an array of another form.
        """
        return self.predict_all([image], score_threshold=score_threshold, nms_iou=nms_iou, limit=limit)[0]

    def predict_all(
        self,
        pictures: Sequence[str | Path | Image.Image | np.ndarray | Tensor],
        *,
        score_threshold: float = SCORE_THRESHOLD,
        nms_iou: float | None = None,
        limit: int | None = None,
    ) -> list[Found]:
        """`predict` for several pictures in one pass; as many as the memory holds."""
        seen = [self.view(picture) for picture in pictures]
        return self.predict_views(seen, score_threshold=score_threshold, nms_iou=nms_iou, limit=limit)

    def view(self, picture: str | Path | Image.Image | np.ndarray | Tensor) -> View:
        """A picture as the network sees it; needs no device, so that loading processes can do it."""
        pixels = pixels_of(picture)
        view, matrix = views.make(pixels, self._view, views.seeded(0))
        return View(view, matrix, (pixels.shape[1], pixels.shape[2]))

    @torch.inference_mode()
    def predict_views(
        self,
        seen: Sequence[View],
        *,
        score_threshold: float = SCORE_THRESHOLD,
        nms_iou: float | None = None,
        limit: int | None = None,
    ) -> list[Found]:
        """What is in each of the pictures whose views these are, in original pixels."""
        if not seen:
            return []
        batch = collate([(one.pixels, one.matrix, Target.empty()) for one in seen], range(len(seen)))
        features = self.network.features(batch.images.to(self.device), batch.sizes)
        made = self.network.detect(features, batch.sizes, score_threshold=score_threshold, nms_iou=nms_iou, limit=limit)
        answers = []
        for one, found in zip(seen, made, strict=True):
            boxes = box_ops.transform(found.boxes.cpu(), torch.linalg.inv(one.matrix), one.size)
            labels = found.labels.cpu()
            names = [self.classes[label] for label in labels.tolist()]
            answers.append(Found(boxes, labels, found.scores.cpu(), names))
        return answers


def load_detector(path: str | Path, device: str | None = None) -> TrainedDetector:
    """The detector of a weights file (student or teacher.safetensors) that scantling wrote.

    device: "cpu", "cuda", "cuda:1"; None: `SCANTLING_DEVICE`, else the GPU if there is one. Raises BadInput for a file
    that is missing or of another format.
    """
    chosen = device or default_device()
    network, header = checkpoint.load_weights(Path(path), device=chosen)
    assert isinstance(network, PyramidDetector)
    return TrainedDetector(network, header["detector"], chosen)


def pixels_of(picture: str | Path | Image.Image | np.ndarray | Tensor) -> Tensor:
    """uint8 (3, H, W) RGB of whatever `predict` takes; files and Pillow images are turned upright."""
    if isinstance(picture, (str, Path)):
        return images.decode(picture)
    if isinstance(picture, Image.Image):
        picture = images.upright(np.array(picture.convert("RGB")), images.orientation(picture))
    if isinstance(picture, np.ndarray):
        picture = torch.from_numpy(np.ascontiguousarray(picture)).movedim(-1, 0) if picture.ndim == 3 else picture
    if (
        not isinstance(picture, Tensor)
        or picture.dtype != torch.uint8
        or picture.ndim != 3
        or picture.shape[0] != 3
        or 0 in picture.shape
    ):
        form = f"{picture.dtype} {tuple(picture.shape)}" if hasattr(picture, "shape") else type(picture).__name__
        raise ValueError(f"a picture is a file name, a Pillow image, uint8 (H, W, 3) or a tensor (3, H, W), not {form}")
    return picture
