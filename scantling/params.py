"""Typed parameters from YAML files: unknown keys and values out of range are refused in one sentence.

A file is named as `path/to/file.yaml` or, for one section of it, `path/to/file.yaml:section`, for a section within that
`path/to/file.yaml:section.inner`.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

P = TypeVar("P", bound="Params")


class Plain(yaml.SafeLoader):
    """YAML in which only `true` and `false` are booleans: `background: off` is a word, as a person reads it."""

    yaml_implicit_resolvers = {
        first: [(tag, form) for tag, form in known if tag != "tag:yaml.org,2002:bool"]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


Plain.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


MOST_VALUES = 100_000  # of a file, repetitions (`*name`) counted; a few lines of them can stand for billions


def parse(text: str, kind: type[yaml.SafeLoader] = Plain) -> Any:
    """The plain content of a YAML text: mappings, lists, words, numbers; nothing in it is run. Raises YAMLError."""
    loader = kind(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MOST_VALUES:
            raise yaml.YAMLError(f"more than {MOST_VALUES:,} values, those that are repeated by *name counted")
        return loader.construct_document(node)
    except yaml.YAMLError:
        raise
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:  # of tags that do not fit values
        raise yaml.YAMLError(str(error) or type(error).__name__) from None
    finally:
        loader.dispose()


def _values(node: Any, known: dict[int, int]) -> int:
    """Values below and including a node, as often as they will stand in the content."""
    if id(node) in known:
        if not known[id(node)]:
            raise yaml.YAMLError("a value contains itself")
        return known[id(node)]
    if node.tag.endswith(":int") and len(node.value) > 1000:
        raise yaml.YAMLError("a number of thousands of digits")
    known[id(node)] = 0
    if isinstance(node, yaml.MappingNode):
        keys = [
            key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge")
        ]
        if again := [key for k, key in enumerate(keys) if key in keys[:k]]:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1} and on: `{again[0]}` is there twice; leave one")
    inner = node.value if isinstance(node, yaml.CollectionNode) else []
    parts = [part for pair in inner for part in pair] if isinstance(node, yaml.MappingNode) else inner
    known[id(node)] = 1 + sum(_values(part, known) for part in parts)
    return known[id(node)]


class ParamsError(ValueError):
    """A parameter file that cannot be used; the text names the file, the value and the remedy."""


class Params(BaseModel):
    """Base of every parameter section: immutable, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def load(cls, spec: str | Path) -> Self:
        """Read and check a file (or `file:section`). A section that can be of several kinds overrides this."""
        return check(cls, read(spec), spec)

    def resolved(self) -> dict[str, Any]:
        """Every value, defaults included, as plain JSON types."""
        return self.model_dump(mode="json")


def read(spec: str | Path) -> dict[str, Any]:
    """The plain content of a YAML file or of one of its sections."""
    path, _, sections = str(spec).partition(":")
    if not Path(path).is_file():
        near = difflib.get_close_matches(Path(path).name, [p.name for p in Path(path).parent.glob("*.yaml")], 1)
        hint = f"; did you mean {Path(path).with_name(near[0])}?" if near else ""
        raise ParamsError(f"{path}: there is no such parameter file{hint}")
    try:
        content = parse(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: expected `key: value` lines, found {type(content).__name__}")
    where = path
    for section in sections.split(".") if sections else ():
        if not isinstance(content.get(section), dict):
            raise ParamsError(f"{where}: has no section `{section}`; it has {', '.join(map(str, content)) or 'none'}")
        content, where = content[section], f"{where}: {section}" if where == path else f"{where}.{section}"
    return content


def check(kind: type[P], content: dict[str, Any], spec: str | Path) -> P:
    """`content` as a typed section; every problem in the message carries file, key, value and remedy."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        found = error.errors()
        # a list whose entries are wrong is also said to be too short, as those are not counted: no problem of its own
        within = {e["loc"][:n] for e in found for n in range(len(e["loc"]))}
        told = [e for e in found if e["type"] != "too_short" or e["loc"] not in within]
        raise ParamsError("\n".join(f"{spec}: {_sentence(kind, e)}" for e in told)) from None


def _sentence(kind: type[Params], error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _keys_at(kind, error["loc"][:-1])
        near = difflib.get_close_matches(str(error["loc"][-1]), known, 1, cutoff=0.5)
        remedy = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
        return f"unknown parameter `{where}`; {remedy}"
    if error["type"] == "missing":
        return f"parameter `{where}` is missing; add it"
    said = error["msg"].removeprefix("Value error, ")
    if not where:  # a rule about several keys, which it names
        return said
    if error["type"] == "tuple_type":
        said = f"write a list, [{error['input']}]"
    return f"`{where}` = {error['input']!r}: {said[0].lower()}{said[1:]}"


def _keys_at(kind: type[Params], path: tuple[Any, ...]) -> list[str]:
    """Field names of the section that `path` leads to; unions and lists are searched through."""
    sections: list[type[BaseModel]] = [kind]
    for part in path:
        found = [s.model_fields[part].annotation for s in sections if part in s.model_fields]
        if found:
            sections = [m for annotation in found for m in _models_in(annotation)]
    return sorted({name for s in sections for name in s.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in getattr(annotation, "__args__", ()) for m in _models_in(a)]
