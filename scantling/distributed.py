"""placeholder of the worktree: replaced by the engine's module"""

from torch import Tensor


def mean(value: Tensor) -> Tensor:
    return value


def total(value: Tensor) -> Tensor:
    return value
