"""How far sightings of an object agree: against the formula of the jitter, and through a detector."""

import pytest
import torch

from scantling import agreement, predict
from scantling import boxes as box_ops
from scantling.pseudo import PseudoLabelParams
from tests import tiny, toy
from tests.methods.recording import view


def test_the_spread_of_members_is_the_jitters() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 20], [1, 0, 11, 22], [0, 2, 9, 20], [50, 50, 60, 60]])
    found = agreement.member_spread(torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool(), boxes)
    torch.testing.assert_close(found[0], box_ops.spread(boxes[:3, None]).mean())
    assert found[1] == torch.inf  # two are too few
    assert agreement.member_spread(torch.zeros((0, 4)).bool(), boxes).shape == (0,)
    assert agreement.member_spread(torch.zeros((1, 0)).bool(), boxes[:0]).tolist() == [torch.inf]


@pytest.mark.parametrize("architecture", ["retinanet", "fcos"])
def test_a_cluster_is_the_boxes_before_nms_around_a_detection(architecture: str) -> None:
    teacher, batch = tiny.detector(architecture).eval(), view([40, 90])
    with torch.no_grad():
        features = teacher.features(batch.images, batch.sizes)
        asked = {"score_threshold": 0.0, "limit": 10_000}
        found = teacher.detect(features, batch.sizes, nms_iou=0.5, **asked)
        every = teacher.detect(features, batch.sizes, nms_iou=1.0, **asked)
        middle = float(torch.cat([f.scores for f in found]).median())
        spreads = agreement.cluster_spread(teacher, features, found, batch.sizes, score_floor=0.0, score_above=middle)
    finite = 0
    for one, all_, spread in zip(found, every, spreads, strict=True):
        assert torch.equal(spread.isnan(), one.scores <= middle)
        for box, label, value in list(zip(one.boxes, one.labels, spread, strict=True))[:20]:
            near = all_.boxes[(all_.labels == label) & (box_ops.iou(box[None], all_.boxes)[0] >= 0.6)]
            if value.isfinite():
                torch.testing.assert_close(value, box_ops.spread(near[:, None]).mean(), rtol=1e-3, atol=1e-5)
                finite += 1
            elif value.isinf():
                assert len(near) < 3
    assert finite > 0 or architecture == "fcos"  # whose few places are too far apart in so small an image


class Steady(torch.nn.Module):
    """Sees one bright rectangle of an image wherever it is, and its class by nothing else."""

    def features(self, images: torch.Tensor, sizes: object) -> list[torch.Tensor]:
        return [images.float()]

    def detect(self, features: list[torch.Tensor], sizes: object, **asked: object) -> list[object]:
        from scantling.target import Detections

        found = []
        for image in features[0]:
            rows, columns = torch.where(image[0] > 100)
            box = torch.tensor([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]).float()
            found.append(Detections(box, torch.tensor([0.9]), torch.tensor([0]), torch.tensor([[0.9]])))
        return found


def test_a_box_that_is_seen_again_in_every_pass_has_no_spread() -> None:
    batch = view([0, 0], size=(60, 100))
    batch.images[:, :, 20:40, 30:60] = 200
    batch.sizes[1] = (60, 80)  # the second image is narrower than the batch
    teacher = Steady()
    found = teacher.detect(teacher.features(batch.images, None), None)
    asked = {"score_floor": 0.05, "nms_iou": 0.5, "limit": 10}
    spreads = agreement.tta_spread(teacher, batch, found, **asked, score_above=0.5)
    assert all(0 <= float(s) < 0.02 for s in spreads), spreads  # half a pixel of the resized image
    assert all(s.isnan() for s in agreement.tta_spread(teacher, batch, found, **asked, score_above=0.95))


def test_tta_with_detectors_of_each_kind() -> None:
    batch = view([40, 90])
    for architecture in tiny.ARCHITECTURES:
        teacher = tiny.detector(architecture).eval()
        with torch.no_grad():
            found = teacher.detect(teacher.features(batch.images, batch.sizes), batch.sizes, score_threshold=0.0)
        asked = {"score_floor": 0.0, "nms_iou": 0.5, "limit": 100, "score_above": 0.0}
        spreads = agreement.tta_spread(teacher, batch, found, **asked)
        assert [len(s) for s in spreads] == [len(f.boxes) for f in found]
        assert all((s[~s.isnan()] >= 0).all() for s in spreads)


def test_pseudo_labels_of_single_stage_detectors_have_a_spread(tmp_path) -> None:
    images, _ = toy.tables(tmp_path)
    asked = PseudoLabelParams.load(toy.ROOT / "params/pseudo_label.yaml")
    asked = asked.model_copy(update={"score_floor": 0.0, "spread_from": 0.0})
    exact = tiny.params("retinanet").input.model_copy(update={"exact_px": (64, 96)})
    detector = tiny.detector("retinanet")
    found = predict.pseudo_labels(detector, images, tmp_path, input=exact, params=asked, device="cpu")
    assert found["spread"].notna().any() and (found["x2"] <= 80).all() and (found["y2"] <= 64).all()
    batch = next(iter(predict.batches(images, tmp_path, exact, 3, 0)))
    assert batch.sizes == [(64, 96)] * 3
