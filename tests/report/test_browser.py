"""The page in a real browser: nothing on its console, nothing to scroll sideways on a phone."""

import html
import json
import re
import shutil
import subprocess

import pytest

from scantling.report.build import build
from tests.report import synthetic
from tests.report.conftest import PARAMS

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PHONE_PX = 390
# The page in a frame of a phone's width: a headless window cannot be that narrow. The frame's document is measured
# when it has loaded, and the answer stands in the body, which --dump-dom prints.
FRAME = """<!doctype html><body>
<iframe id="page" style="width:{width}px;height:800px;border:0" srcdoc="{page}"></iframe>
<p id="answer">not measured</p><script>
document.getElementById("page").onload = event => {{
  const root = event.target.contentDocument.documentElement;
  const wide = [...root.querySelectorAll("main *")].filter(e => {{
    const scrolls = e.closest(".wide, .charts, .sheet, thead") && !e.closest(".stack tbody");
    return !scrolls && e.getBoundingClientRect().right > {width} + 0.5;
  }});
  const first = wide.slice(0, 3).map(e => e.outerHTML.slice(0, 80));
  document.getElementById("answer").textContent =
    `width ${{root.clientWidth}} content ${{root.scrollWidth}} wide ${{wide.length}} ${{first}}`;
}};
</script>"""


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser here to open the report with: install one of {', '.join(BROWSERS)}")
    return found


def opened(browser, path, profile):
    """(DOM after loading, what the console said)."""
    quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
    command = [browser, "--headless", "--no-sandbox", *quiet.split(), "--disable-sync", f"--user-data-dir={profile}"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_console_stays_silent(browser, made, tmp_path):
    dom, console = opened(browser, made.out / "index.html", tmp_path / "profile")
    assert "Every run" in dom and console == []


def test_console_is_heard(browser, tmp_path):
    """The check above can fail: a page with an error is noticed."""
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.error('seen'); undefinedFunction()</script>")
    assert len(opened(browser, bad, tmp_path / "profile")[1]) == 2


@pytest.fixture(scope="module", params=[(1, 2, 3), (1, 2)], ids=["intervals", "two values"])
def report(request, made, tmp_path_factory):
    """Pages with what stands beside a number: the half of an interval, or two numbers, which are wider."""
    if request.param == (1, 2, 3):
        return made.out
    folder = tmp_path_factory.mktemp("two")
    study = synthetic.study(folds=request.param)
    out = folder / "report"
    out.mkdir()
    build(study, synthetic.write(folder, study), PARAMS, out)
    return out


def test_fits_a_phone(browser, report, tmp_path):
    """Tables that stack on a phone fit it like the text; the others, charts and images may scroll in themselves."""
    page = html.escape((report / "index.html").read_text())
    frame = tmp_path / "frame.html"
    shutil.copytree(report / "images", tmp_path / "images")
    frame.write_text(FRAME.format(width=PHONE_PX, page=page))
    dom, _ = opened(browser, frame, tmp_path / "profile")
    width, content, wide = re.search(r'id="answer">width (\d+) content (\d+) wide (.*)', dom).groups()
    assert int(width) <= PHONE_PX and int(content) <= int(width), wide
    assert wide.startswith("0 "), wide


TOUCH = """<!doctype html><body>
<iframe id="page" style="width:1200px;height:800px;border:0" srcdoc="{page}"></iframe>
<p id="answer">not measured</p><script>
document.getElementById("page").onload = event => {{
  const root = event.target.contentDocument, said = {{}};
  const table = [...root.querySelectorAll("table.sorts")].find(t => t.textContent.includes("test boxes"));
  const column = () => [...table.tBodies[0].rows].map(row => Number(row.cells[2].dataset.value));
  const button = table.tHead.rows[1].cells[2].querySelector("button");
  button.click(); said.falling = column();
  button.click(); said.rising = column();
  said.state = table.tHead.rows[1].cells[2].getAttribute("aria-sort");
  const sheet = root.querySelector(".sheet"), order = sheet.previousElementSibling.querySelector("select");
  order.value = "by image"; order.dispatchEvent(new Event("change"));
  said.images = [...sheet.children].map(figure => Number(figure.dataset.image));
  const links = sheet.querySelectorAll("a.zooms");
  links[0].click();
  const dialog = root.querySelector("dialog"), label = () => dialog.querySelector("svg").getAttribute("aria-label");
  said.open = dialog.open; said.same = label() === links[0].querySelector("svg").getAttribute("aria-label");
  const before = dialog.querySelector("svg").viewBox.baseVal.width;
  dialog.querySelector("[aria-label=larger]").click();
  said.larger = dialog.querySelector("svg").viewBox.baseVal.width < before;
  dialog.querySelector("[aria-label='next image']").click();
  said.next = label() === links[1].querySelector("svg").getAttribute("aria-label");
  dialog.querySelector("[aria-label=close]").click(); said.closed = !dialog.open;
  document.getElementById("answer").textContent = JSON.stringify(said);
}};
</script>"""


def test_tables_sort_and_images_enlarge(browser, made, tmp_path):
    shutil.copytree(made.out / "images", tmp_path / "images")
    frame = tmp_path / "frame.html"
    frame.write_text(TOUCH.format(page=html.escape((made.out / "index.html").read_text())))
    dom, console = opened(browser, frame, tmp_path / "profile")
    assert console == []
    said = json.loads(html.unescape(re.search(r'id="answer">(.*?)</p>', dom, re.S).group(1)))
    assert said["falling"] == sorted(said["falling"], reverse=True) == said["rising"][::-1]
    assert len(set(said["falling"])) == 3 and said["state"] == "ascending"
    assert said["images"] == sorted(said["images"])
    assert all(said[name] for name in ("open", "same", "larger", "next", "closed"))
