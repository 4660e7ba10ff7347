"""The story of checks.py, begun by DVC and gone on with by Snakemake."""

from tests.pipeline.checks import EngineChecks


class TestDvcThenSnakemake(EngineChecks):
    first, second = "dvc", "snakemake"
