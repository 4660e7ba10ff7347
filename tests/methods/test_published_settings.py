"""What the papers' released codes set, constant by constant, so that no edit of params/ drifts away from it.

A row: file, section of the method's specification, {key: value}; keys with dots go into sections. The order of the
blocks is that of docs/reproduce.md.
"""

from typing import Any

import pytest

from scantling.augment.settings import ViewParams
from scantling.detectors import DetectorParams
from scantling.methods import MethodParams
from scantling.params import read
from scantling.recipe import TrainingParams
from tests import toy

STEPS_ST = {"optimizer.name": "sgd", "optimizer.momentum": 0.9, "optimizer.weight_decay": 1e-4, "clip_norm": None}
WARM_500 = {"schedule.warm_up_steps": 500, "schedule.warm_up_factor": 0.001}
WARM_1000 = {"schedule.warm_up_steps": 1000, "schedule.warm_up_factor": 0.001}
SIZES_ST = {f"{view}.short_px": (400, 1200) for view in ("labeled", "weak", "strong")} | {"weak.long_px": 1333}
EMA_ST = {"ema.decay": 0.999, "ema.warm_up": 0, "ema.start": "copy"}
SHOWN = {"empty_images": False}  # labeled images without a box are dropped
LARGE = SHOWN | {"min_side_px": 32}
SOFT = {
    "candidate_floor": 0.05, "candidate_score": 0.5, "objectness_score": 0.9, "class_score": 0.9, "nms_iou": 0.5,
    "limit": 100, "box_filter": "spread", "box_spread": 0.02, "jitter_times": 10, "jitter_fraction": 0.06,
    "background": "live", "ignore_above": None, "teacher": "ema",
}  # fmt: skip
RPN_ST = {
    "rpn.positive_iou": 0.7, "rpn.negative_iou": 0.3, "rpn.sampled": 256, "rpn.nms_iou": 0.7,
    "rpn.train.per_level": 2000, "rpn.train.per_image": 1000, "rpn.test.per_level": 1000, "rpn.test.per_image": 1000,
    "roi.positive_iou": 0.5, "roi.pooled_cells": 7, "roi.width": 1024, "backbone.frozen_stages": 2,
    "detect.score_threshold": 0.05, "detect.nms_iou": 0.5, "detect.limit": 100,
}  # fmt: skip
PLAIN = {"input.antialias": False}  # OpenCV's bilinear resizing, in which no view averages either
CAFFE = {"backbone.stride_in_1x1": True, "backbone.pixels.order": "bgr", "backbone.norm": "frozen"}
ROI_512 = {"roi.sampled": 512, "roi.positive_fraction": 0.25, "roi.focal_gamma": 0.0}
FOCAL = {"head.tower_depth": 4, "head.prior": 0.01, "head.focal_alpha": 0.25, "head.focal_gamma": 2.0}
TWO_STAGE = SIZES_ST | {"strong.geometric.rotate_degrees": 30, "strong.erase.count": (1, 4), "strong.fill": 125}
POLISH = {
    "initial_score": 0.5, "trust_polished": 0.9, "trust_teacher": 0.9, "class_boxes": "original", "width": 1024,
    "cells": 7, "variant_fraction": 0.06, "box_copies": (150, 0.2), "class_copies": ((50, 0.06), (50, 0.2)),
    "proposals": 1000, "positive_iou": 0.7, "polish_decay": 0.99, "polish_warm_up": 100, "candidate_floor": 0.001,
}  # fmt: skip
GRADIENT = {
    **{k: v for k, v in SOFT.items() if k != "background"}, "unlabeled_weight": 4.0, "focal_gamma": 1,
    "weight_limits": (0.3333333, 5.0), "threshold_limits": (0.5, 0.9),
}  # fmt: skip
FOUND = {"teacher": "student", "merge_iou": 0.4, "limit": 100, "keep_empty_images": False}
SPARSE = {
    "mine_score": 0.8, "mine_iou": 0.2, "mine_nms_iou": 0.3, "agreement_weight": 1.0, "add_score": 0.9,
    "add_nms_iou": 0.5, "stop_gradient": False, "truth_protected": True, "keep_empty_images": True,
}  # fmt: skip


def course(steps: int, batch: tuple[int, int], rate: float, milestones: tuple[int, ...]) -> dict[str, Any]:
    """Length, batch, learning rate and its drops, which are by ten."""
    own = {"steps": steps, "labeled_per_step": batch[0], "unlabeled_per_step": batch[1], "reference_batch": sum(batch)}
    return own | {"optimizer.learning_rate": rate, "schedule.milestones": milestones, "schedule.factor": 0.1}


