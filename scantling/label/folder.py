"""A folder of images through a detector, part by part: what is done is on disk, and memory does not grow.

A part is the result of some images, one line of JSON for each. Parts lie in a hidden folder beside the one to write,
which appears when everything is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from scantling import log
from scantling.data import folder as folders
from scantling.export.coco import shortest
from scantling.label import drawing, writing
from scantling.stage import BadInput, digest, publish
from scantling.trained import TrainedDetector, View, load_detector

FORMS = ("coco", "yolo", "drawn")
MARK = "label.json"  # says of a folder that this command wrote it, and with what
PART = 64  # images; what a kill costs at most


@dataclass(frozen=True)
class Settings:
    """What decides the result, besides model and images."""

    write: tuple[str, ...] = ("coco",)
    score_threshold: float = 0.3
    limit: int | None = None  # None: the model's own
    scores: bool = False
    skip_unreadable: bool = False


def label(model: Path, images: Path, out: Path, settings: Settings, *, batch_size: int = 8, workers: int = 0) -> None:
    """Write the labels of all images below the folder `images` into `out`. Raises BadInput."""
    _check(images, out, settings, batch_size, workers)
    detector = load_detector(model)
    names = folders.image_names(images)
    for form, place in (("yolo", lambda name: posixpath.splitext(name)[0]), ("drawn", drawing.place)):
        if form in settings.write:
            _refuse_shared(names, form, place)
    made_of = {
        "model": digest(model),
        "settings": asdict(settings) | {"write": list(settings.write)},
        "images": _digest_of(images, names),
    }
    if _mark(out) == made_of:
        shutil.rmtree(out / "parts", ignore_errors=True)  # left by a kill at the very end
        log.line(f"{out}: holds these labels already; delete it to have them made again")
        return
    fresh = out.with_name(f".{out.name}.part")
    if _mark(fresh) != made_of:
        shutil.rmtree(fresh, ignore_errors=True)
    (fresh / "parts").mkdir(parents=True, exist_ok=True)
    (fresh / MARK).write_text(json.dumps(made_of, indent=1))

    _make_parts(detector, images, names, fresh, settings, batch_size, workers)
    entries = _Entries(fresh / "parts")
    if "coco" in settings.write:
        writing.coco(entries, detector.classes, fresh / "coco.json")
    if "yolo" in settings.write:
        writing.yolo(entries, detector.classes, fresh, scores=settings.scores)
    summary, boxes = _summary(entries, detector.classes, fresh)
    publish(fresh, out)
    shutil.rmtree(out / "parts")
    log.line(f"{out}: {summary}")
    if not boxes:
        text = f"nothing was surer than {settings.score_threshold:g}; a lower --score-threshold shows the rest"
        log.line(f"{text}, or the model needs a longer training")


def _check(images: Path, out: Path, settings: Settings, batch_size: int, workers: int) -> None:
    if not images.is_dir():
        raise BadInput(f"--images {images}: there is no such folder; name the folder of the images")
    if not 0 <= settings.score_threshold < 1:
        raise BadInput(f"--score-threshold {settings.score_threshold:g}: is a probability; give 0 to 0.99")
    if batch_size < 1 or workers < 0 or (settings.limit is not None and settings.limit < 1):
        raise BadInput("--batch-size and --limit must be at least 1, --workers at least 0")
    if out.resolve().is_relative_to(images.resolve()):
        raise BadInput(f"--out {out}: lies in the folder of the images, which is read; name one outside of it")
    if out.exists() and _mark(out) is None and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"--out {out}: is there and was not written by this command; name a new folder")


def _digest_of(root: Path, names: Sequence[str]) -> str:
    """SHA-256 of the names, sizes and times of the images; their content would take as long to read as to label."""
    seen = hashlib.sha256(str(root.resolve()).encode())
    for name in names:
        try:
            facts = os.stat(root / name)
            seen.update(f"\n{name} {facts.st_size} {facts.st_mtime_ns}".encode())
        except OSError:  # a link to nothing: found unreadable later
            seen.update(f"\n{name}".encode())
    return seen.hexdigest()


def _mark(out: Path) -> dict[str, Any] | None:
    try:
        return json.loads((out / MARK).read_text())
    except (OSError, ValueError):
        return None


def _refuse_shared(names: Sequence[str], form: str, place: Callable[[str], str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(place(name), name)
        if other != name:
            raise BadInput(f"--write {form}: {other} and {name} would have the same file; rename one")


class _Views(Dataset[Any]):
    """The view of each image, or the sentence that says why there is none."""

    def __init__(self, detector: TrainedDetector, root: Path, names: Sequence[str]):
        self.view, self.root, self.names = detector.view, root, names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, position: int) -> tuple[int, View | str]:
        try:
            return position, self.view(self.root / self.names[position])
        except BadInput as error:
            return position, str(error)


def _make_parts(
    detector: TrainedDetector,
    root: Path,
    names: Sequence[str],
    fresh: Path,
    settings: Settings,
    batch_size: int,
    workers: int,
) -> None:
    missing = [first for first in range(0, len(names), PART) if not _part(fresh, first).is_file()]
    sizes = [min(PART, len(names) - first) for first in missing]
    done = len(names) - sum(sizes)
    if done:
        log.line(f"goes on: {done} of {len(names)} images are labeled")
    batches = (
        list(range(start, min(start + batch_size, first + size)))
        for first, size in zip(missing, sizes, strict=True)
        for start in range(first, first + size, batch_size)
    )
    dataset = _Views(detector, root, names)
    loader = iter(DataLoader(dataset, batch_sampler=batches, num_workers=workers, collate_fn=list))  # type: ignore[arg-type]
    progress = log.Progress("label", len(names), "images", done=done)
    for first, size in zip(missing, sizes, strict=True):
        lines: list[str] = []
        while len(lines) < size:
            made = _entries_of(detector, next(loader), names, settings)
            for entry in made:
                if "drawn" in settings.write and "unreadable" not in entry:
                    drawing.write(root / entry["file_name"], entry, detector.classes, fresh / "drawn")
            lines += [json.dumps(entry) for entry in made]
            boxes = sum(len(entry.get("boxes", ())) for entry in made)
            progress.advance(len(made), f"boxes {boxes / len(made):.1f}/image")
        aside = _part(fresh, first).with_suffix(".part")
        aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
        os.replace(aside, _part(fresh, first))


def _part(fresh: Path, first: int) -> Path:
    return fresh / "parts" / f"{first:012d}.jsonl"


def _entries_of(
    detector: TrainedDetector, loaded: list[tuple[int, View | str]], names: Sequence[str], settings: Settings
) -> list[dict[str, Any]]:
    """One entry for each image: image_id, file_name, and width, height, boxes [label, score, x1, y1, x2, y2], or
    `unreadable` with the reason."""
    entries: dict[int, dict[str, Any]] = {}
    for position, view in loaded:
        if isinstance(view, str):
            if not settings.skip_unreadable:
                raise BadInput(f"{view} (or leave it out: --skip-unreadable)")
            log.line(f"left out: {view}")
            entries[position] = {"unreadable": view}
    seen = {position: view for position, view in loaded if isinstance(view, View)}
    answers = detector.predict_views(
        list(seen.values()), score_threshold=settings.score_threshold, limit=settings.limit
    )
    for (position, view), found in zip(seen.items(), answers, strict=True):
        rows = zip(
            found.labels.tolist(),
            shortest(found.scores.numpy()).tolist(),
            *shortest(found.boxes.numpy()).T.tolist(),
            strict=True,
        )
        height, width = view.size
        entries[position] = {"width": width, "height": height, "boxes": [list(row) for row in rows]}
    return [{"image_id": p + 1, "file_name": names[p], **entries[p]} for p, _ in loaded]


class _Entries:
    """The entries of all images in order, read from the parts as often as wanted."""

    def __init__(self, parts: Path):
        self.parts = parts

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for file in sorted(self.parts.glob("*.jsonl")):
            for line in file.read_text(encoding="utf-8").splitlines():
                yield json.loads(line)


def _summary(entries: _Entries, classes: Sequence[str], fresh: Path) -> tuple[str, int]:
    """One line of what was found, and how many boxes; the unreadable ones also as unreadable.txt."""
    boxes: Counter[int] = Counter()
    images = empty = 0
    unreadable: list[str] = []
    for entry in entries:
        if "unreadable" in entry:
            unreadable.append(entry["unreadable"])
            continue
        images += 1
        empty += not entry["boxes"]
        boxes.update(box[0] for box in entry["boxes"])
    if unreadable:
        (fresh / "unreadable.txt").write_text("\n".join(unreadable) + "\n", encoding="utf-8")
    each = ", ".join(f"{name} {boxes[label]}" for label, name in enumerate(classes))
    left_out = f"; {len(unreadable)} unreadable, see unreadable.txt" if unreadable else ""
    text = f"{images} images, {boxes.total()} boxes ({each}), {empty} images without any{left_out}"
    return text, boxes.total()
