import io
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from scantling.detectors import DetectorParams, build, weights
from scantling.stage import BadInput
from tests.detectors.small import CLASSES, changed

EXPECTED = "the weights of a small layer"
REAL = Path(__file__).parents[2].parent / "shared/data/weights"
STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}


def saved(**options):
    """Bytes of torch.save; _use_new_zipfile_serialization=False is the form of torch before 1.6."""
    stream = io.BytesIO()
    torch.save(STATE, stream, **options)
    return stream.getvalue()


LEGACY = saved(_use_new_zipfile_serialization=False)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_both_forms_are_read(tmp_path, suffix):
    path, state = tmp_path / f"w{suffix}", {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    layer = nn.Linear(3, 2)
    weights.fill(layer, weights.read(path, EXPECTED), path, EXPECTED, spare=("fc.",))
    assert torch.equal(layer.weight, state["weight"])


def test_a_missing_file_is_named_with_what_belongs_there(tmp_path):
    with pytest.raises(BadInput, match=f"none.pth: there is no such weights file; expected {EXPECTED}"):
        weights.read(tmp_path / "none.pth", EXPECTED)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the file was executed",))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_are_no_weights_are_refused(tmp_path, suffix):
    for content in (b"", b"not weights at all", pickle.dumps(Bomb())):
        path = tmp_path / f"odd{suffix}"
        path.write_bytes(content)
        with pytest.raises(BadInput, match=f"odd{suffix}: not a readable weights file .*; expected {EXPECTED}"):
            weights.read(path, EXPECTED)


def test_code_inside_a_checkpoint_is_not_run(tmp_path):
    torch.save({"weight": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(BadInput, match="bomb.pth: not a readable weights file"):
        weights.read(tmp_path / "bomb.pth", EXPECTED)


def test_code_inside_an_old_checkpoint_is_not_run(tmp_path):
    torch.save({"weight": Bomb()}, tmp_path / "bomb.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(BadInput, match="bomb.pth: not a readable weights file"):
        weights.read(tmp_path / "bomb.pth", EXPECTED)


def test_checkpoints_older_than_torch_1_6_are_read(tmp_path):
    assert not zipfile.is_zipfile(io.BytesIO(LEGACY))
    (tmp_path / "old.pth").write_bytes(LEGACY)
    found = weights.read(tmp_path / "old.pth", EXPECTED)
    assert all(torch.equal(found[k], v) for k, v in STATE.items())


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_weights_are_found_inside_of_training_checkpoints(tmp_path, wrapper):
    torch.save({wrapper: STATE, "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "w.pth")
    assert list(weights.read(tmp_path / "w.pth", EXPECTED)) == ["weight", "bias"]


@pytest.mark.parametrize(
    "content", [{"net": STATE}, [1, 2], torch.ones(2), {"model": {"weight": 1}}, {1: torch.ones(1)}]
)
def test_what_holds_no_named_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(BadInput, match="odd.pth: holds something else than named tensors"):
        weights.read(tmp_path / "odd.pth", EXPECTED)


def test_a_bomb_of_zeros_is_refused_before_it_is_unpacked(tmp_path):
    plain = io.BytesIO(saved())
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry) + bytes(10**7))
    assert (tmp_path / "bomb.pth").stat().st_size < 10**6
    with pytest.raises(BadInput, match="bomb.pth: not a readable weights file .compressed; torch.save does not"):
        weights.read(tmp_path / "bomb.pth", EXPECTED)


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    content = bytearray(saved())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entry = max(archive.infolist(), key=lambda e: e.file_size)
    directory = content.rindex(b"PK\x01\x02", 0, content.rindex(entry.filename.encode()))
    content[directory + 20 : directory + 28] = (10**8).to_bytes(4, "little") * 2  # packed and unpacked size
    (tmp_path / "shared.pth").write_bytes(content)
    with pytest.raises(
        BadInput, match="shared.pth: not a readable weights file .says that it holds more than its size"
    ):
        weights.read(tmp_path / "shared.pth", EXPECTED)


@pytest.mark.parametrize("form", ["new", "legacy", "safetensors"])
@given(
    share=st.floats(0, 1, exclude_max=True),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=3),
)
@settings(max_examples=40, deadline=None)
def test_damaged_files_are_read_or_refused(tmp_path_factory, form, share, changes):
    path = tmp_path_factory.mktemp("damaged") / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file(STATE, path)
    else:
        path.write_bytes(LEGACY if form == "legacy" else saved())
    whole = bytearray(path.read_bytes())
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadInput, match="not a readable weights file"):
        weights.read(path, EXPECTED)
    for place, value in changes:
        whole[min(int(place * len(whole)), len(whole) - 1)] = value
    path.write_bytes(whole)
    try:
        weights.read(path, EXPECTED)
    except BadInput as error:
        assert EXPECTED in str(error)


@pytest.mark.skipif(not REAL.is_dir(), reason="the published small networks are not in shared/data/weights")
@pytest.mark.parametrize(
    ("name", "count"), [("shufflenetv2_fastestdet_imagenet.pth", 149_095), ("fastestdet_coco80.pth", 252_938)]
)
def test_published_files_are_read_and_do_not_pass_for_another_network(name, count):
    state = weights.read(REAL / name, EXPECTED)
    counted = sum(v.numel() for k, v in state.items() if not k.endswith("num_batches_tracked"))
    assert counted == count or sum(v.numel() for v in state.values()) == count
    with pytest.raises(BadInput, match="weights of another architecture"):
        weights.fill(nn.Linear(3, 2), state, REAL / name, EXPECTED, spare=("fc.",))


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"weight": torch.ones(2, 3)}, "has no tensor `bias`"),
        ({"weight": torch.ones(2, 4), "bias": torch.ones(2)}, "`weight` has shape .2, 4. instead of .2, 3."),
        ({"weight": torch.ones(2, 3), "bias": torch.ones(2), "more": torch.ones(1)}, "`more` that does not belong"),
    ],
)
def test_what_does_not_fit_is_named(state, reason):
    with pytest.raises(BadInput, match=reason):
        weights.fill(nn.Linear(3, 2), state, "w.pth", EXPECTED, spare=("fc.",))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused(value):
    state = {"weight": torch.full((2, 3), value), "bias": torch.ones(2)}
    with pytest.raises(BadInput, match="w.pth: damaged, `weight` has values that are not finite"):
        weights.fill(nn.Linear(3, 2), state, "w.pth", EXPECTED, spare=())


