import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scantling.detectors.fixed_norm import FixedNorm, conv_norm


@pytest.fixture
def norm():
    made = FixedNorm(5, learned=True)
    with torch.no_grad():
        made.weight.uniform_(-1, 1)
        made.bias.normal_()
        made.running_mean.normal_()
        made.running_var.uniform_(0.01, 2)
    return made


@pytest.mark.parametrize("groups", [1, 5])
def test_folding_changes_neither_values_nor_gradients(norm, groups):
    conv = nn.Conv2d(10, 5, 3, stride=2, padding=1, groups=groups, bias=False)
    x = torch.randn(2, 10, 9, 8, requires_grad=True)
    leaves = [x, conv.weight, norm.weight, norm.bias]
    plain = F.batch_norm(conv(x), norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.epsilon)
    expected = torch.autograd.grad(plain.square().sum(), leaves)
    folded = conv_norm(conv, norm, x)
    torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(torch.autograd.grad(folded.square().sum(), leaves), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max().item())


def test_the_epsilon_is_that_of_torch(norm):
    assert norm.epsilon == nn.BatchNorm2d(1).eps


def test_a_norm_that_is_not_fixed_is_applied_as_it_is():
    conv, trained = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4).train()
    conv_norm(conv, trained, torch.randn(4, 3, 5, 5) + 3)
    assert trained.num_batches_tracked == 1 and trained.running_mean.abs().sum() > 0
