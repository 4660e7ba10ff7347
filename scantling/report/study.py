"""Which runs a report compares, and where each stage of a run lies under results/."""

from __future__ import annotations

from pydantic import Field

from scantling.params import Params


class Run(Params):
    """One row of a study. Names are those of the files in params/."""

    data: str
    split: str
    fold: int = Field(ge=0)
    detector: str
    training: str
    method: str
    seed: int = Field(ge=0)
    after: str | None = None  # run whose model made the pseudo labels (rounds); None: the burn-in's did
    teacher: str | None = None  # the foreign model's labels under pseudo_label, where there are such
    burn_in: str | None = None  # the key of another training's burn-in that is the same; None: the run's own

    @property
    def pseudo_key(self) -> str:
        return self.teacher or self.after or self.burn_in_key

    @property
    def split_key(self) -> str:
        return f"{self.data}-{self.split}-f{self.fold}"

    @property
    def burn_in_key(self) -> str:
        return self.burn_in or f"{self.split_key}-{self.detector}-{self.training}-s{self.seed}"

    @property
    def key(self) -> str:
        return f"{self.split_key}-{self.detector}-{self.training}-{self.method}-s{self.seed}"

    @property
    def group(self) -> tuple[str, str, str, str]:
        """Runs of one group are compared with each other: they differ in method, fold and seed only."""
        return self.data, self.split, self.detector, self.training


class StudyParams(Params):
    """The section that a report is made of: its name, its title and its runs by key."""

    name: str
    title: str
    runs: dict[str, Run] = Field(min_length=1)
