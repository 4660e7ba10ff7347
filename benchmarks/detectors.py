"""Speed of supervised training against torchvision's own detector in a loop like that of its references.

    python benchmarks/detectors.py [DETECTOR ...] [--image 192] [--batch 4] [--steps 8] [--repeats 3] [--threads 1]
    python benchmarks/detectors.py faster_rcnn_r50 --image 800 --batch 8 --workers 8 --device cuda --bf16 --compile

Both sides read the same generated images from files, at the same size, in batches of the same number, with the same
trunk, frozen parts, anchors, proposals and samples; they take turns in one process, and what is printed is the ratio of
their images/s, pair by pair, with its median. Ours does all that training does: views, moving average, finite check,
clipping, log. The other side is torchvision's FasterRCNN, RetinaNet or FCOS with its own ResNet-FPN, or, for the small
detectors, around our trunk, which torchvision does not have. The first steps do not count.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from throughput import CLASSES, ROOT, scenes
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7
from torchvision.transforms.v2 import functional as tv

from scantling import detectors, train
from scantling.augment.views import View, ViewParams
from scantling.data.loader import Pool
from scantling.methods import supervised

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
SKIPPED = 3  # steps before the clock starts: memory, threads, compilation
DETECTORS = ("faster_rcnn_lite", "retinanet_lite", "fcos_lite", "faster_rcnn_r50", "retinanet_r50", "fcos_r50")


class FilesAsReferences(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Image files and boxes as torchvision's references present them: flipped at random, floats from 0 to 1."""

    def __init__(self, pool: Pool):
        self.pool = pool

    def __len__(self) -> int:
        return len(self.pool.labeled)

    def __getitem__(self, position: int) -> tuple[Tensor, dict[str, Tensor]]:
        image_id = self.pool.labeled[position]
        image = tv.pil_to_tensor(Image.open(self.pool.file(image_id)).convert("RGB"))
        boxes, labels = self.pool.truth(image_id)
        if torch.rand(()) < 0.5:
            image, boxes = image.flip(2), boxes[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1])
            boxes[:, ::2] += image.shape[2]
        return tv.to_dtype(image, torch.float32, scale=True), {"boxes": boxes, "labels": labels + 1}


