"""What all tests share."""

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # several test processes share the cores; and sums do not depend on the machine

# minutes each, begun first: last, they would keep one process busy alone
LONGEST = (
    "tests/pipeline/test_whole.py",
    "tests/test_own_data.py",
    "tests/pipeline/test_slurm.py",
    "tests/faults/",
    "tests/pipeline/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda i: next((n for n, start in enumerate(LONGEST) if i.nodeid.startswith(start)), len(LONGEST)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data sets beside the checkout (../shared/data), which not every machine has."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared/data is not here: this test needs the real data sets")
    return folder
