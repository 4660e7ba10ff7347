"""Time of making views: each operation, then the weak and strong views of published recipes, against torchvision's.

    python benchmarks/views.py [--repeats 7] [--draws 24] [--device cuda]

One thread, one image of 480x640 as a decoder leaves it; ours and torchvision.transforms.v2 take turns on the same drawn
plan, and the ratio of their times is printed (above 1: ours is faster), medians of all turns. With --device the batched
path is timed there as well, milliseconds an image in batches of 16, without decoding and copying.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from scantling.augment import batched, geometry, views
from scantling.augment.plan import Plan, Step
from scantling.augment.settings import ViewParams

ROOT = Path(__file__).parents[1]
SIZES = ((192, 256), (800, 1333))
RECIPES = ("coco_soft_teacher", "coco_co_mining", "coco_co_student", "bccd")
STEPS = {
    "flip_horizontal": (),
    "warp (rotation)": (0.97, 0.17, 20.0, -0.17, 0.97, 30.0, 125),
    "auto_contrast": (),
    "equalize": (),
    "solarize": (128,),
    "posterize": (3,),
    "color": (1.4,),
    "contrast": (1.4,),
    "brightness": (1.4,),
    "sharpness": (1.4,),
    "hue": (0.1,),
    "gray": (),
    "blur": (1.5,),
    "erase": (20, 30, 40, 50, 125),
}


def reference(image: Tensor, plan: Plan) -> Tensor:
    """The plan with torchvision's functions on tensors."""
    for step in plan.before:
        image = _reference_step(image, step)
    if not plan.on_weak and plan.size != tuple(image.shape[1:]):
        image = tv.resize(image, list(plan.size), antialias=plan.antialias)
    for step in plan.steps:
        image = _reference_step(image, step)
    return image


def _reference_step(image: Tensor, step: Step) -> Tensor:
    v = step.values
    match step.name:
        case "flip_horizontal":
            return tv.horizontal_flip(image)
        case "flip_vertical":
            return tv.vertical_flip(image)
        case "warp":  # any affine warp costs the same
            bilinear = tv.InterpolationMode.BILINEAR
            return tv.affine(image, 10.0, [5.0, 7.0], 1.0, [3.0, 2.0], interpolation=bilinear, fill=[float(v[6])] * 3)
        case "auto_contrast":
            return tv.autocontrast(image)
        case "equalize":
            return tv.equalize(image)
        case "solarize":
            return tv.solarize(image, v[0])
        case "posterize":
            return tv.posterize(image, int(v[0]))
        case "color":
            return tv.adjust_saturation(image, v[0])
        case "contrast":
            return tv.adjust_contrast(image, v[0])
        case "brightness":
            return tv.adjust_brightness(image, v[0])
        case "sharpness":
            return tv.adjust_sharpness(image, v[0])
        case "hue":
            return tv.adjust_hue(image, v[0])
        case "gray":
            return tv.rgb_to_grayscale(image, 3)
        case "blur":
            return tv.gaussian_blur(image, [2 * int(3 * v[0] + 0.5) + 1] * 2, [v[0], v[0]])
        case "erase":
            x, y, w, h, fill = (int(value) for value in v)
            return tv.erase(image, y, x, h, w, torch.tensor(fill, dtype=torch.uint8))
        case "lighting":
            return image
    raise ValueError(step.name)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Median milliseconds of both and the median ratio theirs/ours, taking turns."""
    ours(), theirs()
    pairs = [
        (seconds(ours), seconds(theirs)) if turn % 2 else (seconds(theirs), seconds(ours))[::-1]
        for turn in range(repeats)
    ]
    a, b = (statistics.median(column) * 1e3 for column in zip(*pairs, strict=True))
    return a, b, statistics.median(y / x for x, y in pairs)


def line(name: str, a: float, b: float, ratio: float, more: str = "") -> None:
    print(f"{name:34s} {a:9.2f} ms {b:9.2f} ms   {ratio:6.2f}{more}", flush=True)


def operations(image: Tensor, size: tuple[int, int], repeats: int) -> None:
    plain = Plan(size, geometry.identity())
    line("resize", *compare(lambda: views.apply(image, plain), lambda: reference(image, plain), repeats))
    sized = views.apply(image, plain)
    planes = sized.contiguous()  # each side gets the memory order it is fast with
    for name, values in STEPS.items():
        plan = Plan(size, geometry.identity(), steps=(Step(name.split()[0], values),))
        line(name, *compare(lambda p=plan: views.apply(sized, p), lambda p=plan: reference(planes, p), repeats))


def recipe(image: Tensor, name: str, draws: int, repeats: int, device: str | None) -> None:
    params = ViewParams.load(f"{ROOT}/params/training/{name}.yaml:views")
    size = (image.shape[1], image.shape[2])
    plans = [views.plans(params, ("weak", "strong"), size, (0, draw)) for draw in range(draws)]

    def theirs() -> None:
        for made in plans:
            weak = reference(image, made["weak"])
            reference(weak if made["strong"].on_weak else image, made["strong"])

    a, b, ratio = compare(lambda: [views.apply_all(image, made) for made in plans], theirs, repeats)
    drawing = seconds(lambda: [views.plans(params, ("weak", "strong"), size, (0, i)) for i in range(draws)])
    more = f"   drawing {drawing / draws * 1e3:.2f} ms"
    if device:
        more += f"   batched on {device} {_batched(image, plans, device, repeats):.2f} ms"
    line(f"{name} weak + strong", a / draws, b / draws, ratio, more)


def _batched(image: Tensor, plans: list[dict[str, Plan]], device: str, repeats: int) -> float:
    images = [image.to(device)] * 16
    chosen = [plans[i % len(plans)] for i in range(16)]

    def both() -> None:
        for name in ("weak", "strong"):
            batched.apply(images, [views.chain(made, name) for made in chosen])
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    both()
    return statistics.median(seconds(both) for _ in range(repeats)) / 16 * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--draws", type=int, default=24, help="drawn plans a recipe")
    parser.add_argument("--device", help="time the batched path there as well")
    parser.add_argument("--small", action="store_true", help="the small size and recipe alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    waves = np.sin(np.linspace(0, 20, 640)[None, :, None] + np.linspace(0, 9, 480)[:, None, None] * [1, 2, 3])
    levels = 128 + 80 * waves + rng.normal(0, 10, (480, 640, 3))
    image = torch.from_numpy(levels.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)
    for size in SIZES[:1] if arguments.small else SIZES:
        print(f"\n{size[0]} x {size[1]:<24d} {'scantling':>9s}    {'torchvision':>9s}    ratio")
        operations(image, size, arguments.repeats)
    print(f"\n{'a pair of views':34s} {'scantling':>9s}    {'torchvision':>9s}    ratio")
    for name in RECIPES[-1:] if arguments.small else RECIPES:
        recipe(image, name, arguments.draws, arguments.repeats, arguments.device)


if __name__ == "__main__":
    main()
