"""How files become files: turns a stage function into a command, writes atomically, records provenance.

The signature of the function is the command line: a `Params` type becomes `--name FILE[:SECTION]`, a `Path` a path,
int, float and str a value (`Path | None = None`: a path that may be left out); `out` is the folder the stage writes.
The function itself never sees an argument parser.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import inspect
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import typing
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from scantling import alone, distributed, elapsed, log
from scantling.commit import at_start
from scantling.params import Params, ParamsError

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pyarrow", "pycocotools")


PROVENANCE = "provenance.json"
LINE = 2000  # characters, the longest line of a message


class BadInput(ValueError):
    """The user's files cannot be used as they are; the text names the file, the value and the remedy."""

    def __init__(self, text: str):
        # a value in a damaged file can be as long as the file
        cut = [
            line if len(line) <= LINE else f"{line[: LINE // 2]} ... {line[-LINE // 2 :]}" for line in text.split("\n")
        ]
        super().__init__("\n".join(cut))


class Stopped(RuntimeError):
    """The stage ended early for a reason that a sentence tells; what it had done so far is kept."""


def run(function: Callable[..., None], argv: list[str] | None = None) -> None:
    """Run a stage from the command line; ends the process with status 1 and one sentence on bad input."""
    hints = typing.get_type_hints(function)
    arguments = _parser(function, hints).parse_args(argv)
    try:
        values = {name: _value(kind, getattr(arguments, name)) for name, kind in hints.items() if name != "return"}
        call(function, values)
    except (BadInput, ParamsError, Stopped) as error:
        _end(f"{function.__name__}: {error}")
    except (OSError, RuntimeError) as error:
        if full := _disk_full(error):
            _end(f"{function.__name__}: {full}")
        if isinstance(error, FileNotFoundError) and (hint := _not_of_the_stage(error, values)):
            _end(f"{function.__name__}: {hint}")
        if isinstance(error, OSError) or not distributed.deserted(error):
            raise
        _end(f"{function.__name__}: another process ended; see what it says")


def _end(reason: str) -> NoReturn:
    if not distributed.launched():
        sys.exit(reason)
    # the interpreter would write the text and the end of the line apart, and another process its own between them
    sys.stderr.write(f"{distributed.prefix()}{reason}\n")
    sys.stderr.flush()
    sys.exit(1)


def call(function: Callable[..., None], values: dict[str, Any]) -> None:
    """Run a stage function on checked values: into a sibling folder first, renamed when everything is written."""
    alone.end_with_engine()
    at_start()  # the code that runs, whatever is committed meanwhile
    out: Path = values["out"]
    inputs = {k: v for k, v in values.items() if isinstance(v, Path) and k != "out"}
    for name, path in inputs.items():
        if not path.exists():
            raise BadInput(f"--{name} {path}: there is no such file or folder; run the stage that makes it first")
    _refuse_foreign(out, inputs)
    if distributed.launched():
        distributed.start(device())
    with contextlib.ExitStack() as held:
        read = {}
        if distributed.is_first():
            read = {name: {"path": str(path), "sha256": digest(path)} for name, path in inputs.items()}
            for name, path in inputs.items():
                _refuse_damaged(name, path)
            try:
                held.enter_context(alone.writer_of(out))
            except alone.Busy as other:
                raise Stopped(f"{out}: {other} is writing it; wait until it ends, or stop it, and run again") from None
        _work(function, values, out, read)


def _refuse_foreign(out: Path, inputs: dict[str, Path]) -> None:
    """A stage replaces its whole folder: only one that a stage has written may be there, and no input within it."""
    for name, path in inputs.items():
        if path.resolve().is_relative_to(out.resolve()):
            raise BadInput(f"--out {out}: would replace --{name} {path}; name another folder")
    if out.exists() and not (out / PROVENANCE).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise BadInput(f"--out {out}: is there and was not written by a stage; name another folder, or remove it")


def _work(function: Callable[..., None], values: dict[str, Any], out: Path, read: dict[str, dict[str, str]]) -> None:
    fresh = out.with_name(f".{out.name}.part")
    if not distributed.is_first():  # what this process writes nobody reads
        fresh = Path(tempfile.mkdtemp(prefix="scantling")) / fresh.name  # one name for all: kept work goes by it
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    elapsed.start()
    _set_threads()
    if distributed.is_first():
        log.open_file(Path("logs") / f"{function.__name__}@{out.name}.log")
    else:
        log.mute()
    log.line(f"{function.__name__} {out}")
    function(**{**values, "out": fresh})
    distributed.barrier()  # nothing is published before all have done their part
    if distributed.is_first():
        _write_provenance(fresh, function, values, read)
        publish(fresh, out)
    else:
        shutil.rmtree(fresh.parent, ignore_errors=True)
    distributed.finish()
    log.line(f"{function.__name__} {out}: done in {elapsed.seconds() - elapsed.earlier():.1f} s")


