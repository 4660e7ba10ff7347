import base64
import io
import json
import re
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from PIL import Image

from scantling.report.build import build
from tests.report import synthetic
from tests.report.conftest import PARAMS

VOID = {"meta", "link", "br", "wbr", "input", "image", "use", "path", "rect", "circle"}


class Reader(HTMLParser):
    """Ids, links, images and whether every element is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.sources, self.scripts = [], [], [], [], 0

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.scripts += tag == "script"
        if "id" in named:
            self.ids.append(named["id"])
        for key in ("href", "src"):
            if key in named:
                (self.links if named[key].startswith("#") else self.sources).append(named[key])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(made):
    return (made.out / "index.html").read_text()


@pytest.fixture(scope="module")
def reader(page):
    found = Reader()
    found.feed(page)
    assert found.open == []
    return found


def test_needs_nothing_else(page, reader):
    """No script, no address but the name space of SVG, every source inside the file."""
    assert reader.scripts == 0
    assert set(re.findall(r"https?://[^\s\"'<)]+", page)) == {"http://www.w3.org/2000/svg"}
    assert all(source.startswith("data:") for source in reader.sources)
    assert "url(" not in page and "@import" not in page


def test_links_lead_somewhere(reader):
    assert len(reader.ids) == len(set(reader.ids))
    assert {link[1:] for link in reader.links} <= set(reader.ids)


def test_names_are_escaped(page):
    assert "Shapes &amp; labels: a &lt;toy&gt; study" in page
    assert "<toy>" not in page and "<b>&cross" not in page and "&lt;b&gt;&amp;cross" in page
    assert '"note": "&lt;/pre&gt;"' in page.replace("&#34;", '"')


def test_facts_are_on_the_page(made, page):
    facts = json.loads((made.out / "summary.json").read_text())
    for group in facts["groups"]:
        other, base = group["methods"][1], group["baseline"]
        gain = 100 * other["gain"]["teacher"]["AP"]["mean"]
        assert f"{other['method']} against {base}: {gain:+.1f} AP".replace("-", "−") in page
        assert f"gains over <em>{base}</em>" in page
    for run in facts["runs"]:
        assert f"{100 * run['teacher']['AP']:.1f}</td>" in page
    assert "subset <em>test</em>: at most 100 detections an image with a score above 0.05" in page
    assert "Sharing saved 120 steps (17\u2009%)" in page
    for stage in ("split", "burn_in", "polish", "retrain", "evaluate"):
        assert f"<b>{stage}</b>" in page or stage == "split"  # the synthetic split has no provenance


def test_every_baseline_is_gray_and_listed_first(page):
    """Groups of different baselines use the gray of both; the other methods keep their color in all groups."""
    shown = re.findall(r'<span class="swatch colored (m\d)"></span>(\w+)</th>', page)
    colors = [("m0", "supervised"), ("m1", "soft")], [("m0", "supervised_two_views"), ("m2", "mining")]
    assert shown == [*colors[0], *colors[1]] * 2  # table of results, then targets of each group


def test_each_photo_is_stored_once(page):
    stored = re.findall(r'<image id="(photo-[^"]+)" href="data:image/jpeg;base64,([^"]+)"', page)
    assert len(stored) == len({name for name, _ in stored}) >= PARAMS.sheet.images
    for _, content in stored:
        picture = Image.open(io.BytesIO(base64.b64decode(content)))
        assert max(picture.size) <= PARAMS.sheet.long_side_px


def test_figures_are_whole_drawings(made):
    files = sorted((made.out / "figures").iterdir())
    assert any("labels-0" in f.name for f in files) and any("curve-pseudo_boxes" in f.name for f in files)
    for file in files:
        root = ET.parse(file).getroot()
        assert root.tag.endswith("svg") and root.get("viewBox") and root[0].tag.endswith("style")
        assert file.stat().st_size < 200_000
    assert any("image/jpeg" in f.read_text() for f in files if "-image-" in f.name)


def test_same_bytes_again(made, tmp_path):
    build(made.study, made.results, made.params, tmp_path)
    files = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(made.out) for p in made.out.rglob("*") if p.is_file())
    for file in files:
        assert (tmp_path / file).read_bytes() == (made.out / file).read_bytes(), file


@pytest.fixture
def single(tmp_path):
    """One fold of one split: nothing to average."""
    study = synthetic.study(folds=(1,), splits=("percent_10",))
    return study, synthetic.write(tmp_path, study), tmp_path


def made_page(study, results, out, params=PARAMS):
    out.mkdir()
    build(study, results, params, out)
    return (out / "index.html").read_text()


def test_single_runs_claim_no_interval(single):
    study, results, folder = single
    page = made_page(study, results, folder / "out")
    assert "nothing is known of the spread" in page and "±\u2009" not in page


def test_missing_images_leave_the_numbers(single):
    """Results may travel without the data set."""
    study, results, folder = single
    shutil.rmtree(folder / "images")
    page = made_page(study, results, folder / "out")
    assert page.count("file not found") == PARAMS.sheet.images and "data:image" not in page


def test_without_sheet_charts_and_provenance(single):
    """Everything optional can be absent: times are dashes then."""
    study, results, folder = single
    for path in results.rglob("provenance.json"):
        path.unlink()
    sheet = PARAMS.sheet.model_copy(update={"images": 0})
    page = made_page(study, results, folder / "out", PARAMS.model_copy(update={"sheet": sheet, "class_charts": 0}))
    assert "The labels themselves" not in page and "<details" not in page
    facts = json.loads((folder / "out" / "summary.json").read_text())
    assert facts["runs"][0]["seconds"]["retrain"] is None and facts["sharing"]["seconds_saved"] is None


def test_nothing_hidden_and_no_burn_in(tmp_path):
    """A fully labeled split has no label quality; a burn-in of no steps has a history without rows."""
    study = synthetic.study(folds=(1,), splits=("full",))
    results = synthetic.write(tmp_path, study)
    for path in results.glob("burn_in/*/history.tsv"):
        path.write_text("step\n")
    page = made_page(study, results, tmp_path / "out")
    assert "labeled 0 images on which the split hid 0 boxes" in page and "The labels themselves" not in page
    facts = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert facts["runs"][0]["pseudo"]["precision"] is None and facts["sharing"]["steps"] == 2 * 40


def test_group_without_baseline(single):
    study, results, folder = single
    page = made_page(study, results, folder / "out", PARAMS.model_copy(update={"baseline": ("another",)}))
    assert "soft has no baseline run to be compared with" in page and "gains over <em>" not in page
    assert 'class="swatch colored m0"' not in page


def test_undefined_numbers_are_dashes(single):
    study, results, folder = single
    for path in results.glob("evaluate/*/metrics.json"):
        metrics = json.loads(path.read_text())
        metrics["teacher"] = dict.fromkeys(metrics["teacher"])
        path.write_text(json.dumps(metrics))
    page = made_page(study, results, folder / "out")
    assert "soft has no supervised run to be compared with" in page