PUBLISHED: list[tuple[str, str, dict[str, Any]]] = [
    # Soft Teacher
    ("methods/soft_teacher_coco", "ST 3.1, 6, 8", SOFT | {"unlabeled_weight": 4.0}),
    ("methods/soft_teacher_coco_full", "ST 3.1, 6, 8", SOFT | {"unlabeled_weight": 2.0}),
    ("detectors/faster_rcnn_r50_caffe", "ST 2", RPN_ST | ROI_512 | CAFFE | PLAIN | {"rpn.positive_fraction": 0.5}),
    ("training/coco_soft_teacher:views", "ST 5", TWO_STAGE),
    (
        "training/coco_soft_teacher:retrain",
        "ST 2, 3, 3.1, 4",
        course(180_000, (8, 32), 0.01, (120_000, 160_000))
        | (STEPS_ST | WARM_500 | EMA_ST | LARGE | {"sampling": "by_probability", "sampling_groups": 8}),
    ),
    ("training/coco_soft_teacher:burn_in", "ST 1, 2", LARGE | {"steps": 0}),
    ("training/coco_soft_teacher_full:views", "ST 5", TWO_STAGE),
    (
        "training/coco_soft_teacher_full:retrain",
        "ST 2, 3, 3.1, 4",
        course(720_000, (32, 32), 0.01, (480_000, 640_000))
        | (STEPS_ST | WARM_500 | EMA_ST | LARGE | {"sampling": "by_probability", "sampling_groups": 8}),
    ),
    (
        "training/coco_supervised_full:retrain",
        "ST 2, 3.1",
        course(720_000, (16, 0), 0.02, (480_000, 640_000)) | STEPS_ST | WARM_500 | LARGE,
    ),
    # its single-stage variant
    (
        "methods/soft_teacher_retinanet_coco",
        "ST 13.1",
        {"class_score": 0.9, "unlabeled_weight": 1.0, "nms_iou": 0.5, "limit": 1000, "candidate_floor": 0.05},
    ),
    ("detectors/retinanet_soft_teacher", "ST 13", FOCAL | {"input.short_px": 320, "detect.score_threshold": 0.05}),
    ("training/coco_soft_teacher_retinanet:views", "ST 13.1", {"labeled.exact_px": (320, 320)}),
    (
        "training/coco_soft_teacher_retinanet:retrain",
        "ST 13",
        course(443_600, (8, 8), 1e-4, ())
        | {"optimizer.name": "adam", "optimizer.weight_decay": 1e-4, "ema.decay": 0.99, "optimizer.backbone_factor": 1},
    ),
    # Unbiased Teacher
    (
        "methods/unbiased_teacher_coco",
        "UT 3, 5",
        {"class_weight": 4.0, "box_weight": 0.0, "pseudo_score": 0.7, "teacher": "ema"},
    ),
    ("methods/unbiased_teacher_full", "UT 3, 5", {"class_weight": 2.0, "box_weight": 0.0, "pseudo_score": 0.7}),
    (
        "detectors/faster_rcnn_unbiased_teacher",
        "UT 3, 5",
        RPN_ST | ROI_512 | CAFFE | {"rpn.positive_fraction": 0.25, "roi.focal_gamma": 1.5, "input.short_px": 800},
    ),
    ("detectors/faster_rcnn_unbiased_teacher_voc", "UT 5", {"input.short_px": 600, "roi.focal_gamma": 1.5}),
    ("training/coco_unbiased_teacher:views", "UT 4", {"weak.short_px_choices": tuple(range(640, 801, 32))}),
    (
        "training/coco_unbiased_teacher:burn_in",
        "UT 2, 4, 5",
        course(2_000, (64, 0), 0.01, ()) | STEPS_ST | WARM_1000 | SHOWN,
    ),
    (
        "training/coco_unbiased_teacher:retrain",
        "UT 2, 4, 5",
        course(178_000, (32, 32), 0.01, ()) | STEPS_ST | SHOWN | {"ema.decay": 0.9996, "ema.buffers": "average"},
    ),
    ("training/coco_unbiased_teacher_full:burn_in", "UT 4, 5", course(90_000, (64, 0), 0.01, ()) | WARM_1000 | SHOWN),
    (
        "training/coco_unbiased_teacher_full:retrain",
        "UT 4, 5",
        course(270_000, (32, 32), 0.01, ()) | STEPS_ST | SHOWN | {"ema.decay": 0.9996, "ema.changes": ((1, 0.9996),)},
    ),
    ("training/voc_unbiased_teacher:views", "UT 4", {"weak.short_px_choices": tuple(range(480, 801, 32))}),
    ("training/voc_unbiased_teacher:burn_in", "UT 5", course(30_000, (32, 0), 0.01, ()) | WARM_1000),
    (
        "training/voc_unbiased_teacher:retrain",
        "UT 5",
        course(150_000, (16, 16), 0.01, ()) | STEPS_ST | {"ema.decay": 0.999, "ema.changes": ((1, 0.999),)},
    ),
    # Polishing Teacher
    ("methods/polishing_teacher_coco", "PT 2, 3, 4, 6, 7", POLISH | {"unlabeled_weight": 3.0}),
    ("methods/polishing_teacher_voc", "PT 2, 3, 4, 6, 7", POLISH | {"unlabeled_weight": 1.0}),
    (
        "detectors/faster_rcnn_polishing_teacher",
        "PT 7",
        RPN_ST
        | ROI_512
        | PLAIN
        | {"backbone.norm": "affine", "backbone.stride_in_1x1": False, "backbone.pixels.order": "rgb"},
    ),
    ("detectors/faster_rcnn_polishing_teacher_voc", "PT 7", PLAIN | {"input.short_px": 600, "input.long_px": 1000}),
    ("training/coco_polishing_teacher:views", "PT 7", TWO_STAGE),
    (
        "training/coco_polishing_teacher:retrain",
        "PT 6, 7",
        course(180_000, (8, 24), 0.01, (120_000, 160_000))
        | (STEPS_ST | WARM_500 | EMA_ST | LARGE | {"ema.changes": ((120_001, 1.0),), "sampling_groups": 8}),
    ),
    (
        "training/coco_polishing_teacher_baseline:views",
        "PT 7",
        {"labeled.short_px": (400, 1200), "labeled.long_px": 1333},
    ),
    (
        "training/coco_polishing_teacher_baseline:retrain",
        "PT 7",
        course(180_000, (16, 0), 0.01, (120_000, 160_000)) | STEPS_ST | WARM_500,
    ),
    ("training/voc_polishing_teacher:views", "PT 7", {"weak.short_px": (600, 600), "strong.long_px": 1000}),
    (
        "training/voc_polishing_teacher:retrain",
        "PT 6, 7",
        course(45_000, (8, 8), 0.01, (30_000, 40_000))
        | (STEPS_ST | WARM_500 | EMA_ST | LARGE | {"ema.changes": ((30_001, 1.0),), "sampling": "fixed"}),
    ),
    ("training/voc_polishing_teacher_baseline:views", "PT 7", {"labeled.short_px": (600, 600), "labeled.color": None}),
    (
        "training/voc_polishing_teacher_baseline:retrain",
        "PT 7",
        course(18_000, (16, 0), 0.01, (12_000, 16_000)) | STEPS_ST | WARM_500,
    ),
    # CI-SSOD
    (
        "methods/ci_ssod_coco",
        "GS 2, 3, 4, 5",
        GRADIENT
        | {"labeled_power": 0.5, "gradient_thresholds": True, "rarity": 0.5, "labeled_repeat": 0.1}
        | {"reweight_warm_up_steps": 8_000, "threshold_warm_up_steps": 12_000, "resample_every_steps": 16_000},
    ),
    (
        "methods/ci_ssod_lvis",
        "GS 2, 3, 4, 5",
        GRADIENT
        | {"labeled_power": 0.8, "gradient_thresholds": False, "rarity": 0.05, "labeled_repeat": 0.01}
        | {"reweight_warm_up_steps": 8_000, "threshold_warm_up_steps": 16_000, "resample_every_steps": 16_000},
    ),
    (
        "methods/ci_ssod_lvis_rfs",
        "GS 4, 5",
        SOFT
        | {"unlabeled_weight": 4.0, "labeled_repeat": 0.01}
        | dict.fromkeys(("reweight", "class_thresholds", "gradient_thresholds", "resample"), False),
    ),
    (
        "methods/ci_ssod_objects365",
        "GS 2, 3, 4, 5",
        GRADIENT
        | {"labeled_power": 0.8, "gradient_thresholds": False, "rarity": 0.05, "labeled_repeat": 0.02}
        | {"reweight_warm_up_steps": 12_000, "threshold_warm_up_steps": 32_000, "resample_every_steps": 36_000},
    ),
    ("training/coco_ci_ssod:views", "GS 5", TWO_STAGE),
    (
        "training/coco_ci_ssod:retrain",
        "GS 1, 5",
        course(180_000, (8, 32), 0.01, ()) | STEPS_ST | WARM_500 | EMA_ST | LARGE,
    ),
    (
        "training/lvis_ci_ssod:retrain",
        "GS 5",
        course(180_000, (8, 32), 0.01, (140_000, 160_000)) | STEPS_ST | WARM_500 | EMA_ST | LARGE,
    ),
    (
        "training/objects365_ci_ssod:retrain",
        "GS 5",
        course(360_000, (8, 32), 0.01, (280_000, 320_000)) | STEPS_ST | WARM_500 | EMA_ST | LARGE,
    ),
    # Co-mining
    ("methods/co_mining_retinanet", "CM 4, 5, 6", FOUND | {"mine_score": 0.6, "nms_iou": 0.5}),
    ("methods/co_mining_retinanet_extreme", "CM 4, 5, 6", FOUND | {"mine_score": 0.5, "nms_iou": 0.5}),
    ("methods/co_mining_fcos", "CM 2, 4, 5", FOUND | {"mine_score": 0.5, "nms_iou": 0.6}),
    (
        "detectors/retinanet_r50_caffe",
        "CM 2, 6, 8",
        FOCAL | CAFFE | {"head.positive_iou": 0.5, "head.negative_iou": 0.4, "head.smooth_l1_beta": 0.1},
    ),
    ("detectors/retinanet_r101_caffe", "CM 2", FOCAL | CAFFE | {"backbone.name": "resnet101"}),
    (
        "training/coco_co_mining:retrain",
        "CM 7",
        course(90_000, (16, 0), 0.01, (60_000, 80_000)) | STEPS_ST | WARM_1000 | SHOWN,
    ),
    # Co-Student
    (
        "methods/co_student_coco",
        "CS 5, 6, 7",
        {"student_score": 0.5, "teacher_score": 0.6, "nms_iou": 0.6, "limit": 100, "revise_iou": 0.5, "merge_iou": 0.4}
        | {"drop_copies": False, "keep_empty_images": False, "teacher": "ema"},
    ),
    (
        "detectors/fcos_r50_caffe",
        "CS 2",
        FOCAL | CAFFE | {"head.center_radius": 1.5, "head.location_offset": 0.0, "detect.nms_iou": 0.6},
    ),
    (
        "training/coco_co_student:retrain",
        "CS 4, 9",
        course(90_000, (16, 0), 0.01, (60_000, 80_000))
        | (STEPS_ST | WARM_1000 | EMA_ST | SHOWN | {"optimizer.norm_decay": False}),
    ),
    # SparseDet
    ("methods/sparsedet_coco", "SD 4, 5", SPARSE | {"mine_from_step": 30_000}),
    ("methods/sparsedet_voc", "SD 4, 5", SPARSE | {"mine_from_step": 9_000}),
    (
        "detectors/faster_rcnn_sparsedet",
        "SD 2",
        RPN_ST
        | CAFFE
        | {"rpn.views": 2, "roi.sampled": 256, "roi.positive_fraction": 0.5, "backbone.name": "resnet101"},
    ),
    (
        "training/coco_sparsedet:retrain",
        "SD 3, 7",
        course(270_000, (8, 0), 0.01, (210_000, 250_000)) | STEPS_ST | WARM_1000 | {"empty_images": True},
    ),
    (
        "training/voc_sparsedet:retrain",
        "SD 7",
        course(18_000, (8, 0), 0.01, (12_000, 16_000)) | STEPS_ST | {"schedule.warm_up_steps": 100},
    ),
    # splits: Soft Teacher's and SparseDet's levels, the sparse settings of Co-mining and Co-Student, CI-SSOD's shots
    *[(f"splits/percent_{p}", "ST 10", {"percent": p, "rule": "soft_teacher", "order": "file"}) for p in (1, 5, 10)],
    ("splits/unbiased_teacher_0_5", "UT 4", {"percent": 0.5, "of_images": 117_266, "without_boxes": "left_out"}),
    *[(f"splits/drop_{p}", "splits 4", {"protocol": "drop_category", "percent": p}) for p in (30, 40, 50, 70)],
    *[(f"splits/{name}", "splits 2", {"protocol": name, "guard": "class"}) for name in ("easy", "hard")],
    ("splits/missing_50p", "splits 2", {"unit": "category"}),
    ("splits/keep1", "splits 3", {"select": "first"}),
    *[(f"splits/imbalanced_coco_split{n}", "GS 6.1", {"majority_percent": 10, "minority_shots": 10}) for n in (1, 2)],
]


def loaded(name: str) -> Any:
    """The typed parameters (defaults included) as plain values; a split as it is written."""
    folder, path = name.partition("/")[0], toy.ROOT / "params" / name.replace(":", ".yaml:")
    if folder == "splits":
        return read(f"{path}.yaml")
    if folder == "training":
        return (ViewParams if name.endswith(":views") else TrainingParams).load(path).model_dump()
    return {"methods": MethodParams, "detectors": DetectorParams}[folder].load(f"{path}.yaml").model_dump()


@pytest.mark.parametrize(("name", "section", "expected"), PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_the_file_says_what_was_published(name: str, section: str, expected: dict[str, Any]) -> None:
    values, found = loaded(name), {}
    for key in expected:
        place = values
        for part in key.split("."):
            place = place[part]
        found[key] = place
    assert found == expected, f"params/{name}: specification {section}"
