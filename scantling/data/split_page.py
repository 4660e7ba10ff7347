"""What a split is, in words and as split.html: images, boxes per class kept and hidden, classes at risk."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SHOWN = 20  # classes in a figure; of more, the most frequent and those that keep the fewest boxes
LISTED = 2000  # classes in the folded table
AT_RISK = 10  # boxes: a class that keeps fewer is marked; the fewest shots of CI-SSOD (arXiv 2403.15127) are 10
NAME_PX, BAR_PX, ROW_PX = 200, 430, 22  # of a figure: room for names, length of the longest bar, height of a row
NAME_LETTERS = 24

STYLE = """
:root { --ink: #1d2430; --soft: #667085; --line: #e4e7ec; --page: #fff; --kept: #3b6fb6; --hidden: #cdd5df;
  --risk: #b54708 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #98a2b3; --line: #2b3240; --page: #12161d;
  --kept: #6f9bd8; --hidden: #3a4353; --risk: #fdb022 } }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 56rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.9rem; margin: 0 0 .3rem } h2 { font-size: 1.15rem; margin: 2.4rem 0 .8rem }
.lead, summary, figcaption { color: var(--soft) } summary, figcaption { font-size: .88rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .35rem 1.4rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: baseline; overflow-wrap: anywhere }
th { color: var(--soft); font-weight: 500; font-size: .88rem; white-space: nowrap } .n { text-align: right }
.risk { color: var(--risk); font-weight: 600 } tspan.risk { fill: var(--risk) }
figure { margin: 0 0 1.6rem; overflow-x: auto }
svg { width: 100%; height: auto; min-width: 32rem; max-width: 48rem; display: block }
svg text { font: 13px system-ui, sans-serif; fill: var(--ink) } svg .soft { fill: var(--soft) }
.kept { fill: var(--kept) } .hidden { fill: var(--hidden) }
.key { color: var(--soft); font-size: .88rem } .key i { display: inline-block; width: .8rem; height: .8rem;
  margin: 0 .3rem 0 .9rem; border-radius: 2px } .key i:first-child { margin-left: 0 }
"""


def words(facts: dict[str, Any]) -> dict[str, str]:
    """What split.json says, as sentences by subject."""
    count, classes = facts["counts"], facts["per_class"]
    boxes = count["kept"] + count["hidden"]
    lost = [name for name, n in classes.items() if not n["kept"] and n["hidden"]]
    rare = [name for name, n in classes.items() if 0 < n["kept"] < AT_RISK]
    dropped = ", ".join(f"{n:,} {what.replace('_', ' ')}" for what, n in count["dropped"].items())
    more = {"not in the split": f"{count['left_out']:,} images"} if count["left_out"] else {}
    if drawn := [(k, v) for k, v in facts["drawn"].items() if not isinstance(v, list | dict)]:
        more["drawn"] = ", ".join(
            f"{k.replace('_', ' ')} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in drawn
        )
    return {
        "data": facts["data"],
        "protocol": f"{facts['protocol']}, fold {facts['fold']}, seed {facts['seed']}",
        "parameters": _listed(facts["params"]) or "none",
        "images": f"{count['images']:,}: {count['labeled']:,} labeled, {count['unlabeled']:,} unlabeled",
        "left empty": f"{count['empty']:,} labeled images keep no box, {count['emptied']:,} of them lost all they had"
        if count["empty"]
        else "no labeled image",
        "boxes": f"{boxes:,}: {count['kept']:,} kept ({count['kept'] / max(boxes, 1):.1%}), {count['hidden']:,} hidden",
        "set aside": f"{dropped} (boxes that no protocol counts)",
        "complete": "yes: a labeled image has all its boxes"
        if facts["complete"]
        else "no: a labeled image may lack boxes, its background is not to be trusted",
        "classes": f"{len(classes):,}, of which {len(rows(facts)):,} have boxes in these images",
        "at risk": f"{len(rare):,} keep fewer than {AT_RISK} boxes{_some(rare)}",
        "lost": f"{len(lost):,} keep no box{_some(lost)}",
        **more,
        "sha256": facts["sha256"],
        "source": facts["source_sha256"],
    }


def rows(facts: dict[str, Any]) -> list[tuple[str, int, int, int]]:
    """(class, kept, hidden, images that keep one) of classes that have boxes, most frequent first."""
    found = [(name, n["kept"], n["hidden"], n["images"]) for name, n in facts["per_class"].items()]
    return sorted((r for r in found if r[1] + r[2]), key=lambda r: (-(r[1] + r[2]), r[0]))


def extremes(classes: Sequence[tuple[str, int, int, int]], most: int) -> dict[str, Sequence[tuple[str, int, int, int]]]:
    """All classes if they are few, else the most frequent and those that keep the fewest boxes; by title."""
    if len(classes) <= most:
        return {f"All {len(classes)} classes with boxes": classes}
    fewest = sorted(classes, key=lambda r: (r[1], r[1] + r[2], r[0]))[: most // 2]
    return {
        f"The {most - most // 2} most frequent of {len(classes):,} classes": classes[: most - most // 2],
        f"The {most // 2} that keep the fewest boxes": fewest,
    }


def write(facts: dict[str, Any], file: Path) -> None:
    """The page: one file that needs no other."""
    classes = rows(facts)
    name = html.escape(f"{facts['data']}: {facts['protocol']}, fold {facts['fold']}")
    said = "".join(f"<tr><th>{k}</th><td>{html.escape(text)}</td></tr>" for k, text in words(facts).items())
    figures = "".join(
        f"<figure><figcaption>{title}</figcaption>{_bars(some)}</figure>"
        for title, some in extremes(classes, 2 * SHOWN if len(classes) > SHOWN else SHOWN).items()
    )
    body = (
        f'<h1>{name}</h1>\n<p class="lead">Which labels training may see, and which were hidden from it.</p>\n'
        f"<table>{said}</table>\n<h2>Boxes per class</h2>\n"
        '<p class="key"><i style="background:var(--kept)"></i>kept<i style="background:var(--hidden)"></i>hidden'
        f'<i style="background:var(--risk)"></i>keeps fewer than {AT_RISK} boxes</p>\n'
        f"{figures}\n{_table(classes, facts)}"
    )
    file.write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n",
        encoding="utf-8",
    )


def _bars(classes: Sequence[tuple[str, int, int, int]]) -> str:
    """A bar a class, kept and hidden boxes end to end, all of one figure on one scale."""
    scale = BAR_PX / max([2 * AT_RISK, *(kept + hidden for _, kept, hidden, _ in classes)])
    parts = []
    for number, (name, kept, hidden, _) in enumerate(classes):
        middle = ROW_PX * number + ROW_PX / 2
        title = f"<title>{html.escape(name)}: {kept:,} kept, {hidden:,} hidden</title>"
        risk = ' class="risk"' if kept < AT_RISK else ""
        short = name if len(name) <= NAME_LETTERS else name[: NAME_LETTERS - 1] + "…"
        first, second = (f'y="{middle - 6:g}" height="12" width="{n * scale:.1f}"' for n in (kept, hidden))
        parts.append(
            f'<g>{title}<text x="{NAME_PX - 10}" y="{middle + 4.5:g}" text-anchor="end">'
            f"<tspan{risk}>{html.escape(short)}</tspan></text>"
            f'<rect class="kept" x="{NAME_PX}" {first}/>'
            f'<rect class="hidden" x="{NAME_PX + kept * scale:.1f}" {second}/>'
            f'<text class="soft" x="{NAME_PX + (kept + hidden) * scale + 8:.1f}" y="{middle + 4.5:g}">'
            f"{kept:,} of {kept + hidden:,}</text></g>"
        )
    size = f"0 0 {NAME_PX + BAR_PX + 150} {ROW_PX * max(len(classes), 1)}"
    return f'<svg viewBox="{size}" role="img" aria-label="boxes kept and hidden per class">{"".join(parts)}</svg>'


def _table(classes: Sequence[tuple[str, int, int, int]], facts: dict[str, Any]) -> str:
    head = "".join(f'<th class="n">{t}</th>' for t in ("kept", "hidden", "kept, %", "images that keep one"))
    lines = []
    for name, kept, hidden, images in classes[:LISTED]:
        cells = (f"{kept:,}", f"{hidden:,}", f"{100 * kept / (kept + hidden):.1f}", f"{images:,}")
        mark = ' class="risk"' if kept < AT_RISK else ""
        lines.append(f"<tr><td{mark}>{html.escape(name)}</td>{''.join(f'<td class=n>{c}</td>' for c in cells)}</tr>")
    rest = f"<p>{len(classes) - LISTED:,} more in split.json.</p>" if len(classes) > LISTED else ""
    bare = len(facts["classes"]) - len(classes)
    note = f"<p>{bare:,} classes have no box in these images.</p>" if bare else ""
    table = f"<table><tr><th>class</th>{head}</tr>{''.join(lines)}</table>"
    return f"<details><summary>all numbers</summary>{table}{rest}</details>{note}"


def _listed(params: dict[str, Any]) -> str:
    """`key value, key value`; sections in parentheses, what is not set left out, long lists cut."""
    parts = []
    for key, value in params.items():
        if key == "protocol" or value is None:
            continue
        if isinstance(value, dict):
            value = f"({value.get('protocol')}{', ' if len(value) > 1 else ''}{_listed(value)})"
        elif isinstance(value, list):
            value = ", ".join(map(str, value[:3])) + (f" and {len(value) - 3} more" if len(value) > 3 else "")
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        parts.append(f"{key} {value}")
    return ", ".join(parts)


def _some(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f": {', '.join(names[:10])}" + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
