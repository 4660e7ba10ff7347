"""Writes annotation files as large as those of COCO and Objects365, and empty image files to go with them.

Every value comes from the seed. Box corners and ids are drawn one by one; polygons are taken from a pool of POOL
made ones, whose number of points follows the official annotations (337 images of train2017: log-normal, median 17
points, mean 23, one in a hundred a crowd's run lengths): about 380 bytes of polygon and 520 bytes in all for a box.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

POOL = 4096
BLOCK = 10_000  # entries written at once


def write_coco(file: Path, *, images: int, boxes: int, classes: int = 80, seed: int = 0) -> list[str]:
    """A file in the shape of instances_train2017.json; gives the file names of its images."""
    generator = np.random.default_rng(seed)
    ids = np.sort(generator.choice(5 * images, images, replace=False)) + 1  # with gaps, as the official ones
    names = [f"{i:012}.jpg" for i in ids]
    entries = (
        f'{{"license": 3,"file_name": "{name}","coco_url": "http://images.cocodataset.org/train2017/{name}",'
        '"height": 480,"width": 640,"date_captured": "2013-11-14 17:02:52","flickr_url": '
        f'"http://farm7.staticflickr.com/6116/{name[:10]}_02f08b3ceb_z.jpg","id": {i}}}'
        for i, name in zip(ids, names, strict=True)
    )
    pool = _polygons(generator)

    def annotations() -> Iterator[str]:
        for k, image, category, x, y, w, h in _boxes(generator, ids, boxes, classes):
            shape = pool[k * 7 % POOL]
            crowd = int(shape[0] == "{")
            yield (
                f'{{"segmentation": {shape},"area": {w * h * 0.6!r},"iscrowd": {crowd},"image_id": {image},'
                f'"bbox": [{x},{y},{w},{h}],"category_id": {category},"id": {k + 1}}}'
            )

    _write(file, entries, annotations(), [f"class {c}" for c in range(1, classes + 1)])
    return names


def write_objects365(file: Path, *, images: int, boxes: int, classes: int = 365, seed: int = 0) -> list[str]:
    """A file in the shape of zhiyuan_objv2_train.json; gives the paths of its images below the image folder."""
    generator = np.random.default_rng(seed)
    ids = np.arange(1, images + 1)
    versions = [1 + (2 * i > images) for i in ids.tolist()]
    paths = [
        f"patch{i * 51 // (images + 1)}/objects365_v{v}_{i:08}.jpg" for i, v in zip(ids.tolist(), versions, strict=True)
    ]
    entries = (
        f'{{"height": 480, "id": {i}, "license": 5, "width": 640, "file_name": "images/v{v}/{path}", "url": ""}}'
        for i, v, path in zip(ids, versions, paths, strict=True)
    )
    annotations = (
        f'{{"id": {k + 1}, "iscrowd": 0, "isfake": 0, "area": {w * h!r}, "isreflected": 0, '
        f'"bbox": [{x!r}, {y!r}, {w!r}, {h!r}], "image_id": {image}, "category_id": {category}}}'
        for k, image, category, x, y, w, h in _boxes(generator, ids, boxes, classes)
    )
    _write(file, entries, annotations, [f"class {c}" for c in range(1, classes + 1)])
    return paths


def touch(folder: Path, names: list[str]) -> None:
    """Empty files: with `verify: none` nothing opens them."""
    for name in names:
        path = folder / name
        try:
            path.open("xb").close()
        except FileNotFoundError:
            path.parent.mkdir(parents=True)
            path.open("xb").close()


def _boxes(
    generator: np.random.Generator, image_ids: np.ndarray, boxes: int, classes: int
) -> Iterator[tuple[int, int, int, float, float, float, float]]:
    """Number from 0, image id, category id, x, y, width, height: within 640 x 480, two decimals; a long-tailed class.

    Not in the order of the images, as in the official files.
    """
    for start in range(0, boxes, BLOCK):
        count = min(BLOCK, boxes - start)
        image = image_ids[generator.integers(0, len(image_ids), count)].tolist()
        category = (1 + classes * generator.random(count) ** 2).astype(int).tolist()
        corner = generator.random((count, 2)) * (600, 440)
        size = 1 + generator.random((count, 2)) * ((638, 478) - corner)
        x, y, w, h = np.concatenate([corner, size], 1).round(2).T.tolist()
        yield from zip(range(start, start + count), image, category, x, y, w, h, strict=True)


def _polygons(generator: np.random.Generator) -> list[str]:
    shapes = []
    for points in np.exp(generator.normal(2.84, 0.72, POOL)).astype(int) + 3:
        outline = (generator.random(2 * points) * 480).round(2)
        shapes.append(f"[[{','.join(map(repr, outline.tolist()))}]]")
    for k in range(0, POOL, 100):
        counts = generator.integers(1, 900, 400).tolist()
        shapes[k] = f'{{"counts": [{",".join(map(str, counts))}],"size": [480,640]}}'
    return shapes


def _write(file: Path, images: Iterator[str], annotations: Iterator[str], classes: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    categories = (f'{{"supercategory": "thing","id": {i},"name": "{name}"}}' for i, name in enumerate(classes, 1))
    with file.open("w", buffering=1 << 20) as stream:
        stream.write('{"info": {"description": "generated"},"licenses": []')
        for part, entries in (("images", images), ("annotations", annotations), ("categories", categories)):
            stream.write(f',"{part}": [')
            for k, entry in enumerate(entries):
                stream.write(f",{entry}" if k else entry)
            stream.write("]")
        stream.write("}")
