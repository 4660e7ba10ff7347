"""Speed of a training step and of pseudo-labeling, as ratios to the bare model on ready tensors.

    python benchmarks/throughput.py [--repeats 5] [--steps 10] [--image PIXELS]

Same model, batch and thread count on both sides, alternating in one process; the ratio of each pair is printed with
its median. The bare training loop does forward, backward, clipping and the optimizer; scantling's adds decoding,
views, collation, the moving average, the finite check and the log. The bare detection loop does features and detection,
the bare labeling loop box spread as well; scantling's add decoding, resizing and the table. Scenes are the embedded
digits. What torchvision's own detectors need in a loop of their own: benchmarks/detectors.py.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from scantling import detectors, predict, pseudo, train
from scantling.augment.views import ViewParams
from scantling.data import check, digits, formats, protocols, semi
from scantling.data.loader import Pool
from scantling.data.problems import Findings
from scantling.methods import supervised
from scantling.pseudo import PseudoLabelParams
from scantling.target import Batch, Target

ROOT = Path(__file__).parents[1]
CLASSES = ("zero", "one", "two", "three")


def bare_training(student: nn.Module, params: train.TrainingParams, image_px: int) -> Callable[[int], None]:
    student = copy.deepcopy(student).to(memory_format=torch.channels_last).train()
    optimizer = train.make_optimizer(student, params.optimizer)
    batch, size = params.labeled_per_step, (image_px, image_px)
    images = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8)
    corner = torch.rand((6, 2)) * (image_px - 50)
    targets = [Target.of(torch.cat([corner, corner + 40], 1), torch.arange(6) % len(CLASSES)) for _ in range(batch)]

    def loop(steps: int) -> None:
        for _ in range(steps):
            losses = student.losses(student.features(images, [size] * batch), targets, [size] * batch)
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(losses.values())).sum().backward()
            nn.utils.clip_grad_norm_(student.parameters(), params.clip_norm or 1e9)
            optimizer.step()

    return loop


def our_training(
    student: nn.Module, params: train.TrainingParams, views: ViewParams, pool: Pool, folder: Path
) -> Callable[[int], None]:
    def loop(steps: int) -> None:
        trained = copy.deepcopy(student)
        train.run(
            student=trained, average=copy.deepcopy(student), labeler=None,
            method=supervised.Method(supervised.Params(), CLASSES, None), pool=pool, views=views,
            params=params.model_copy(update={"steps": steps}), seed=0, device="cpu", work=folder / "work", what="train",
        )  # fmt: skip

    return loop


def bare_detection(detector: nn.Module, params: PseudoLabelParams, ready: list[Batch]) -> Callable[[int], None]:
    def loop(batches: int) -> None:
        with torch.inference_mode():
            for batch in ready[:batches]:
                features = detector.features(batch.images, batch.sizes)
                detector.detect(features, batch.sizes, score_threshold=params.score_floor, nms_iou=params.nms_iou)

    return loop


def our_detection(
    detector: nn.Module, params: PseudoLabelParams, table: pd.DataFrame, root: Path, input: object
) -> Callable[[int], None]:
    def loop(batches: int) -> None:
        with tempfile.TemporaryDirectory() as keep:
            predict.detection_parts(
                detector, table.iloc[: batches * params.batch_size], root, input=input, batch_size=params.batch_size,
                workers=params.workers, score_threshold=params.score_floor, nms_iou=params.nms_iou, limit=100,
                device="cpu", keep=Path(keep),
            )  # fmt: skip

    return loop


def bare_labeling(detector: nn.Module, params: PseudoLabelParams, ready: list[Batch]) -> Callable[[int], None]:
    def loop(batches: int) -> None:
        with torch.inference_mode():
            for batch in ready[:batches]:
                features = detector.features(batch.images, batch.sizes)
                options = {"score_threshold": params.score_floor, "nms_iou": params.nms_iou, "limit": params.limit}
                found = detector.detect(features, batch.sizes, **options)
                pseudo.box_spread(
                    detector, features, found, batch.sizes,
                    times=params.jitter_times, fraction=params.jitter_fraction, score_above=params.spread_from,
                )  # fmt: skip

    return loop


def our_labeling(
    detector: nn.Module, params: PseudoLabelParams, table: pd.DataFrame, root: Path, input: object
) -> Callable[[int], None]:
    def loop(batches: int) -> None:
        rows = table.iloc[: batches * params.batch_size]
        predict.pseudo_labels(detector, rows, root, input=input, params=params, device="cpu")

    return loop


def compare(name: str, bare: Callable[[int], None], ours: Callable[[int], None], count: int, repeats: int) -> None:
    """Print seconds of both and the ratio bare/ours (1 = no overhead) of each pair, alternating which goes first."""
    bare(2), ours(2)
    ratios = []
    for repeat in range(repeats):
        seconds = {}
        for label, loop in (("bare", bare), ("ours", ours))[:: 1 if repeat % 2 == 0 else -1]:
            start = time.perf_counter()
            loop(count)
            seconds[label] = time.perf_counter() - start
        ratios.append(seconds["bare"] / seconds["ours"])
        print(f"{name}: bare {seconds['bare'] / count:.3f} s, scantling {seconds['ours'] / count:.3f} s a batch")
    each = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    print(f"{name}: throughput over the bare model's: median {statistics.median(ratios):.3f} of {each}")


def scenes(folder: Path, px: int | None = None) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    """Generated digits: the image folder, the training images' rows, and a split that keeps every box.

    px: side of the images and, in proportion, of what is on them; None: as in the demo.
    """
    params = digits.DigitsParams.load(ROOT / "params/generate/digits.yaml")
    if px is not None:
        low, high = (side * px // params.image_px for side in params.digit_px)
        few = {"train": 40, "val": 1, "test": 1}
        params = params.model_copy(update={"image_px": px, "digit_px": (low, high), "scenes": few})
    digits.write(params, folder / "digits")
    source = folder / "data.yaml"
    source.write_text(
        f"format: coco\nroot: {folder / 'digits'}\nsubsets: {{train: annotations/instances_train.json}}\n"
    )
    params = formats.DataParams.load(source)
    found = Findings(params.problems)
    index = check.check(formats.read(params, found), params, found)
    split, _ = protocols.make(index, semi.FullParams(protocol="full"), fold=1)
    return index.root, index.images, split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="batches a measurement")
    parser.add_argument("--image", type=int, help="side of the scenes and of what is seen, pixels; else as in the demo")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    detector_params = detectors.DetectorParams.load(ROOT / "params/detectors/faster_rcnn_lite.yaml")
    training = train.TrainingParams.load(f"{ROOT}/params/training/digits.yaml:burn_in")
    views = ViewParams.load(f"{ROOT}/params/training/digits.yaml:views")
    labeling = PseudoLabelParams.load(ROOT / "params/pseudo_label.yaml")
    if arguments.image:
        px, size = arguments.image, {"short_px": arguments.image, "long_px": arguments.image}
        detector_params = detector_params.model_copy(update={"input": detector_params.input.model_copy(update=size)})
        seen = {name: view.model_copy(update={"short_px": (px, px), "long_px": px}) for name, view in views if view}
        views = views.model_copy(update=seen)
    detector = detectors.build(detector_params, CLASSES, pretrained=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root, images, split = scenes(folder, arguments.image)
        pool = Pool.of(root, images, split, keep_empty=True)
        px = views.weak.short_px[0]  # type: ignore[index]
        bare, ours = bare_training(detector, training, px), our_training(detector, training, views, pool, folder)
        compare("training step", bare, ours, arguments.steps, arguments.repeats)
        quiet = detector.eval()
        size = detector_params.input
        images = images.iloc[: max(2, arguments.steps) * labeling.batch_size]  # no more is asked for
        ready = list(predict.batches(images, root, size, labeling.batch_size, labeling.workers))  # the same pixels
        bare = bare_detection(quiet, labeling, ready)
        ours = our_detection(quiet, labeling, images, root, size)
        compare("detection", bare, ours, arguments.steps, arguments.repeats)
        bare = bare_labeling(quiet, labeling, ready)
        ours = our_labeling(quiet, labeling, images, root, size)
        compare("pseudo-labeling", bare, ours, arguments.steps, arguments.repeats)


if __name__ == "__main__":
    main()
