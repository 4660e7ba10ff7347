"""Time, peak memory and disk of every stage at growing numbers of images, each stage in a process of its own.

    python benchmarks/scale.py [--images 1000 ...] [--processes 1] [--without-detector] [--stages NAME ...]
                               [--work FOLDER]

Of each number of images nine tenths are for training and one tenth is for the test; the images are PNG files of 32 x 32
pixels with a few rectangles. The teacher is a Faster R-CNN as small as its parameters allow, with random weights, which
finds 10 boxes in every image; it labels all training images, and as student and teacher of `evaluate` all test images.
`retrain` takes two steps: what is measured there is reading the labels. With --processes above 1, pseudo_label,
polish and evaluate run under torchrun, and memory is that of the largest process. --without-detector labels and
evaluates with one that costs nothing (benchmarks/without_detector.py): time is then that of everything around it.
--stages leaves the others out; each needs those before it, only `retrain` is needed by none.
200,000 images need 1.5 GB below --work, removed at the end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from prepare import ROOT, Cost, cost

PX, BOXES, FOUND = 32, 4, 10  # side of an image, true boxes and found boxes of an image
CLASSES = ("circle", "square", "bar", "cross")
SHARED = ("pseudo_label", "polish", "evaluate")  # stages whose images several processes deal among them
ASKING = ("pseudo_label", "evaluate")  # stages in which the detector costs most


def write_set(folder: Path, images: int) -> None:
    """Image files, a thousand a folder, COCO files of their boxes, and the parameters that name them."""
    rng = np.random.default_rng(0)
    corner = rng.integers(0, PX - 12, (images, BOXES, 2))
    side = rng.integers(6, 12, (images, BOXES, 2))
    label = rng.integers(0, len(CLASSES), (images, BOXES))
    categories = [{"id": k, "name": name} for k, name in enumerate(CLASSES)]
    content: dict[str, dict[str, list[dict[str, object]]]] = {
        subset: {"images": [], "annotations": [], "categories": categories} for subset in ("train", "test")
    }
    for i in range(images):
        name, part = f"{i // 1000:04d}/{i:07d}.png", content["test" if i % 10 == 9 else "train"]
        pixels = np.full((PX, PX, 3), 110, np.uint8)
        for (x, y), (w, h), c in zip(corner[i].tolist(), side[i].tolist(), label[i].tolist(), strict=True):
            pixels[y : y + h, x : x + w] = 40 + 60 * c
            box = {
                "id": BOXES * i + len(part["annotations"]) % BOXES,
                "image_id": i,
                "category_id": c,
                "bbox": [x, y, w, h],
            }
            part["annotations"].append(box | {"area": w * h, "iscrowd": 0})
        file = folder / "set/images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file, compress_level=1)
        part["images"].append({"id": i, "file_name": name, "width": PX, "height": PX})
    for subset, part in content.items():
        (folder / f"set/{subset}.json").write_text(json.dumps(part))
    subsets = {subset: f"{subset}.json" for subset in content}
    (folder / "data.yaml").write_text(yaml.safe_dump({"format": "coco", "root": "set", "subsets": subsets}))


def write_models(folder: Path) -> None:
    """The teacher, a run's student and teacher, which are the same, and parameters for such small images."""
    import torch

    from scantling import checkpoint, detectors
    from scantling.mining.record import Record

    values = detectors.DetectorParams.load(ROOT / "params/detectors/faster_rcnn_lite.yaml").resolved()
    values["input"] |= {"short_px": PX, "long_px": PX, "exact_px": [PX, PX]}
    values["neck"]["channels"] = 32
    values["rpn"]["test"] = values["rpn"]["train"] = {"per_level": 50, "per_image": 30}
    values["roi"]["width"] = 16
    values["backbone"]["weights"] = None
    params = detectors.DetectorParams.of(values, "the smallest")
    torch.manual_seed(0)
    detector = detectors.build(params, CLASSES, pretrained=False)
    (folder / "model").mkdir()
    for role in ("student", "teacher"):
        checkpoint.save_weights(folder / f"model/{role}.safetensors", detector, params, step=1, role=role)
    Record().table().to_parquet(folder / "model/learned.parquet", index=False)

    def changed(file: str, name: str, **changes: object) -> None:
        content = yaml.safe_load((ROOT / f"params/{file}.yaml").read_text())
        (folder / name).write_text(yaml.safe_dump(content | changes))

    changed("pseudo_label", "label.yaml", limit=FOUND, jitter_times=0, batch_size=64)
    changed("evaluate", "evaluate.yaml", limit=FOUND, burn_in_images=0, batch_size=64)
    changed("methods/soft_teacher_cached", "method.yaml", class_score=0.2, objectness_score=0.2)
    content = yaml.safe_load((ROOT / "params/training/digits.yaml").read_text())
    content["views"] = {view: {"short_px": [PX, PX], "long_px": PX} for view in content["views"]}
    content["retrain"] |= {"steps": 2, "rehearse": False}
    (folder / "training.yaml").write_text(yaml.safe_dump(content))


