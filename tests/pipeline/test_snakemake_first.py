"""The story of checks.py, begun by Snakemake and gone on with by DVC."""

from tests.pipeline.checks import EngineChecks


class TestSnakemakeThenDvc(EngineChecks):
    first, second = "snakemake", "dvc"

    # asked in test_dvc_first.py alone: who begins is no matter there, and each takes a quarter of a minute
    test_a_value_set_back_restores_the_old_result = None
    test_a_comment_runs_only_the_stages_with_that_code = None
    test_changed_parameters_start_anew = None
