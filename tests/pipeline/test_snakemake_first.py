"""The story of checks.py, begun by Snakemake and gone on with by DVC."""

from tests.pipeline.checks import EngineChecks


class TestSnakemakeThenDvc(EngineChecks):
    first, second = "snakemake", "dvc"