def references(
    model: nn.Module, pool: Pool, params: train.TrainingParams, device: str, amp: bool, clock: Clock
) -> Callable[[int], list[float]]:
    """A loop like that of torchvision's references: forward with losses, finite check, zero, backward, step, rate."""

    def loop(steps: int) -> list[float]:
        trained = copy.deepcopy(model).to(device).train()
        wanted = [p for p in trained.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(wanted, lr=params.optimizer.learning_rate, momentum=0.9, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 0.001, total_iters=1000)
        sampler = torch.utils.data.RandomSampler(pool.labeled, num_samples=steps * params.labeled_per_step)
        loader = DataLoader(
            FilesAsReferences(pool), params.labeled_per_step, sampler=sampler, num_workers=params.workers,
            collate_fn=lambda samples: tuple(zip(*samples, strict=True)), pin_memory=device != "cpu",
        )  # fmt: skip
        stamps = []
        for images, targets in loader:
            stamps.append(clock())
            images = [image.to(device) for image in images]
            targets = [{k: v.to(device) for k, v in t.items()} for t in targets]
            with torch.autocast(device, torch.bfloat16, enabled=amp):
                losses = sum(trained(images, targets).values())
            if not math.isfinite(losses.item()):
                raise RuntimeError("the reference's loss is not finite; give a lower rate")
            optimizer.zero_grad()
            losses.backward()
            optimizer.step()
            schedule.step()
        return [*stamps, finished(device, clock)]

    return loop


def ours(
    student: nn.Module,
    pool: Pool,
    params: train.TrainingParams,
    views: ViewParams,
    device: str,
    work: Path,
    clock: Clock,
) -> Callable[[int], list[float]]:
    """The training that the stages run."""

    def loop(steps: int) -> list[float]:
        stamps: list[float] = []

        class Clocked(supervised.Method):
            def step(self, *arguments: Any) -> Any:
                stamps.append(clock())
                return super().step(*arguments)

        train.run(
            student=copy.deepcopy(student), average=copy.deepcopy(student), labeler=None,
            method=Clocked(supervised.Params(), CLASSES, None), pool=pool, views=views,
            params=params.model_copy(update={"steps": steps}), seed=0, device=device, work=work, what="train",
        )  # fmt: skip
        return [*stamps, finished(device, clock)]

    return loop


def finished(device: str, clock: Clock) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return clock()


class OurTrunk(nn.Module):
    """Our trunk under torchvision's pyramid, for networks that torchvision does not have."""

    def __init__(self, trunk: Any, channels: int, extra: ExtraFPNBlock | None):
        super().__init__()
        self.body, self.out_channels = trunk, channels
        self.fpn = FeaturePyramidNetwork(list(trunk.channels), channels, extra)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        size = (x.shape[-2], x.shape[-1])
        found = self.body(x.contiguous(memory_format=torch.channels_last), [size] * len(x))
        return self.fpn({str(i): f for i, f in enumerate(found)})


def torchvisions(params: Any, detector: Any) -> nn.Module:
    """torchvision's detector with the settings of `params` as far as it has them."""
    trunk, channels = params.backbone, params.neck.channels
    extra: ExtraFPNBlock | None = None
    match params.neck.extra_levels:
        case "max_pool":
            extra = LastLevelMaxPool()
        case "conv_from_c5":
            extra = LastLevelP6P7(detector.backbone.channels[-1], channels)
        case "conv_from_p5":
            extra = LastLevelP6P7(channels, channels)
    if trunk.name.startswith("res"):
        first = 1 if trunk.finest_stride_px == 4 else 2
        backbone = resnet_fpn_backbone(
            backbone_name=trunk.name, weights=None, norm_layer=FrozenBatchNorm2d, extra_blocks=extra,
            trainable_layers=5 - trunk.frozen_stages, returned_layers=list(range(first, 5)),
        )  # fmt: skip
        if extra is None:
            backbone.fpn.extra_blocks = None
    else:
        backbone = OurTrunk(copy.deepcopy(detector.backbone), channels, extra)
    mean, std = ([v / 255 for v in values] for values in (detector.backbone.mean, detector.backbone.std))
    common: dict[str, Any] = {
        "min_size": params.input.short_px, "max_size": params.input.long_px, "image_mean": mean, "image_std": std,
    }  # fmt: skip
    classes = len(CLASSES) + 1
    if params.architecture == "fcos":
        places = AnchorGenerator(tuple((s,) for s in detector.strides), ((1.0,),) * len(detector.strides))
        model: Any = FCOS(backbone, classes, anchor_generator=places, **common)
        return _shallower(model, params.head.tower_depth, layers=3)
    sizes = tuple(tuple(s) for s in params.anchors.sizes_px)
    anchors = AnchorGenerator(sizes, (tuple(params.anchors.ratios),) * len(sizes))
    if params.architecture == "retinanet":
        head = RetinaNetHead(channels, anchors.num_anchors_per_location()[0], classes)
        model = RetinaNet(backbone, classes, anchor_generator=anchors, head=head, **common)
        return _shallower(model, params.head.tower_depth, layers=1)
    rpn, roi = params.rpn, params.roi
    pooled = [str(i) for i in range(len(detector.backbone.strides))]
    return FasterRCNN(
        backbone, rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_train=rpn.train.per_level, rpn_post_nms_top_n_train=rpn.train.per_image,
        rpn_batch_size_per_image=rpn.sampled, rpn_positive_fraction=rpn.positive_fraction,
        box_roi_pool=MultiScaleRoIAlign(pooled, roi.pooled_cells, roi.sampling_ratio),
        box_head=TwoMLPHead(channels * roi.pooled_cells**2, roi.width),
        box_predictor=FastRCNNPredictor(roi.width, classes),
        box_batch_size_per_image=roi.sampled, box_positive_fraction=roi.positive_fraction, **common,
    )  # fmt: skip


def _shallower(model: Any, depth: int, layers: int) -> nn.Module:
    """With `depth` convolutions in each tower, of the four that torchvision makes of `layers` modules each."""
    for tower in (model.head.classification_head, model.head.regression_head):
        tower.conv = nn.Sequential(*list(tower.conv)[: depth * layers])
    return model


def pairs(
    reference: Callable[[int], list[float]], own: Callable[[int], list[float]], steps: int, repeats: int
) -> Iterator[tuple[float, float]]:
    """Seconds of a step of both, in turns."""
    for repeat in range(repeats):
        seconds = {}
        for loop in (reference, own)[:: 1 if repeat % 2 == 0 else -1]:
            stamps = loop(steps + SKIPPED)
            seconds[loop] = (stamps[-1] - stamps[SKIPPED]) / steps
        yield seconds[reference], seconds[own]


def compare(name: str, arguments: argparse.Namespace, pool: Pool, folder: Path) -> None:
    params: Any = detectors.DetectorParams.load(ROOT / f"params/detectors/{name}.yaml")
    px, device, clock = arguments.image, arguments.device, CLOCKS[arguments.clock]
    backbone = params.backbone
    if backbone.name.startswith("res"):  # a file, since nothing is frozen in a random start
        weights = folder / f"{backbone.name}.pth"
        plain = detectors.build(params, CLASSES, pretrained=False).backbone
        torch.save(plain.state_dict(), weights)
        backbone = backbone.model_copy(update={"weights": str(weights)})
    size = params.input.model_copy(update={"short_px": px, "long_px": px})
    params = params.model_copy(update={"input": size, "backbone": backbone})
    torch.manual_seed(0)
    student = detectors.build(params, CLASSES, pretrained=True)
    training = train.TrainingParams.load(f"{ROOT}/params/training/digits.yaml:burn_in")
    optimizer = training.optimizer.model_copy(update={"name": "sgd", "learning_rate": 1e-4, "weight_decay": 1e-4})
    training = training.model_copy(update={
        "labeled_per_step": arguments.batch, "workers": arguments.workers, "optimizer": optimizer,
        "checkpoint_every_steps": 10**6, "channels_last": not arguments.contiguous, "compile": arguments.compile,
        "rehearse": False, "precision": "bfloat16" if arguments.bf16 else "float32",
    })  # fmt: skip
    view = View(short_px=(px, px), long_px=px, flip_horizontal=0.5)
    views = ViewParams(labeled=view, weak=view, strong=view)
    reference = references(torchvisions(params, student), pool, training, device, arguments.amp, clock)
    own = ours(student, pool, training, views, device, folder / "work", clock)
    ratios = []
    for theirs, mine in pairs(reference, own, arguments.steps, arguments.repeats):
        ratios.append(theirs / mine)
        batch = arguments.batch
        print(f"{name}: torchvision {batch / theirs:.2f}, scantling {batch / mine:.2f} images/s", flush=True)
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"{name}: images/s over torchvision's: median {statistics.median(ratios):.2f} of {each}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detectors", nargs="*", default=DETECTORS, help="files of params/detectors/, without .yaml")
    parser.add_argument("--image", type=int, default=192, help="pixels, side of the square images")
    parser.add_argument("--batch", type=int, default=4, help="images a step")
    parser.add_argument("--steps", type=int, default=8, help="steps a measurement")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of measurements")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--workers", type=int, default=0, help="loader processes of either side")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: processor time, for a machine shared with others (workers 0)",
    )
    parser.add_argument("--bf16", action="store_true", help="ours under autocast")
    parser.add_argument("--amp", action="store_true", help="torchvision's under autocast")
    parser.add_argument("--compile", action="store_true", help="ours compiled")
    parser.add_argument("--contiguous", action="store_true", help="ours without channels_last")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        root, images, split = scenes(Path(name), min(1024, arguments.image * 5 // 4))  # both sides resize them
        pool = Pool.of(root, images, split, keep_empty=True)
        for detector in arguments.detectors:
            compare(detector, arguments, pool, Path(name))


if __name__ == "__main__":
    main()
