"""What the evaluate stage hands to the label quality: the held-out labels, and the labels of the round before."""

from pathlib import Path

import pandas as pd
import pytest

from scantling import pseudo, pseudo_files
from scantling.data.index import table
from scantling.evaluate.params import EvaluateParams
from stages.evaluate import _quality, _tables
from tests.report import synthetic

PARAMS = EvaluateParams.load(Path(__file__).parents[2] / "params/evaluate.yaml")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, ...]:
    """pseudo_label with held-out labels on subset test, polish of a run, and polish with two labels fewer."""
    folder = tmp_path_factory.mktemp("quality")
    plan = synthetic.study(folds=(1,), splits=("percent_10",))
    results, run = synthetic.write(folder, plan), list(plan.runs.values())[-1]
    made, refined, before = results / "pseudo_label" / run.burn_in_key, results / "polish" / run.key, folder / "before"
    rows = table(pd.read_parquet(made / "pseudo.parquet"), pseudo.COLUMNS)
    pseudo_files.save(made, [rows], 12, synthetic.CLASSES, [rows[:3].assign(image_id=13)], "test", 8)
    labels = pd.read_parquet(refined / "refined.parquet")
    before.mkdir()
    labels.drop(index=labels.index[labels["for_class"]][:2]).to_parquet(before / "refined.parquet")
    return results, made, refined, before, results / "split" / run.split_key


def test_held_out_labels_and_the_round_before(folders) -> None:
    results, made, refined, before, split = folders
    data, index = synthetic.read_index(results), results / "prepare" / "shapes"
    quality = _quality(data, _tables(index, split, made, refined, before), made, PARAMS)
    assert quality["changes"]["all"]["added"] == 2 and quality["changes"]["all"]["removed"] == 0
    assert (quality["estimate"]["subset"], quality["estimate"]["images"], quality["estimate"]["rows"]) == ("test", 8, 3)


def test_a_first_round(folders) -> None:
    results, made, refined, _, split = folders
    data, index = synthetic.read_index(results), results / "prepare" / "shapes"
    for before in (None, refined):
        assert _quality(data, _tables(index, split, made, refined, before), made, PARAMS)["changes"] is None
