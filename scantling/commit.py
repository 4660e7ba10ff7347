"""Which code something was made by."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
GENERATED = "params/experiments.yaml"  # follows from the study, whichever is the current one: no change of code


def commit(root: Path = ROOT) -> str | None:
    """The short hash of the commit that `root` is at, with "and changes" if tracked code or parameters differ from it;
    None where there is no repository (installed, or unpacked from an archive) or no git."""
    if not (root / ".git").exists():
        return None
    code = ("--", "scantling", "stages", "params", "workflow", "dvc.yaml", "Snakefile", f":!{GENERATED}")
    at = _git(root, "rev-parse", "--short=7", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", *code)
    return f"{at} and changes" if at and changed else at


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


at_start = functools.cache(commit)  # the same all through a process, whatever is committed meanwhile
