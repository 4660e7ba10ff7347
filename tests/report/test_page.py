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


def test_needs_nothing_else(made, page, reader):
    """No script from elsewhere, no address but the name space of SVG; what is not inside the file lies beside it."""
    assert reader.scripts == 1 and "<script>" in page
    assert set(re.findall(r"https?://[^\s\"'<)]+", page)) == {"http://www.w3.org/2000/svg"}
    beside = {source for source in reader.sources if not source.startswith("data:")}
    assert all((made.out / source).is_file() for source in beside) and any("images/" in source for source in beside)
    assert "url(" not in page and "@import" not in page and "fetch(" not in page


def test_links_lead_somewhere(reader):
    assert len(reader.ids) == len(set(reader.ids))
    assert {link[1:] for link in reader.links} <= set(reader.ids)


def test_newer_results_show_more_and_older_ones_do_not(made, page):
    """The first comparison has errors.json and the richer label quality, the second is of an older version."""
    newer, older = page.split('<section id="shapes-')[1:3]
    assert newer.startswith("percent_10") and older.startswith("missing_50")
    for text in (
        "What kind of mistakes",
        "What is taken for what",
        "small objects",
        "right, by score",
        "off by 10",
        "best F1 at",
        "as dense as people at",
        "what could be known without the hidden boxes",
    ):
        assert text in newer and text not in older, text
    results = page.split('<section id="results">')[1]
    assert results.count("AP area") == 1 and "11.1 to 99.9" in page
    assert results.count("AP by frequency of the labels") == 1
    assert results.count("AP of minority and majority classes") == 1
    assert results.count("soft: the averaged weights of 1 of 3 runs end below the burn-in") == 1
    facts = json.loads((made.out / "summary.json").read_text())["groups"]
    assert facts[0]["methods"][0]["more"]["voc"]["AP_area"]["mean"] == 0.25 and facts[1]["methods"][0]["more"] == {}
    assert facts[1]["errors"] is None and facts[1]["labels"]["sizes"] == {} and facts[1]["labels"]["estimate"] is None
    errors = facts[0]["errors"]
    # the third class is confused with none, but there is room for it; the last row and column are background
    assert errors["classes"] == list(synthetic.CLASSES)
    assert errors["confusion"]["soft"] == [[5, 2, 0, 0], [0, 6, 0, 0], [0, 0, 3, 4], [7, 0, 0, 0]]
    assert facts[0]["labels"]["classes"]["ring"]["suggested"] == 0.3
    assert facts[0]["labels"]["all"]["density"] == pytest.approx(0.415)


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
        assert f"<span>{100 * run['teacher']['AP']:.1f}" in page
    assert "subset <em>test</em>: at most 100 detections an image with a score above 0.05" in page
    assert "Sharing saved 120 steps (17\u2009%)" in page
    for stage in ("split", "burn_in", "polish", "retrain", "evaluate"):
        assert f"<b>{stage}</b>" in page or stage == "split"  # the synthetic split has no provenance


def test_every_baseline_is_gray_and_listed_first(page):
    """Groups of different baselines use the gray of both; the other methods keep their color in all groups."""
    shown = re.findall(r'<span class="swatch colored (m\d)"></span>(\w+)</th>', page)
    colors = [("m0", "supervised"), ("m1", "soft")], [("m0", "supervised_two_views"), ("m2", "mining")]
    more = 3 * [*colors[0]]  # only the first group has VOC's numbers and groups of classes
    assert shown == [*colors[0], *more, *colors[1], *colors[0], *colors[1]]  # tables of results, then of targets


def test_each_photo_is_a_file_of_bounded_size(made, page):
    files = {path.name: path for path in (made.out / "images").iterdir()}
    shown = re.findall(r'<image href="images/([^"]+)"', page)
    assert set(shown) == set(files) and len(shown) > len(files) >= 9  # two comparisons share some
    for path in files.values():
        assert max(Image.open(path).size) <= PARAMS.photos.long_side_px
    assert page.count('<a class="zooms" href="images/') == len(shown)


def test_images_start_with_the_most_disagreement(page):
    for sheet in page.split('<div class="sheet" data-by="disagreement">')[1:]:
        panels = re.findall(r'data-place="(\d+)".*?<b>(\d+) wrong · (\d+) missed</b>', sheet.split("</div>")[0], re.S)
        places = [int(place) for place, _, _ in panels]
        errors = [int(wrong) + int(missed) for _, wrong, missed in panels]
        assert places == sorted(places) and places[0] == 1
        assert errors == sorted(errors, reverse=True)  # one method in each comparison: its errors are the sum


def test_figures_are_whole_drawings(made):
    files = sorted((made.out / "figures").iterdir())
    assert any("labels-0" in f.name for f in files) and any("curve-pseudo_boxes" in f.name for f in files)
    for file in files:
        root = ET.parse(file).getroot()
        assert root.tag.endswith("svg") and root.get("viewBox") and root[0].tag.endswith("style")
        assert file.stat().st_size < 200_000


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


def test_single_runs_claim_no_interval_but_that_over_images(single):
    study, results, folder = single
    page = made_page(study, results, folder / "out")
    assert "nothing is known of the spread" in page and "±\u2009" not in page
    results_part = page.split('<section id="results">')[1].split("</section>")[0]
    assert results_part.count("<small>11.1 to 99.9 *</small>") == 4 and "* Of a single run" in results_part
    for path in results.glob("evaluate/*/intervals.json"):  # results of an older version
        path.unlink()
    page = made_page(study, results, folder / "older")
    assert "* Of a single run" not in page and " *</small>" not in page


def test_missing_images_leave_the_numbers(single):
    """Results may travel without the data set."""
    study, results, folder = single
    shutil.rmtree(folder / "images")
    page = made_page(study, results, folder / "out")
    assert page.count("file not found") == 9 and not list((folder / "out" / "images").iterdir())


def test_bounds_of_the_images_hold(single):
    study, results, folder = single
    photos = PARAMS.photos.model_copy(update={"images": 2})
    page = made_page(study, results, folder / "few", PARAMS.model_copy(update={"photos": photos}))
    assert len(list((folder / "few" / "images").iterdir())) == 2
    assert "7 more images were left out" in page
    photos = PARAMS.photos.model_copy(update={"total_mib": 0.005, "images": 9})
    made_page(study, results, folder / "small", PARAMS.model_copy(update={"photos": photos}))
    files = list((folder / "small" / "images").iterdir())
    assert 0 < len(files) < 9 and sum(path.stat().st_size for path in files) <= 0.005 * 2**20


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
    """A fully labeled split has nothing to judge labels by; a burn-in of no steps has a history without rows."""
    study = synthetic.study(folds=(1,), splits=("full",))
    results = synthetic.write(tmp_path, study)
    for path in results.glob("burn_in/*/history.tsv"):
        path.write_text("step\n")
    page = made_page(study, results, tmp_path / "out")
    assert "labels are: no image is without labels" in page and "The labels themselves" not in page
    assert "over the score threshold" not in page and "hidden boxes" not in page and "targets of the" not in page
    facts = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert facts["runs"][0]["pseudo"]["precision"] is None and facts["sharing"]["steps"] == 2 * 40


def test_the_legend_is_there_where_the_first_comparison_has_no_images(tmp_path):
    study = synthetic.study(folds=(1,), splits=("full", "missing_50"))
    page = made_page(study, synthetic.write(tmp_path, study), tmp_path / "out")
    full, missing = page.split('<section id="shapes-')[1:3]
    assert "The labels themselves" not in full and 'id="show-used"' in missing and 'id="show-hidden"' in missing


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
