"""A teacher-student step of Soft Teacher against the sum of its parts, and what `teacher: cached` saves.

    python benchmarks/teacher_student.py [DETECTOR] [--image 160] [--batch 4] [--steps 4] [--repeats 5] [--threads 1]
    python benchmarks/teacher_student.py faster_rcnn_r50 --image 800 --batch 4 --device cuda --bf16

Parts: student forward and backward on the labeled images; the same on the strong views of the unlabeled images, with
the pseudo labels that the step has there; teacher forward (features and detections) on their weak views. The step is
the loop's: it adds box spread, background trust, clipping, the optimizer and the moving average, which are also timed
by themselves. Views lie ready in memory on both sides. Time is the processor's on a CPU (so that other programs do not
count) and the clock's on a GPU. Parts and steps take turns; printed are medians and the median of the turns' ratios.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from throughput import CLASSES, ROOT, scenes
from torch import nn

from scantling import detectors, ema, methods, step
from scantling.augment.views import ViewParams
from scantling.data import sampler
from scantling.data.loader import Pool, TrainingStep, training_steps
from scantling.methods import MethodParams, supervised
from scantling.optimizer import make_optimizer
from scantling.pseudo import COLUMNS
from scantling.recipe import TrainingParams

BOXES = 8  # pseudo boxes an image, about as many as the scenes have objects; random weights find anything


def method_of(file: str, pool: Pool) -> Any:
    """A committed Soft Teacher whose thresholds let `BOXES` boxes an image through, whatever the weights."""
    params = MethodParams.load(ROOT / f"params/methods/{file}.yaml")
    low = dict.fromkeys(("candidate_floor", "candidate_score", "objectness_score", "class_score"), 0.0)
    rows = []
    for image_id in pool.unlabeled:
        corner = torch.rand((BOXES, 2)) * 60
        for (x, y), label in zip(corner.tolist(), range(BOXES), strict=True):
            box = {"x1": x, "y1": y, "x2": x + 40, "y2": y + 40}
            rows.append({"image_id": image_id, "label": label % len(CLASSES), "score": 0.9, "spread": 0.01, **box})
    table = supervised.unused(pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS))
    table = table.assign(for_objectness=True, for_class=True, for_box=True)
    return methods.create(params.model_copy(update=low | {"limit": BOXES, "box_spread": 9.0}), CLASSES, table)


def batch_of(pool: Pool, image_px: int, count: int) -> TrainingStep:
    view = {"short_px": [image_px, image_px], "long_px": image_px}
    views = ViewParams.model_validate(dict.fromkeys(("labeled", "weak", "strong"), view))
    stream = sampler.steps(pool.labeled, pool.unlabeled, labeled_per_step=count, unlabeled_per_step=count, seed=0)
    wanted = {"labeled_views": ("labeled",), "unlabeled_views": ("weak", "strong")}
    return next(training_steps(pool, views, **wanted, stream=stream, first=0, last=1, seed=0))


class Measured:
    """Everything of one comparison, on a device."""

    def __init__(self, arguments: argparse.Namespace, pool: Pool):
        self.device, self.count = arguments.device, arguments.steps
        self.kind = torch.device(self.device).type
        params = detectors.DetectorParams.load(ROOT / f"params/detectors/{arguments.detector}.yaml")
        if arguments.random:
            content = params.resolved()
            content["backbone"]["weights"] = None
            params = detectors.DetectorParams.of(content, arguments.detector)
        torch.manual_seed(0)
        student = detectors.build(params, CLASSES, pretrained=not arguments.random)
        self.student = student.to(self.device, memory_format=torch.channels_last).train()
        self.teacher = copy.deepcopy(self.student).eval().requires_grad_(False)
        self.batch = batch_of(pool, arguments.image, arguments.batch).to(self.device)
        self.training = TrainingParams.load(f"{ROOT}/params/training/digits.yaml:retrain").model_copy(
            update={"precision": "bfloat16" if arguments.bf16 else "float32"}
        )
        self.optimizer = make_optimizer(self.student, self.training.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0  # every step sees the same weights
            group["weight_decay"] = 0.0
        self.live, self.cached = method_of("soft_teacher", pool), method_of("soft_teacher_cached", pool)
        self.pseudo = self.pseudo_targets()

    def pseudo_targets(self) -> list[Any]:
        """The targets that the method's step gives to the student's losses on the strong views."""
        seen: list[list[Any]] = []
        original = self.student.losses

        def losses(features: Any, targets: Any, sizes: Any, *more: Any, **options: Any) -> Any:
            seen.append(list(targets))
            return original(features, targets, sizes, *more, **options)

        self.student.losses = losses
        self.live.step(self.student, self.teacher, self.batch)
        del self.student.losses
        return seen[-1]

    def seconds(self, work: Callable[[], Any]) -> float:
        """Of one call, mean over a few."""
        on_gpu = self.kind == "cuda"
        if on_gpu:
            torch.cuda.synchronize()
        clock = time.perf_counter if on_gpu else time.process_time
        start = clock()
        for _ in range(self.count):
            work()
        if on_gpu:
            torch.cuda.synchronize()
        return (clock() - start) / self.count

    def learn(self, view: Any, targets: list[Any]) -> None:
        with torch.autocast(self.kind, torch.bfloat16, enabled=self.training.precision == "bfloat16"):
            losses = supervised.view_losses(self.student, view, targets)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack([loss.float() for loss in losses.values()]).sum().backward()

    def labeled(self) -> None:
        view = self.batch.labeled["labeled"]
        self.learn(view, view.targets)

    def unlabeled(self) -> None:
        self.learn(self.batch.unlabeled["strong"], self.pseudo)

    @torch.no_grad()
    def teach(self) -> None:
        view, p = self.batch.unlabeled["weak"], self.live.params
        with torch.autocast(self.kind, torch.bfloat16, enabled=self.training.precision == "bfloat16"):
            features = self.teacher.features(view.images, view.sizes)
            self.teacher.detect(
                features, view.sizes, score_threshold=p.candidate_floor, nms_iou=p.nms_iou, limit=p.limit
            )

    def close(self) -> None:
        """What ends every step: clipping, optimizer, moving average."""
        nn.utils.clip_grad_norm_(self.student.parameters(), self.training.clip_norm or 1e9)
        self.optimizer.step()
        ema.update(self.teacher, self.student, 0.99)

    def whole(self, method: Any) -> Callable[[], None]:
        module = step.MethodStep(method, self.student, self.teacher if method is self.live else None)

        def work() -> None:
            ema.update(self.teacher, self.student, 0.99)
            step.take(module, self.optimizer, [self.batch], self.training, 0, self.device, None)

        return work

    def all(self) -> dict[str, Callable[[], None]]:
        return {
            "student, labeled": self.labeled,
            "student, unlabeled": self.unlabeled,
            "teacher": self.teach,
            "clipping, optimizer, average": self.close,
            "step": self.whole(self.live),
            "step, cached": self.whole(self.cached),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", nargs="?", default="faster_rcnn_lite")
    parser.add_argument("--image", type=int, default=160, help="side in pixels")
    parser.add_argument("--batch", type=int, default=4, help="images of each kind")
    parser.add_argument("--steps", type=int, default=4, help="calls a measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--random", action="store_true", help="no pretrained backbone: its file is not here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        root, images, split = scenes(Path(name))
        ids = sorted(split["image_id"].unique())
        split = split.assign(labeled=split["image_id"].isin(ids[: len(ids) // 2]))
        split = split[split["labeled"] | ~split["image_id"].duplicated()]
        measured = Measured(arguments, Pool.of(root, images, split, keep_empty=True))
    works = measured.all()
    for work in works.values():
        work()
    turns: list[dict[str, float]] = []
    for _ in range(arguments.repeats):
        turns.append({name: measured.seconds(work) for name, work in works.items()})
    for name in works:
        print(f"{name}: {statistics.median(turn[name] for turn in turns):.4f} s")

    def ratio(text: str, of: str, over: tuple[str, ...]) -> None:
        values = [turn[of] / sum(turn[name] for name in over) for turn in turns]
        print(f"{text}: {statistics.median(values):.3f} of {', '.join(f'{v:.3f}' for v in values)}")

    parts, closing = tuple(works)[:3], tuple(works)[:4]
    ratio("step over student on both halves and teacher", "step", parts)
    ratio("step over the same and what ends every step", "step", closing)
    ratio("cached step over student on both halves", "step, cached", parts[:2])
    ratio("cached step over the same and what ends every step", "step, cached", (*parts[:2], closing[3]))
    ratio("cached step over the live one", "step, cached", ("step",))


if __name__ == "__main__":
    main()
