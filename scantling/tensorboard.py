"""Training curves for TensorBoard: python -m scantling.tensorboard results --out work/tensorboard

Writes one event file for each history.tsv of burn-ins and retrainings that have ended. Writing needs no TensorBoard; to
look at the curves: pip install 'scantling[tensorboard]', then tensorboard --logdir work/tensorboard

An event file is a sequence of records (length, its checksum, content, its checksum; tensorflow/tsl, lib/io/
record_writer.cc), the content a protobuf message `Event` (tensorflow/core/util/event.proto).
"""

from __future__ import annotations

import argparse
import math
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

STAGES = ("burn_in", "retrain")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scantling.tensorboard", description=__doc__.split("\n")[0])
    parser.add_argument("results", type=Path, help="folder of results")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; an event file a training")
    arguments = parser.parse_args(argv)
    made = convert(arguments.results, arguments.out)
    if not made:
        sys.exit(f"{arguments.results}: no training has ended there; run `snakemake --cores all` or `dvc repro` first")
    print(f"{len(made)} trainings; look at them with: tensorboard --logdir {arguments.out}")


def convert(results: Path, out: Path) -> list[Path]:
    """Event files of all histories under `results`, in OUT/STAGE-KEY/; files of the same name are replaced."""
    made = []
    for stage in STAGES:
        for source in sorted(results.glob(f"{stage}/*/history.tsv")):
            target = out / f"{stage}-{source.parent.name}" / "events.out.tfevents.0.scantling"
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(".part")
            part.write_bytes(events(pd.read_csv(source, sep="\t"), source.stat().st_mtime))
            part.replace(target)
            made.append(target)
    return made


def events(history: pd.DataFrame, time: float) -> bytes:
    """The content of an event file: every column but `step` is a curve. time: seconds since 1970, of all points."""
    names = [name for name in history.columns if name != "step"]
    steps, values = history["step"].tolist(), history[names].astype(float).to_numpy().tolist()
    content = [_record(_double(1, time) + _bytes(3, b"brain.Event:2"))]
    for step, row in zip(steps, values, strict=True):
        # an empty cell is a term that was not there at this step
        pairs = [(name, value) for name, value in zip(names, row, strict=True) if not math.isnan(value)]
        content.append(_record(_double(1, time) + _whole(2, int(step)) + _bytes(5, _summary(pairs))))
    return b"".join(content)


def _summary(pairs: Sequence[tuple[str, float]]) -> bytes:
    return b"".join(
        _bytes(1, _bytes(1, name.encode()) + _key(2, 5) + struct.pack("<f", value)) for name, value in pairs
    )


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", _masked(length)) + content + struct.pack("<I", _masked(content))


def _key(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _double(field: int, value: float) -> bytes:
    return _key(field, 1) + struct.pack("<d", value)


def _whole(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """A whole number >= 0, seven bits a byte, the lowest first."""
    done = bytearray()
    while value > 127:
        done.append(value & 127 | 128)
        value >>= 7
    return bytes([*done, value])


def _masked(content: bytes) -> int:
    """The checksum of a record: CRC-32C (RFC 3720, appendix B.4), rotated and shifted by a constant."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table() -> Iterator[int]:
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # the polynomial of CRC-32C, bits reversed
        yield value


TABLE = tuple(_table())

if __name__ == "__main__":
    main()
