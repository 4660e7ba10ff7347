import json
import xml.etree.ElementTree as ET

import pytest

from scantling.report import overview

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str, style: str) -> list[str]:
    return [t.text or "" for t in ET.fromstring(svg).iter(f"{SVG}text") if t.get("class") == style]


def test_a_heading_for_each_comparison_and_a_dot_for_each_pair(made, tmp_path):
    out = tmp_path / "gains.svg"
    overview.main([str(made.out), "--out", str(out)])
    svg = out.read_text()
    summary = json.loads((made.out / "summary.json").read_text())
    assert texts(svg, "heading") == [
        f"{g['data']} {g['split']}: AP over {g['baseline']}" for g in summary["groups"] if len(g["methods"]) > 1
    ]
    compared = [m for g in summary["groups"] for m in g["methods"] if m["gain"]["teacher"]["AP"]]
    assert texts(svg, "name") == [m["method"] for m in compared]
    dots = [d for d in ET.fromstring(svg).iter(f"{SVG}circle")]
    assert len(dots) == sum(m["gain"]["teacher"]["AP"]["n"] for m in compared)
    assert "<style>" in svg and list(tmp_path.iterdir()) == [out]


def test_only_the_methods_that_were_asked_for(made, tmp_path):
    out = tmp_path / "gains.svg"
    overview.main([str(made.out), "--out", str(out), "--methods", "soft"])
    assert set(texts(out.read_text(), "name")) == {"soft"}


def test_a_missing_report_is_named(tmp_path):
    with pytest.raises(SystemExit, match="summary.json: there is no such file; make the report first"):
        overview.main([str(tmp_path), "--out", str(tmp_path / "x.svg")])
