"""What must hold whichever engine comes first: one story, told twice (test_snakemake_first.py, test_dvc_first.py).

The checks share one checkout and run in the order written; each leaves everything up to date. What is the same
whichever comes first is asked once, in test_dvc_first.py.
"""

from __future__ import annotations

import os
import signal

import pytest

from tests.pipeline.toy_project import STAGES, Toy

EVALUATED = {"evaluate@toy-a", "evaluate@toy-b"}


class EngineChecks:
    first: str
    second: str

    @pytest.fixture(scope="class")
    @classmethod
    def toy(cls, tmp_path_factory: pytest.TempPathFactory) -> Toy:
        return Toy.create(tmp_path_factory.mktemp(cls.first) / "toy")

    def nothing_to_do(self, toy: Toy, *engines: str) -> None:
        for engine in engines:
            assert toy.run(engine) == set(), engine

    def test_a_first_run_is_complete_for_both(self, toy: Toy) -> None:
        assert toy.run(self.first) == STAGES
        self.nothing_to_do(toy, self.second, self.first)

    def test_each_stage_ran_its_own_command(self, toy: Toy) -> None:
        for run, rate in (("toy-a", 1), ("toy-b", 2)):
            said = toy.read(f"results/retrain/{run}/model.txt")
            assert said.startswith(f"retrain@{run} {{'rate': {rate}, 'steps': 2}} of prepare@toy of generate@toy"), said
        assert set(toy.read("results/report/two/index.html").split('"')) >= {"toy-a", "toy-b"}

    def test_an_edit_runs_what_depends_on_it(self, toy: Toy) -> None:
        # the second engine has made nothing so far: everything it knows comes from the first
        before = toy.read("results/evaluate/toy-a/metrics.json")
        toy.set("training", a={"rate": 5})
        assert toy.run(self.second) == {"retrain@toy-a", "evaluate@toy-a", "report@two"}
        assert toy.read("results/evaluate/toy-a/metrics.json") != before
        self.nothing_to_do(toy, self.first)
        toy.set("evaluate", threshold=0.25)
        assert toy.run(self.first) == {*EVALUATED, "report@two"}
        self.nothing_to_do(toy, self.second)

    def test_a_value_set_back_restores_the_old_result(self, toy: Toy) -> None:
        toy.set("training", a={"rate": 1})
        toy.set("evaluate", threshold=0.5)
        assert toy.run(self.second) == set()
        assert "'rate': 1" in toy.read("results/evaluate/toy-a/metrics.json")
        self.nothing_to_do(toy, self.first)

    def test_an_edit_inside_a_watched_folder_reaches_through_it(self, toy: Toy) -> None:
        toy.set("generate", scenes=4)
        assert toy.run(self.first) == STAGES
        self.nothing_to_do(toy, self.second)

    def test_a_comment_runs_only_the_stages_with_that_code(self, toy: Toy) -> None:
        script = toy.folder / "stages/evaluate.py"
        script.write_text(script.read_text() + "# a comment\n")
        assert toy.run(self.second) == EVALUATED  # the same numbers: nothing new for the report
        self.nothing_to_do(toy, self.first)

    def test_a_failed_stage_says_why_and_is_redone_alone(self, toy: Toy) -> None:
        toy.flag("fail", True)
        toy.set("training", a={"rate": 7})
        assert toy.run(self.first, fails=True) == {"retrain@toy-a"}
        assert "retrain: work/fail: is there; delete it" in toy.said
        toy.flag("fail", False)
        assert toy.run(self.second) == {"retrain@toy-a", "evaluate@toy-a", "report@two"}
        self.nothing_to_do(toy, self.first)

    @pytest.mark.parametrize("whole", [False, True], ids=["the stage", "stage and engine"])
    def test_a_killed_training_goes_on_under_the_other_engine(self, toy: Toy, whole: bool) -> None:
        steps = 601 if whole else 600  # at 0.2 s each: longer than anything below takes on a busy machine
        toy.flag("slow", True)
        toy.set("training", a={"rate": 8, "steps": steps})
        toy.forget()
        process = toy.start(self.first)
        toy.wait_for(f"work/toy-a-8-{steps}.txt", "3")
        assert "DVC is busy in this checkout" in toy.snakemake("-n", fails=True)
        if whole:
            toy.kill(process)
        else:
            os.kill(int(toy.read("work/pid.txt")), signal.SIGKILL)
            said, _ = process.communicate(timeout=240)
            assert process.returncode != 0, said
        toy.flag("slow", False)
        reached = int(toy.read(f"work/toy-a-8-{steps}.txt"))
        assert reached >= 3
        assert toy.run(self.second) == {f"retrain@toy-a from {reached}", "evaluate@toy-a", "report@two"}
        self.nothing_to_do(toy, self.first)

    def test_changed_parameters_start_anew(self, toy: Toy) -> None:
        (toy.folder / "work/toy-a-8-600.txt").write_text("9")
        toy.set("training", a={"rate": 9, "steps": 600})
        assert toy.run(self.first) == {"retrain@toy-a", "evaluate@toy-a", "report@two"}
