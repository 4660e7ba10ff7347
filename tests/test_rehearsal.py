"""The step before the first one: the largest images, no trace, and a sentence when memory is short."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from scantling import rehearsal, train
from scantling.data.index import XYXY
from scantling.data.loader import TrainingStep
from scantling.methods import supervised
from scantling.stage import BadInput
from tests import tiny, toy


def test_the_largest_images_and_of_each_kind_the_most() -> None:
    sizes = {1: (64, 80), 2: (640, 480), 3: (300, 900), 4: (480, 640), 5: (100, 100), 6: (50, 100)}
    images = [{"image_id": i, "file_name": f"{i}.png", "height": h, "width": w} for i, (h, w) in sizes.items()]
    nothing = {"box_id": -1, "label": -1, **dict.fromkeys(XYXY, float("nan"))}
    split = pd.DataFrame([{"image_id": i, "labeled": i < 5, **nothing} for i in sizes])
    pool = toy.Pool.of(Path("."), pd.DataFrame(images), split, keep_empty=True)
    params = toy.training(1, labeled_per_step=3, unlabeled_per_step=4)
    (found,) = rehearsal.largest_images(pool, toy.VIEWS, params)
    assert set(found.labeled[:2]) == {2, 3}, "the highest and the widest in one batch"
    assert found.unlabeled == [5, 6, 5, 6], "a small pool repeats itself"
    drawn = params.model_copy(update={"sampling": "by_probability", "sampling_groups": 2})
    most = rehearsal.largest_images(pool, toy.VIEWS, drawn)
    assert [(len(s.labeled), len(s.unlabeled)) for s in most] == [(5, 2), (2, 5)]


def run(folder: Path, method: Any, **changes: Any) -> train.Training:
    student = tiny.detector("faster_rcnn")
    return train.run(
        student=student, average=copy.deepcopy(student), labeler=None, method=method, pool=toy.pool(folder),
        views=toy.VIEWS, params=toy.training(3, **changes), seed=1, device="cpu", work=folder / "w", what="toy",
    )  # fmt: skip


def supervised_with(step: Callable[[TrainingStep], None]) -> supervised.Method:
    class Method(supervised.Method):
        count = 0

        def step(self, student: Any, teacher: Any, batch: TrainingStep) -> Any:
            step(batch)
            self.count += 1
            return super().step(student, teacher, batch)

        def state_dict(self) -> dict[str, Any]:
            return {"count": self.count}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.count = state["count"]

    return Method(supervised.Params(), tiny.CLASSES, None)


def test_it_leaves_no_trace(tmp_path: Path) -> None:
    method = supervised_with(lambda batch: None)
    without = run(tmp_path, method)
    assert method.count == 3
    method = supervised_with(lambda batch: None)
    torch.manual_seed(7)
    after = run(tmp_path, method, rehearse=True)
    assert method.count == 3
    for name, tensor in without.student.state_dict().items():
        assert torch.equal(tensor, after.student.state_dict()[name]), name


def test_the_last_phase_is_rehearsed_as_well(tmp_path: Path) -> None:
    seen = []
    run(
        tmp_path,
        supervised_with(lambda batch: seen.append((batch.step, batch.labeled["labeled"].sizes))),
        rehearse=True,
    )
    assert [step for step, _ in seen] == [0, 2, 0, 1, 2]
    assert seen[0][1] == [(64, 80), (64, 80)]


def test_too_little_memory_is_one_sentence_about_what_to_lower(tmp_path: Path) -> None:
    def short(batch: TrainingStep) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nmore")

    with pytest.raises(BadInput, match=r"a step of 4 images .* does not fit .*20.00 GiB.*raise `accumulate`") as caught:
        run(tmp_path, supervised_with(short), rehearse=True)
    assert "\n" not in str(caught.value)

    def broken(batch: TrainingStep) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(tmp_path, supervised_with(broken), rehearse=True)
