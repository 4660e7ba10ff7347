"""check.html: what is in a data set and what was noticed, on one page without any other file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from scantling.data.images import decode
from scantling.data.index import XYXY, Index
from scantling.data.problems import Findings, Problem
from scantling.stage import BadInput

DRAWN_IMAGES = 12
DRAWN_PX = 360  # longer side of a drawn image: three in a row on a laptop, about 15 kB each
SHOWN_CLASSES = 20
# Okabe and Ito's palette, told apart by the color-blind too; with more classes the boxes carry their names
COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#4f7cff", "#ffffff")
LEVELS = {"error": "refused", "repair": "repaired", "note": "noticed"}

STYLE = """
:root { --ink: #1d2430; --soft: #667085; --line: #e4e7ec; --page: #fff; --card: #f8f9fb; --bar: #3b6fb6;
  --error: #b42318; --repair: #b54708; --note: #475467 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #98a2b3; --line: #2b3240; --page: #12161d;
  --card: #1a202a; --bar: #6f9bd8; --error: #f97066; --repair: #fdb022; --note: #98a2b3 } }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 72rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.9rem; margin: 0 0 .3rem } h2 { font-size: 1.15rem; margin: 2.6rem 0 .8rem }
.lead { color: var(--soft); margin: 0; max-width: 60rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th { text-align: left; color: var(--soft); font-weight: 500; font-size: .88rem }
th, td { padding: .35rem 1rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: baseline }
.n { text-align: right; white-space: nowrap }
.scroll { overflow-x: auto }
.bar { width: 45% } .bar i { display: block; height: .7rem; min-width: 1px; background: var(--bar); border-radius: 2px }
.level { font-size: .88rem; font-weight: 600; white-space: nowrap }
.error { color: var(--error) } .repair { color: var(--repair) } .note { color: var(--note) }
small, summary { color: var(--soft); font-size: .88rem } code { font-size: .85rem; overflow-wrap: anywhere }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1.2rem }
figure { margin: 0 } figure svg { width: 100%; height: auto; max-height: 17rem; display: block; border-radius: 6px;
  background: var(--card) }
figcaption { color: var(--soft); font-size: .85rem; padding-top: .3rem; overflow-wrap: anywhere }
.key { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: 0 0 1rem; padding: 0; list-style: none }
.key i { display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem; border-radius: 2px;
  border: 1px solid var(--soft) }
"""


def write(index: Index, problems: Findings, file: Path) -> None:
    """The page of an index with its boxes."""
    assert index.boxes is not None
    name = html.escape(index.name)
    body = [
        f"<h1>{name}</h1>",
        f'<p class="lead">{_lead(index, problems)}</p>',
        "<h2>Subsets</h2>",
        _subsets(index),
        "<h2>What was noticed</h2>",
        _problems(problems),
        "<h2>Classes</h2>",
        _classes(index),
        "<h2>Some images</h2>",
        _sheet(index),
    ]
    file.write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}: data check</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(body)
        + "\n</body></html>\n",
        encoding="utf-8",
    )


def _lead(index: Index, problems: Findings) -> str:
    assert index.boxes is not None
    repaired = sum(p.count for p in problems if p.level == "repair")
    state = f"{repaired:,} repairs were needed." if repaired else "Nothing had to be repaired."
    return (
        f"{len(index.images):,} images and {len(index.boxes):,} boxes of {len(index.classes)} classes, read from "
        f"<code>{html.escape(str(index.root))}</code>. {state}"
    )


def _subsets(index: Index) -> str:
    assert index.boxes is not None
    longer = (index.boxes[["x2", "y2"]].to_numpy() - index.boxes[["x1", "y1"]].to_numpy()).max(1, initial=0)
    at = index.boxes.image_id.map(index.images.set_index("image_id").subset).to_numpy()
    rows = []
    for subset, count in index.facts["counts"].items():
        images = index.images[index.images.subset == subset]
        mine = index.boxes[at == subset]
        # middle of the sizes, and of the boxes' longer sides: what input size and anchors have to fit
        size = f"{images.width.median():.0f} × {images.height.median():.0f}" if len(images) else ""
        low, middle, high = np.percentile(longer[at == subset], [10, 50, 90]) if len(mine) else (0, 0, 0)
        cells = [
            f"{count['images']:,}",
            f"{count['boxes']:,}",
            f"{count['boxes'] / max(count['images'], 1):.1f}",
            f"{count['images'] - mine.image_id.nunique():,}",
            f"{count['crowd']:,}",
            size,
            f"{low:.0f} / {middle:.0f} / {high:.0f}" if len(mine) else "",
        ]
        rows.append(f"<tr><td>{html.escape(subset)}</td>{''.join(f'<td class=n>{c}</td>' for c in cells)}</tr>")
    titles = ("images", "boxes", "boxes per image", "images without box", "crowds", "median size, px")
    head = "".join(f'<th class="n">{t}</th>' for t in (*titles, "longer side of a box, px: 10 / 50 / 90 %"))
    return f'<div class="scroll"><table><tr><th>subset</th>{head}</tr>{"".join(rows)}</table></div>'


def _problems(problems: Sequence[Problem]) -> str:
    if not problems:
        return "<p>Nothing: every file could be read, and every box lies within its image.</p>"
    rows = []
    for p in problems:
        examples = "<br>".join(f"<code>{html.escape(e)}</code>" for e in p.examples if e)
        rest = f"<br>and {p.count - len(p.examples):,} more" if p.count > len(p.examples) else ""
        rows.append(
            f'<tr><td class="level {p.level}">{LEVELS[p.level]}</td><td class="n">{p.count:,}</td>'
            f"<td>{html.escape(p.title)}<br><small>{html.escape(p.what)}</small>"
            f"<details><summary>examples</summary>{examples}{rest}</details></td></tr>"
        )
    return f"<table>{''.join(rows)}</table>"


def _classes(index: Index) -> str:
    """Boxes per class over all subsets, most frequent first; a long tail is folded away."""
    counts = list(index.facts["counts"].values())
    total = {c: sum(count["classes"][c] for count in counts) for c in index.classes}
    names = sorted(index.classes, key=lambda c: -total[c])
    most = max(total.values(), default=1) or 1
    head = "".join(f'<th class="n">{html.escape(s)}</th>' for s in index.facts["counts"])
    rows = []
    for c in names:
        cells = "".join(f'<td class="n">{count["classes"][c]:,}</td>' for count in counts)
        bar = f'<td class="bar"><i style="width:{100 * total[c] / most:.1f}%"></i></td>'
        rows.append(f"<tr><td>{html.escape(c)}</td>{cells}{bar}</tr>")
    head = f"<tr><th>class</th>{head}<th>all subsets</th></tr>"
    shown, folded = "".join(rows[:SHOWN_CLASSES]), "".join(rows[SHOWN_CLASSES:])
    page = f'<div class="scroll"><table>{head}{shown}</table></div>'
    if folded:
        summary = f"<summary>{len(rows) - SHOWN_CLASSES} rarer classes</summary>"
        page += f"<details>{summary}<table>{head}{folded}</table></details>"
    return page


def _sheet(index: Index) -> str:
    """A few images, evenly spread over the data set, with their boxes."""
    assert index.boxes is not None
    count = min(DRAWN_IMAGES, len(index.images))
    chosen = index.images.iloc[np.linspace(0, len(index.images) - 1, count).astype(int)]
    boxes = index.boxes[index.boxes.image_id.isin(chosen.image_id)]
    seen = sorted(boxes.label.unique()) if len(index.classes) <= len(COLORS) else []
    key = "".join(
        f'<li><i style="background:{COLORS[label % len(COLORS)]}"></i>{html.escape(index.classes[label])}</li>'
        for label in seen
    )
    figures = [_figure(index, image, boxes[boxes.image_id == image.image_id]) for image in chosen.itertuples()]
    return f'<ul class="key">{key}</ul><div class="sheet">{"".join(figures)}</div>'


def _figure(index: Index, image: object, boxes: pd.DataFrame) -> str:
    width, height, name = int(image.width), int(image.height), str(image.file_name)  # type: ignore[attr-defined]
    try:
        picture = Image.fromarray(decode(index.root / name).permute(1, 2, 0).numpy())
    except BadInput:  # possible where the images were not verified
        return f"<figure><figcaption>{html.escape(name)}: unreadable</figcaption></figure>"
    picture.thumbnail((DRAWN_PX, DRAWN_PX))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    data = base64.b64encode(stream.getvalue()).decode()
    stroke = max(width, height) / 200
    named = len(index.classes) > len(COLORS)
    shapes = []
    for box in boxes.itertuples():
        x1, y1, x2, y2 = (float(getattr(box, c)) for c in XYXY)
        dash = f' stroke-dasharray="{3 * stroke:g}"' if box.crowd else ""
        title = html.escape(index.classes[box.label]) + (" (crowd)" if box.crowd else "")
        frame = f'x="{x1:g}" y="{y1:g}" width="{x2 - x1:g}" height="{y2 - y1:g}"'
        color = COLORS[box.label % len(COLORS)]
        shapes.append(
            f'<rect {frame} fill="none" stroke="#0008" stroke-width="{1.8 * stroke:g}"/>'
            f'<rect {frame} fill="transparent" stroke="{color}" stroke-width="{stroke:g}"{dash}>'
            f"<title>{title}</title></rect>"
        )
        if named:
            shapes.append(
                f'<text x="{x1 + 2 * stroke:g}" y="{y1 + 8 * stroke:g}" font-size="{7 * stroke:g}" fill="#fff" '
                f'stroke="#000" stroke-width="{stroke:g}" paint-order="stroke">{title}</text>'
            )
    word = "box" if len(boxes) == 1 else "boxes"
    return (
        f'<figure><svg viewBox="0 0 {width} {height}"><image href="data:image/jpeg;base64,{data}" '
        f'width="{width}" height="{height}"/>{"".join(shapes)}</svg>'
        f"<figcaption>{html.escape(name)}: {len(boxes)} {word}</figcaption></figure>"
    )