def stages() -> dict[str, list[str]]:
    """The arguments of each stage, in their order."""
    known = ["--index", "index", "--split", "split"]
    views = ["--views", "training.yaml:views"]
    return {
        "prepare": ["--data", "data.yaml", "--out", "index"],
        "split": ["--index", "index", "--protocol", f"{ROOT}/params/splits/percent_10.yaml", "--fold", "1",
                  "--out", "split"],
        "pseudo_label": [*known, "--teacher", "model", "--params", "label.yaml", "--out", "pseudo"],
        "polish": [*known, "--teacher", "model", "--pseudo", "pseudo", "--method", "method.yaml", *views, "--seed", "0",
                   "--corrections", f"{ROOT}/params/corrections/none.json", "--out", "refined"],
        "retrain": [*known, "--start", "model", "--teacher", "model", "--refined", "refined", "--method", "method.yaml",
                    *views, "--training", "training.yaml:retrain", "--seed", "0", "--out", "run"],
        "evaluate": [*known, "--pseudo", "pseudo", "--refined", "refined", "--model", "model",
                     "--params", "evaluate.yaml", "--out", "measured"],
    }  # fmt: skip


def apart(target: Callable[..., None], *arguments: object) -> None:
    """In a process of its own: the peak of a new process begins with the memory of the one that starts it."""
    writer = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    writer.start()
    writer.join()
    if writer.exitcode:
        sys.exit(f"{target.__name__} failed")


def measure(images: int, processes: int, with_detector: bool, chosen: Sequence[str], folder: Path) -> dict[str, Cost]:
    """What each stage costs; prints a line for each."""
    apart(write_set, folder, images)
    apart(write_models, folder)
    paid = {}
    for name, words in stages().items():
        if name not in chosen:
            continue
        command = [sys.executable]
        if processes > 1 and name in SHARED:
            command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        if with_detector or name not in ASKING:
            command += [f"{ROOT}/stages/{name}.py"]
        else:
            command += [f"{ROOT}/benchmarks/without_detector.py", name]
        paid[name] = cost([*command, *words], folder)
        out = folder / words[-1]
        size = sum(file.stat().st_size for file in out.iterdir() if file.is_file()) / 1e6
        print(f"{images:,} images, {name}: {paid[name]}, {size:.1f} MB written", flush=True)
    return paid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--work", type=Path, help="existing folder with room; the system's temporary one if not given")
    parser.add_argument("--without-detector", action="store_true")
    parser.add_argument("--stages", nargs="+", choices=list(stages()), default=list(stages()), metavar="NAME")
    options = parser.parse_args()
    paid = {}
    for images in options.images:
        with tempfile.TemporaryDirectory(prefix="scantling-", dir=options.work) as temporary:
            paid[images] = measure(
                images, options.processes, not options.without_detector, options.stages, Path(temporary)
            )
    print(table(paid), end="")


def table(paid: dict[int, dict[str, Cost]]) -> str:
    """Peak memory of each stage in MiB, a column for each number of images."""
    rows: list[Sequence[str]] = [("stage, MiB", *(f"{images:,} images" for images in paid))]
    there = [name for name in stages() if all(name in costs for costs in paid.values())]
    rows += [(name, *(f"{costs[name].peak_mib:,.0f}" for costs in paid.values())) for name in there]
    return "".join(" | ".join(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()
