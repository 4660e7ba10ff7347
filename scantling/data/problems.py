"""What can be wrong with a data set: one table of kinds, each with the rule that repairs it and what a person can do.

A data parameter file may say for any kind what is to happen: `problems: {box_outside: error, wrong_size: repair}`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from scantling.stage import BadInput

Action = Literal["repair", "error", "note"]
LEVELS = {"error": "refused", "repair": "repaired", "note": "noticed"}  # what a person reads of an action
EXAMPLES = 5
LONGEST_EXAMPLE = 300  # characters; a name in a damaged file can be as long as the file


@dataclass(frozen=True)
class Kind:
    """`default`: what happens unless the parameters say otherwise. `repair`: the rule; None where there is none."""

    title: str
    default: Action
    repair: str | None
    remedy: str


KINDS: dict[str, Kind] = {
    # what the annotation files say
    "renumbered_ids": Kind(
        "ids used by several files, or below 0", "note", None, "all of them were renumbered 1, 2, 3, ..."
    ),
    "id_gaps": Kind("gaps between ids", "note", None, "nothing to do: ids are names here, not positions"),
    "duplicate_image_id": Kind(
        "image id used more than once", "error", "only the first entry is kept", "give every image its own id"
    ),
    "duplicate_box_id": Kind(
        "annotation id used more than once", "error", "all were renumbered", "give every annotation its own id"
    ),
    "unknown_category": Kind(
        "box of an unknown category", "error", "dropped", "add the category to the list of classes or correct the box"
    ),
    "box_without_image": Kind(
        "box of an image that is not listed", "error", "dropped", "add the image or remove the box"
    ),
    "box_not_numbers": Kind(
        "box that is not four finite numbers", "error", "dropped", "write four finite numbers in pixels"
    ),
    "foreign_path": Kind(
        "annotation that names another file", "note", None, "the image is found by the name of its annotation file"
    ),
    # what the image files say
    "path_outside": Kind(
        "path outside the folder", "error", None, "move the images below the root or make a link to them"
    ),
    "windows_path": Kind("path with backslashes", "repair", "read as slashes", "write slashes"),
    "listed_twice": Kind(
        "image listed twice", "error", "entries merged into the first, with the boxes of all", "list every image once"
    ),
    "also_unlabeled": Kind(
        "labeled image also listed as unlabeled", "repair", "taken out of `unlabeled`", "list it in one of the two"
    ),
    "in_two_subsets": Kind(
        "training image in another subset",
        "error",
        "taken out of training",
        "a result on it would mean nothing: take it out of one of the two",
    ),
    "same_name": Kind(
        "two files with the same name", "note", None, "they lie in different folders and are different images here"
    ),
    "same_but_case": Kind(
        "names that differ in case only", "note", None, "on some disks they would be one file; here they are two images"
    ),
    "missing_file": Kind("image without file", "error", "left out with its boxes", "put the file there"),
    "unreadable_image": Kind(
        "unreadable or truncated image", "error", "left out with its boxes", "replace the file or take it out"
    ),
    "huge_image": Kind(
        "image larger than the limit", "error", "left out with its boxes", "make it smaller or raise `max_megapixels`"
    ),
    "unknown_size": Kind(
        "image of unknown size", "error", None, "write width and height into the annotations or set `verify: header`"
    ),
    "wrong_size": Kind(
        "size differs from the file",
        "error",
        "boxes scaled to the size of the file, and turned with it where EXIF turns it",
        "the boxes may belong to another version of the image: correct the size or the image",
    ),
    "exif_turned": Kind(
        "EXIF rotation, boxes turned",
        "repair",
        "the boxes were drawn on the picture before EXIF turns it, and are turned with it",
        "store the picture upright",
    ),
    "exif": Kind(
        "EXIF rotation, boxes as they are",
        "note",
        None,
        "the picture is used upright; boxes are taken as drawn on the upright picture",
    ),
    # what the boxes are
    "box_outside": Kind("box beyond the border", "repair", "clipped to the image", "correct the box"),
    "box_without_area": Kind("box without area", "repair", "dropped", "correct or remove the box"),
    "repeated_box": Kind(
        "repeated box",
        "repair",
        "same class and corners in the same image: only the first is kept",
        "remove the repetition",
    ),
    "bad_area": Kind(
        "area that is negative or not finite",
        "repair",
        "width times height of the box is used",
        "write the area in square pixels",
    ),
    "crowd": Kind("image with a crowd region", "note", None, "crowds are never trained on, and ignored in evaluation"),
    "image_without_boxes": Kind("image without boxes", "note", None, "taken as looked at and empty"),
    "class_without_boxes": Kind("class without a box in train", "note", None, "it cannot be learned"),
}


@dataclass(frozen=True)
class Problem:
    """One kind of problem as it was found: how often, what was done about it or can be done, and a few examples."""

    kind: str
    title: str
    level: Action
    count: int
    what: str
    examples: tuple[str, ...]


class Findings(list[Problem]):
    """The problems found, one entry a kind, in the order in which they were looked for."""

    def __init__(self, policy: Mapping[str, Action] | None = None):
        super().__init__()
        self.policy: dict[str, Action] = dict(policy or {})

    def add(self, kind: str, examples: Sequence[object], count: int | None = None) -> bool:
        """Note `count` problems (that of the examples if None) of a kind. True: the caller is to repair them.

        Nothing is noted, and True returned, where there are none. What is found later of the same kind is added to it.
        """
        count = len(examples) if count is None else count
        if not count:
            return True
        level: Action = self.policy.get(kind, KINDS[kind].default)
        what = KINDS[kind].repair if level == "repair" else KINDS[kind].remedy
        fresh = Problem(kind, KINDS[kind].title, level, 0, str(what), ())
        at = next((i for i, p in enumerate(self) if p.kind == kind), len(self))
        known = self[at] if at < len(self) else fresh
        shown = (*known.examples, *map(one_line, examples[:EXAMPLES]))[:EXAMPLES]
        self[at : at + 1] = [replace(known, count=known.count + count, examples=shown)]
        return level != "error"

    @property
    def errors(self) -> list[Problem]:
        return [p for p in self if p.level == "error"]

    def refuse(self, where: object) -> None:
        """Raise BadInput with one sentence per problem that is an error."""
        if self.errors:
            raise BadInput("\n".join(_sentence(where, p) for p in self.errors))


def one_line(text: object, limit: int = LONGEST_EXAMPLE) -> str:
    """A name as it can be shown anywhere: nothing that breaks lines or is not a character, cut in the middle."""
    whole = str(text)
    kept = whole if len(whole) <= limit else f"{whole[: limit // 2]}...{whole[-limit // 2 :]}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in kept)


def check_policy(policy: Mapping[str, Action]) -> None:
    """Raise ValueError for a kind that does not exist or cannot be handled that way."""
    for kind, action in policy.items():
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, 1)
            raise ValueError(f"unknown problem `{kind}`; {f'did you mean `{near[0]}`?' if near else 'see KINDS'}")
        known = KINDS[kind]
        able = {known.default, "error"} | ({"repair"} if known.repair else set())
        if action not in able:
            raise ValueError(f"problem `{kind}` cannot be `{action}`; it can be {' or '.join(sorted(able))}")


def _sentence(where: object, problem: Problem) -> str:
    rest = problem.count - len(problem.examples)
    listed = ", ".join(problem.examples) + (f" and {rest} more" if rest > 0 else "")
    fix = f"; or set `problems: {{{problem.kind}: repair}}` ({KINDS[problem.kind].repair})"
    remedy = problem.what + (fix if KINDS[problem.kind].repair else "")
    return f"{where}: {problem.count} x {problem.title}, e.g. {listed}; {remedy}"
