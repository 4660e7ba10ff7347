import re

import pytest

from scantling.report.__main__ import main


def test_table_of_a_report(made, capsys):
    main([str(made.out)])
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert lines[0] == made.study.title
    assert lines[2].split() == "run teacher AP AP50 student AP AP50 gain AP AP50 pseudo P R training".split()
    rows = lines[3 : 3 + len(made.study.runs)]
    assert [row.split()[0] for row in rows] == list(made.study.runs)
    assert len({len(row) for row in rows}) == 1  # aligned
    assert re.search(r"\+\d+\.\d AP  soft against supervised on shapes percent_10, small \(mean of 3\)", shown)
    assert re.search(r"AP  mining against supervised_two_views on shapes missing_50, small \(mean of 3\)", shown)
    assert (
        "gain = averaged weights against supervised_two_views or supervised of the same split, fold and seed" in lines
    )
    assert lines[-1] == f"report: {made.out / 'index.html'}"


def test_missing_report_is_named(tmp_path):
    with pytest.raises(SystemExit, match="summary.json: there is no such file; make the report first"):
        main([str(tmp_path)])
