"""The page in a real browser: nothing on its console, fits a phone, does what its buttons and keys say."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scantling.review.__main__ import main
from tests import toy
from tests.review import made

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PHONE_PX = 390
# The page in a frame of a phone's width, which a headless window cannot have. A person's ways are walked there, and
# what is seen on them stands in the body afterwards, which --dump-dom prints.
FRAME = """<!doctype html><body>
<iframe id="page" style="width:{width}px;height:800px;border:0" srcdoc="{page}"></iframe>
<p id="answer">not measured</p><script>
document.getElementById("page").onload = event => {{
  const doc = event.target.contentDocument, view = event.target.contentWindow, seen = {{}};
  const key = name => doc.dispatchEvent(new view.KeyboardEvent("keydown", {{key: name, bubbles: true}}));
  const cards = () => doc.querySelectorAll("#grid li").length;
  const wide = [...doc.querySelectorAll("main *")].filter(e =>
    !e.closest(".chips") && e.getBoundingClientRect().right > {width} + 0.5);
  const root = doc.documentElement;
  seen.width = [root.clientWidth, root.scrollWidth, wide.map(e => e.outerHTML.slice(0, 80))];
  seen.all = cards();
  const chip = [...doc.querySelectorAll("#chips button")].find(b => b.textContent.includes("missing label"));
  chip.click();
  seen.missing = [cards(), doc.querySelector("#grid .caption span").textContent];
  doc.querySelector("#chips button").click();
  const select = doc.getElementById("class");
  seen.classes = [...select.options].map(o => o.textContent);
  select.value = 0;
  select.dispatchEvent(new view.Event("change"));
  seen.squares = cards();
  select.value = -1;
  select.dispatchEvent(new view.Event("change"));
  doc.querySelector("#grid button").click();
  const viewer = doc.getElementById("viewer"), sheet = doc.getElementById("sheet");
  seen.open = [viewer.open, doc.getElementById("name").textContent, sheet.querySelectorAll(".box").length];
  seen.fits = sheet.clientWidth <= {width} && viewer.scrollWidth <= {width};
  key("ArrowRight");
  seen.next = doc.getElementById("name").textContent;
  key("ArrowLeft");
  const before = sheet.clientWidth;
  doc.querySelector("#list button").click();
  seen.zoom = [before < sheet.clientWidth, sheet.querySelectorAll(".box.on").length];
  key("0");
  seen.unzoom = sheet.clientWidth === before;
  doc.getElementById("close").click();
  seen.closed = !viewer.open;
  document.getElementById("answer").textContent = JSON.stringify(seen);
}};
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser here to open the page with: install one of {', '.join(BROWSERS)}")
    return found


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made.run(tmp_path)
    monkeypatch.chdir(tmp_path)
    made.table_of(tmp_path / "found.parquet", tmp_path)
    main(
        ["--run", f"results/retrain/{made.KEY}", "--detections", "found.parquet", "--out", "looked"]
        + ["--params", str(toy.ROOT / "params/review.yaml")]
    )
    return tmp_path / "looked/index.html"


def opened(browser: str, path: Path, profile: Path) -> tuple[str, list[str]]:
    """(DOM after loading, what the console said)."""
    quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
    command = [browser, "--headless", "--no-sandbox", *quiet.split(), "--disable-sync", f"--user-data-dir={profile}"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_nothing_on_the_console(browser: str, page: Path, tmp_path: Path) -> None:
    dom, console = opened(browser, page, tmp_path / "profile")
    assert console == []
    assert dom.count('class="card"') == 5 and dom.count("<img") == 5  # the script has drawn


def test_a_persons_ways_on_a_phone(browser: str, page: Path, tmp_path: Path) -> None:
    frame = page.with_name("frame.html")
    frame.write_text(FRAME.format(width=PHONE_PX, page=html.escape(page.read_text())))
    dom, console = opened(browser, frame, tmp_path / "profile")
    answer = re.search(r'<p id="answer">(.*?)</p>', dom, re.S)
    assert answer and console == [], console
    seen = json.loads(html.unescape(answer[1]))
    width, content, wide = seen["width"]
    assert content <= width <= PHONE_PX and wide == []
    assert seen["all"] == 5 and seen["missing"] == [1, "images/1.png"]
    assert seen["classes"] == ["all", *made.CLASSES] and seen["squares"] == 4  # a name is never markup
    assert seen["open"][0] and "images/1.png" in seen["open"][1] and seen["open"][2] == 3
    assert seen["fits"] and "#2" in seen["next"]
    assert seen["zoom"] == [True, 1] and seen["unzoom"] and seen["closed"]
