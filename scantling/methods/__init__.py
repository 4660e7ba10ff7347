"""One module per method: `Params` (its typed parameters) and `Method` (what its paper adds to `supervised`).

The `method:` key of a parameter file is the name of the module; nothing is registered.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self

import pandas as pd
from pydantic import Field

from scantling import params as files
from scantling.guards import GuardParams
from scantling.params import Params


class MethodParams(Params):
    """What every method file has; each method adds its own keys."""

    method: str
    teacher: Literal["ema", "frozen", "cached"] = Field(
        "ema", description="ema: follows the student; frozen: stays as it started; cached: reads refined labels"
    )
    guards: GuardParams = Field(GuardParams(), description="when to warn of too few or too many pseudo boxes")

    @classmethod
    def load(cls, spec: str | Path) -> Self:
        """The file as the `Params` of the method it names."""
        content = files.read(spec)
        if content.get("method") is None:
            raise files.ParamsError(f"{spec}: has no key `method`: write one, of {', '.join(names())}")
        return files.check(module(str(content.get("method")), spec).Params, content, spec)


def names() -> list[str]:
    return sorted(m.name for m in pkgutil.iter_modules(__path__))


def module(name: str, spec: str | Path = "params") -> ModuleType:
    """The module of a method; an unknown name says which there are."""
    if name not in names():
        raise files.ParamsError(f"{spec}: `method` = {name!r}: there is no such method; there are {', '.join(names())}")
    return importlib.import_module(f"scantling.methods.{name}")


def create(params: MethodParams, classes: tuple[str, ...], refined: pd.DataFrame | None) -> Any:
    """The method of a parameter section; `refined` is the polish stage's table (used by teacher mode cached)."""
    return module(params.method).Method(params, classes, refined)
