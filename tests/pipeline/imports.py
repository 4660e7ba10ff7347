"""Which modules of the package a script executes when it runs: the static import closure."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def file_of(module: str) -> Path | None:
    """scantling.data.index -> scantling/data/index.py, a package -> its __init__.py (a package without one: None)."""
    path = ROOT / module.replace(".", "/")
    for found in (path.with_suffix(".py"), path / "__init__.py"):
        if found.is_file():
            return found
    return None


def imported(file: Path) -> set[str]:
    """Every module of the package that `file` names in an import statement, at any depth, with its parents."""
    named: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            named.add(node.module)
            named |= {f"{node.module}.{alias.name}" for alias in node.names}  # may be attributes: sorted out below
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise AssertionError(f"{file}: relative imports are not followed; write the full name")
    parents = {".".join(name.split(".")[:n]) for name in named for n in range(1, name.count(".") + 2)}
    return {name for name in parents if name.split(".")[0] == "scantling"}


def closure(*files: Path) -> set[str]:
    """Paths relative to the project of every package file that running `files` executes, without `files`."""
    seen: set[Path] = set()
    wait = list(files)
    while wait:
        for module in imported(wait.pop()):
            found = file_of(module)
            if found and found not in seen:
                seen.add(found)
                wait.append(found)
    return {path.relative_to(ROOT).as_posix() for path in seen}
