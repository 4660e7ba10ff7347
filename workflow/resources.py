"""What one stage may use, from params/resources.yaml, as Snakemake and its Slurm executor want it told."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from scantling.params import Params, ParamsError, check

FILE = "params/resources.yaml"
STAGES = (
    "generate", "prepare", "split", "burn_in", "pseudo_label", "adopt", "polish", "retrain", "evaluate", "report",
)  # fmt: skip
OTHER_KEYS = ("default", "force")  # `force`: see the Snakefile


class Resources(Params):
    """All but `runtime` are of one node. What is not given is left to default-resources of slurm/config.yaml."""

    threads: int = Field(ge=1, description="cores")
    mem_mb: int = Field(ge=1, description="memory, MB")
    runtime: int = Field(ge=1, description="longest duration, minutes")
    gpu: int = Field(0, ge=0, description="GPUs, one process each; 0: one process")
    nodes: int = Field(1, ge=1, description="nodes of a cluster; elsewhere one")
    slurm_partition: str | None = None
    slurm_account: str | None = None
    slurm_extra: str = Field("", description="more options of sbatch")

    def for_snakemake(self) -> dict[str, Any]:
        """The rule's `resources`."""
        told = self.model_dump(exclude={"threads", "slurm_extra"}, exclude_none=True)
        extra = self.slurm_extra.split()
        if self.nodes > 1:
            # workflow/launch.py runs srun itself: `mpi` keeps the executor from running all of it through one
            told |= {"mpi": "srun", "tasks": self.nodes}
            extra.append("--ntasks-per-node=1")
            gpu = told.pop("gpu")  # with it `tasks` would mean tasks for each GPU
            extra += [f"--gpus-per-node={gpu}"] if gpu else []
        return told | ({"slurm_extra": " ".join(extra)} if extra else {})


def of(stage: str, table: Mapping[str, Any]) -> Resources:
    """The resources of a stage, called KIND@KEY, out of the file's content."""
    for key in table:
        if key not in (*STAGES, *OTHER_KEYS):
            near = difflib.get_close_matches(key, STAGES, 1)
            raise ParamsError(f"{FILE}: there is no stage `{key}`" + (f"; did you mean `{near[0]}`?" if near else ""))
    kind = stage.partition("@")[0]
    return check(Resources, {**table["default"], **table.get(kind, {})}, f"{FILE}: {kind}")