def publish(fresh: Path, out: Path) -> None:
    """`fresh` becomes `out`; a kill at any moment leaves the old folder, none or the new one, never a part of one."""
    old = out.with_name(f".{out.name}.old.part")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        os.replace(out, old)
    os.replace(fresh, out)
    shutil.rmtree(old, ignore_errors=True)


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of the files that lie directly in a folder.

    Not of those in subfolders: the report's input is all of results/, and what it reads has its own hashes. Nor of
    hidden ones, which a kill or a full disk may leave.
    """
    seen = hashlib.sha256()
    listed = path.iterdir() if path.is_dir() else [path]
    files = sorted(p for p in listed if p == path or (p.is_file() and not p.name.startswith(".")))
    for file in files:
        if file.name == PROVENANCE:  # when and how long: no input of anything
            continue
        seen.update(file.name.encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                seen.update(block)
    return seen.hexdigest()


def device() -> str:
    """`SCANTLING_DEVICE`, else the GPU if there is one, else the CPU; each of several processes has its own GPU."""
    import torch

    kind = os.environ.get("SCANTLING_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if kind == "cuda" and distributed.launched() else kind


def _gpu() -> str | None:
    """What the driver calls the GPU that this process has used; None for none."""
    cuda = sys.modules["torch"].cuda if "torch" in sys.modules else None
    used = cuda is not None and cuda.is_initialized() and device().startswith("cuda")
    return cuda.get_device_name(device()) if used else None


def _set_threads() -> None:
    """`SCANTLING_THREADS`, else one: results depend on it, and two runs side by side use two cores best."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(int(os.environ.get("SCANTLING_THREADS", "1")))


def _parser(function: Callable[..., None], hints: dict[str, Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"stages/{function.__name__}.py",
        description=inspect.getdoc(sys.modules[function.__module__]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, parameter in inspect.signature(function).parameters.items():
        required = parameter.default is inspect.Parameter.empty
        kind = Path if hints[name] == Path | None else hints[name]
        if isinstance(kind, type) and issubclass(kind, Params):
            parser.add_argument(f"--{name}", required=required, metavar="FILE[:SECTION]", help=f"{kind.__name__}, YAML")
        elif kind in (Path, Path | None):
            note = "folder to write, replaced as a whole" if name == "out" else "file or folder to read"
            parser.add_argument(f"--{name}", required=required, type=Path, metavar="PATH", help=note)
        else:
            default = None if required else parameter.default
            parser.add_argument(f"--{name}", required=required, type=kind, default=default, help=kind.__name__)
    return parser


def _value(kind: Any, given: Any) -> Any:
    return kind.load(given) if isinstance(kind, type) and issubclass(kind, Params) else given


def _refuse_damaged(name: str, path: Path) -> None:
    """A file of an earlier stage must have the hash that its provenance.json names; foreign files have none."""
    folder = path if path.is_dir() else path.parent
    try:
        written: dict[str, str] = json.loads((folder / PROVENANCE).read_text())["outputs"]
        listed = [(folder / name, content) for name, content in written.items() if Path(name).name == name]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    for file, content in listed:
        if path in (file, folder) and file.is_file() and digest(file) != content:
            raise BadInput(
                f"--{name} {file}: its content is not what the stage before wrote (provenance.json beside it has "
                "another hash): damaged, or changed by hand; `python -m workflow.verify` removes what is damaged, then "
                "run again"
            )


def _not_of_the_stage(error: FileNotFoundError, values: dict[str, Any]) -> str | None:
    """One sentence if a folder that was given lacks a file that is read there."""
    for name, path in values.items():
        if isinstance(path, Path) and path.is_dir() and name != "out" and f"{path}{os.sep}" in str(error):
            return (
                f"--{name} {path} has not all of the files that are read there ({error}): is it a folder that the "
                "stage before wrote? `--help` says what is read"
            )
    return None


def _disk_full(error: BaseException | None) -> str | None:
    """One sentence if the disk (or a quota) is full; PyTorch and others hide it behind errors of their own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f" ({error.filename})" if error.filename else ""
            return f"no space left on the disk{where}; free some and run again: what was done so far is kept"
        error = error.__cause__ or error.__context__
    return None


def _write_provenance(
    fresh: Path, function: Callable[..., None], values: dict[str, Any], read: dict[str, dict[str, str]]
) -> None:
    plain = {k: v for k, v in values.items() if not isinstance(v, (Path, Params))}
    record = {
        "stage": function.__name__,
        "params": {k: v.resolved() for k, v in values.items() if isinstance(v, Params)} | plain,
        "inputs": read,
        "outputs": {p.name: digest(p) for p in sorted(fresh.iterdir()) if p.is_file()},
        "commit": at_start(),
        "versions": {"python": platform.python_version()} | {p: metadata.version(p) for p in PACKAGES},
        "machine": platform.machine(),
        "device": device() if "torch" in sys.modules else "cpu",
        "gpu": _gpu(),
        "processes": distributed.world(),
        "warnings": log.warned(),
        "seconds": round(elapsed.seconds(), 2),
        "seconds_of_earlier_attempts": round(elapsed.earlier(), 2),  # among them, where a killed run went on
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
    (fresh / PROVENANCE).write_text(json.dumps(record, indent=1, default=str))