def test_negative_variances_are_refused_and_counters_are_not_needed():
    norm = nn.BatchNorm2d(2)
    state = {k: v for k, v in norm.state_dict().items() if not k.endswith("num_batches_tracked")}
    weights.fill(norm, {**state, "weight": torch.full((2,), 3.0)}, "w.pth", EXPECTED, spare=())
    assert norm.weight.tolist() == [3, 3]
    with pytest.raises(BadInput, match="`running_var` has values that are not finite or negative variances"):
        weights.fill(norm, {**state, "running_var": torch.tensor([1.0, -1])}, "w.pth", EXPECTED, spare=())


def test_a_tensor_of_few_bytes_and_great_shape_is_not_laid_out(tmp_path):
    torch.save({"weight": torch.ones(1).expand(10**6, 10**6), "bias": torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(BadInput, match="`weight` has shape .1000000, 1000000. instead of .2, 3."):
        weights.fill(nn.Linear(3, 2), weights.read(tmp_path / "w.pth", EXPECTED), "w.pth", EXPECTED, spare=())


@pytest.mark.parametrize("detector", ["faster_rcnn_r50", "retinanet_r50", "fcos_r50"])
def test_a_detector_takes_the_file_for_its_trunk_and_freezes_what_it_should(tmp_path, detector):
    path = tmp_path / "resnet18.safetensors"
    backbone = {**changed(detector).resolved()["backbone"], "name": "resnet18", "weights": str(path)}
    params = changed(detector, backbone=backbone, neck={"channels": 32})
    torch.manual_seed(0)
    other = build(params, CLASSES, pretrained=False)
    save_file({k: v.contiguous() for k, v in other.backbone.state_dict().items()}, path)
    torch.manual_seed(1)
    made = build(params, CLASSES, pretrained=True)
    assert all(torch.equal(v, other.backbone.state_dict()[k]) for k, v in made.backbone.state_dict().items())
    head = {k: v for k, v in made.state_dict().items() if not k.startswith("backbone.") and v.ndim > 1}
    assert not any(torch.equal(v, other.state_dict()[k]) for k, v in head.items())  # the rest stays random
    fixed = {k.split(".")[1] for k, p in made.named_parameters() if not p.requires_grad}
    assert fixed == {"conv1", "layer1"}  # frozen_stages: 2 in both files
    again = build(DetectorParams.of(params.resolved(), "header"), CLASSES, pretrained=False)
    assert [(k, p.requires_grad) for k, p in again.named_parameters()] == [
        (k, p.requires_grad) for k, p in made.named_parameters()
    ]


def test_a_classifier_may_be_left_over():
    state = {"weight": torch.ones(2, 3), "bias": torch.ones(2), "fc.weight": torch.ones(1)}
    weights.fill(nn.Linear(3, 2), state, "w.pth", EXPECTED, spare=("fc.",))
