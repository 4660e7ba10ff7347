"""Every key of SparseDet's released configuration has its parameter, with the released value, or is named as dead."""

from typing import Any

from scantling.params import read
from tests import toy

# section 4 of the specification, with the values of the released README for COCO; None: no effect in the released code
KEYS: dict[str, Any] = {
    "FIXMATCH": 2,  # views
    "FIXMATCH_STRONG_AUG": {"probability": 1.0, "area": [0.4, 0.7], "aspect": [0.3, 3.3], "trials": 10, "fill": 0},
    "FIXMATCH_BBOX_ERASE_SCALE": [0.4, 0.7],
    "FIXMATCH_BBOX_ERASE_RATIO": [0.3, 3.3],
    "FIXMATCH_BBOX_ERASE_SCALE_INFERENCE": "identity",  # ours
    "MASK_BOXES": 30000,
    "MASK_BOXES_RPN": True,
    "MASK_BOXES_THRESH": 0.8,
    "DISTILLATION_LOSS_WEIGHT": 1.0,
    "CONSISTENCY_REGULARIZATION": None,
    "DET_THRESH": None,
    "THRESH_PATTERN": None,
    "MODEL.USE_SCORE_THRESH": None,
}
FILES = {
    "method": "params/methods/sparsedet_coco.yaml",
    "detector": "params/detectors/faster_rcnn_sparsedet.yaml",
    "training": "params/training/coco_sparsedet.yaml",
}


def table() -> dict[str, tuple[str, str]]:
    """Key -> (parameter, kind of file) of the table in docs/methods.md."""
    lines = (toy.ROOT / "docs/methods.md").read_text().splitlines()
    start = lines.index("| key of the released code | here | why |")
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        key, here, _ = (cell.strip() for cell in line.strip("|").split("|"))
        name, _, kind = here.partition(" of the ")
        rows[key.strip("`")] = name.strip("`"), kind
    return rows


def test_every_key_has_its_parameter_or_is_named_as_dead() -> None:
    rows = table()
    assert list(rows) == list(KEYS)
    for key, (name, kind) in rows.items():
        if KEYS[key] is None:
            assert (name, kind) == ("none", ""), key
            continue
        value: Any = read(toy.ROOT / FILES[kind])
        for part in name.split("."):
            value = value[part]
        assert value == KEYS[key], key
    dead = (toy.ROOT / FILES["method"]).read_text()
    assert all(key.rpartition(".")[2] in dead for key, value in KEYS.items() if value is None)
