"""What all tests share."""

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # several test processes share the cores; and sums do not depend on the machine


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data sets beside the checkout (../shared/data), which not every machine has."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared/data is not here: this test needs the real data sets")
    return folder
