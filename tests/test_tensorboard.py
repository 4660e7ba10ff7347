"""Event files as TensorBoard reads them."""

import struct

import pandas as pd
import pytest

from scantling import tensorboard

HISTORY = pd.DataFrame({"step": [10, 300], "loss": [1.5, 0.25], "labeled/class": [0.5, float("nan")]})
# The same events at time 1.5 as tensorboard 2.21's own Event messages and RecordWriter write them.
GOLDEN = (
    "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c300000000000000095f5d05f"
    "09000000000000f83f100a2a230a0b0a046c6f7373150000c03f0a140a0d6c6162656c65642f636c617373150000003f617a5d51"
    "1b000000000000001a0d9e1309000000000000f83f10ac022a0d0a0b0a046c6f7373150000803e9908deed"
)


def test_the_checksum_is_crc_32c():
    """RFC 3720, appendix B.4: 32 bytes of zero have 0x8a9136aa; unmasked here."""
    masked = tensorboard._masked(bytes(32))
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    assert (rotated >> 17 | rotated << 15) & 0xFFFFFFFF == 0x8A9136AA


def test_the_bytes_are_those_of_tensorboard():
    assert tensorboard.events(HISTORY, 1.5).hex() == GOLDEN


def test_a_file_for_each_training(tmp_path, capsys):
    for name in ("burn_in/a", "retrain/a", "retrain/b"):
        folder = tmp_path / "results" / name
        folder.mkdir(parents=True)
        HISTORY.to_csv(folder / "history.tsv", sep="\t", index=False)
    for _ in range(2):  # again: replaced
        tensorboard.main([str(tmp_path / "results"), "--out", str(tmp_path / "board")])
    files = sorted(p for p in (tmp_path / "board").rglob("*") if p.is_file())
    assert [f.parent.name for f in files] == ["burn_in-a", "retrain-a", "retrain-b"]
    assert all(f.name.startswith("events.out.tfevents.") for f in files)
    assert "3 trainings" in capsys.readouterr().out
    for content in (file.read_bytes() for file in files):  # whole records to the last byte
        at = 0
        while at < len(content):
            at += struct.unpack_from("<Q", content, at)[0] + 16
        assert at == len(content)


def test_no_training_is_said(tmp_path):
    with pytest.raises(SystemExit, match="no training has ended there"):
        tensorboard.main([str(tmp_path), "--out", str(tmp_path / "board")])


def test_an_empty_history_is_legal():
    assert len(tensorboard.events(pd.DataFrame({"step": []}), 0.0)) == 40
