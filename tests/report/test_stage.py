"""stages/report.py with its command line."""

import yaml

from scantling.stage import run
from stages.report import report


def test_files_of_the_stage(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments.yaml").write_text(
        yaml.safe_dump({"report": made.study.resolved(), "runs": {}}, sort_keys=False)
    )
    (tmp_path / "report.yaml").write_text(yaml.safe_dump(made.params.resolved()))
    options = {"study": "experiments.yaml:report", "results": made.results, "params": "report.yaml", "out": "out"}
    run(report, [part for name, value in options.items() for part in (f"--{name}", str(value))])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    files = {"index.html", "summary.json", "summary.csv", "classes.csv", "tables.md"}
    assert names == files | {"images", "figures", "provenance.json"}
    for name in files:
        assert (tmp_path / "out" / name).read_bytes() == (made.out / name).read_bytes()
