"""What a stage may use: one file, checked, told to Snakemake; GPUs of one machine go to one job each."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
import yaml

from scantling.params import ParamsError, read
from tests.pipeline.imports import ROOT
from workflow import gpus, resources

TABLE = read(ROOT / resources.FILE)


def test_every_stage_has_resources() -> None:
    assert set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]) == set(resources.STAGES)
    for stage in resources.STAGES:
        one = resources.of(f"{stage}@key", TABLE)
        assert one.nodes == 1 and {"mem_mb", "runtime", "gpu", "nodes"} == set(one.for_snakemake())
    assert resources.of("retrain@key", TABLE).runtime == TABLE["retrain"]["runtime"] > TABLE["default"]["runtime"]


def test_several_nodes_are_one_job_that_starts_the_rest_itself() -> None:
    table = TABLE | {"retrain": {"nodes": 2, "gpu": 4, "slurm_partition": "long", "slurm_extra": "--exclusive"}}
    told = resources.of("retrain@key", table).for_snakemake()
    assert told["mpi"] == "srun" and told["tasks"] == told["nodes"] == 2 and told["slurm_partition"] == "long"
    assert told["slurm_extra"] == "--exclusive --ntasks-per-node=1 --gpus-per-node=4"
    assert "gpu" not in told, "with it the executor takes `tasks` for those of each GPU"
    on_cpus = resources.of("retrain@key", TABLE | {"retrain": {"nodes": 2}}).for_snakemake()
    assert on_cpus["slurm_extra"] == "--ntasks-per-node=1"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"retrain": {"gpus": 1}}, "params/resources.yaml: retrain: unknown parameter `gpus`; did you mean `gpu`?"),
        ({"retrain": {"nodes": 0}}, "`nodes` = 0: input should be greater than or equal to 1"),
        ({"retrian": {"gpu": 1}}, "there is no stage `retrian`; did you mean `retrain`?"),
    ],
)
def test_what_cannot_be_is_said(table: dict, said: str) -> None:
    with pytest.raises(ParamsError) as error:
        resources.of("retrain@key", TABLE | table)
    assert said in str(error.value)


def test_what_the_page_shows_is_valid() -> None:
    shown = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/cluster.md").read_text(), re.S)
    assert len(shown) == 2
    for text in shown:
        for stage in (table := yaml.safe_load(text)):
            assert resources.of(f"{stage}@key", TABLE | table).gpu


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return {"CUDA_VISIBLE_DEVICES": "0,MIG-1/2,5"}


def test_jobs_have_gpus_of_their_own(machine: dict[str, str]) -> None:
    with gpus.taken(2, machine) as first, gpus.taken(1, machine) as second:
        assert first == ["0", "MIG-1/2"] and second == ["5"]
        with gpus.taken(2, machine | {"SLURM_JOB_ID": "7"}) as of_a_cluster:  # Slurm gave it these, maybe renumbered
            assert of_a_cluster == ["0", "MIG-1/2"]
    with gpus.taken(8, machine) as everything:
        assert everything == ["0", "MIG-1/2", "5"], "fewer are there: all of them"


def test_a_job_waits_for_its_gpus(machine: dict[str, str]) -> None:
    seen: list[list[str]] = []

    def other() -> None:
        with gpus.taken(3, machine) as names:
            seen.append(names)

    with gpus.taken(1, machine):
        waits = threading.Thread(target=other)
        waits.start()
        waits.join(0.7)
        assert waits.is_alive() and not seen
    waits.join(20)
    assert seen == [["0", "MIG-1/2", "5"]]


def test_without_gpus_there_is_nothing_to_wait_for(machine: dict[str, str]) -> None:
    for none in ({"CUDA_VISIBLE_DEVICES": ""}, machine | {"SCANTLING_DEVICE": "cpu"}):
        with gpus.taken(2, none) as names:
            assert names == []
