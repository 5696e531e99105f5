"""Torch's modules of attention, recurrence, images and parametrisations on jets, and gradients through them.

The oracle is nested reverse mode in float64, with attention in its mathematical form, the only one that torch
differentiates twice.
"""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from test_torch_more_functions import IMAGES, KERNELS, A, V, X, draw, draw_once, regular, spd, spread  # noqa: E402
from torch import nn  # noqa: E402
from torch_oracle import nested, worst  # noqa: E402

import ntaylor as nt  # noqa: E402

IMAGE = draw(2, 4, 6)


class Attending(nn.Module):
    """Attention of one sequence to another, its weights in the loss too."""

    def __init__(self, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, **options)

    def forward(self, x):
        result, weights = self.attention(x, torch.cos(x), x * x, attn_mask=LOWER)
        return result + (weights**2).sum()


LOWER = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1)
NO_DROPOUT = {"dim_feedforward": 5, "dropout": 0.0, "batch_first": True}
MODULES = {
    "MultiheadAttention": lambda: Attending(batch_first=True),
    "MultiheadAttention, more keys": lambda: Attending(batch_first=True, add_bias_kv=True, add_zero_attn=True),
    "MultiheadAttention in eval": lambda: Attending(batch_first=True, dropout=0.2, kdim=6, vdim=6, bias=False).eval(),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(6, 2, **NO_DROPOUT, norm_first=True),
    "TransformerEncoder": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(6, 3, **NO_DROPOUT, activation="gelu"), 2, enable_nested_tensor=False
    ).eval(),
    "Conv1d": lambda: nn.Conv1d(4, 3, 3, padding=1, padding_mode="circular"),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(4, 2, 2, stride=2),
    "CosineSimilarity": lambda: Twice(nn.CosineSimilarity(dim=2)),
    "GRU": lambda: First(nn.GRU(6, 3, num_layers=2, batch_first=True, bidirectional=True)),
    "LSTM": lambda: First(nn.LSTM(6, 3, num_layers=2)),
    "RNN": lambda: First(nn.RNN(6, 3, bias=False)),
    "GRUCell": lambda: Cell(nn.GRUCell(6, 6)),
    "LSTMCell": lambda: Cell(nn.LSTMCell(6, 6)),
    "RNNCell": lambda: Cell(nn.RNNCell(6, 6)),
    "MaxPool1d": lambda: nn.MaxPool1d(2),
    "AdaptiveAvgPool1d": lambda: nn.AdaptiveAvgPool1d(4),
    "Upsample": lambda: nn.Upsample(scale_factor=2, mode="linear"),
    "PairwiseDistance": lambda: Twice(nn.PairwiseDistance()),
    "orthogonal": lambda: nn.utils.parametrizations.orthogonal(nn.Linear(6, 6)),
    "spectral_norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(6, 4)).eval(),
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)),
    "MSELoss": lambda: Twice(nn.MSELoss()),
    "HuberLoss": lambda: Twice(nn.HuberLoss(reduction="none")),
}


class Twice(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(torch.sin(x), 2 + x * x)


class First(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        result, last = self.inner(x)
        return result * sum(h.sum() for h in (last if isinstance(last, tuple) else (last,)))


class Cell(First):
    def forward(self, x):
        h = self.inner(x[0])
        return self.inner(x[1], h)[0] if isinstance(h, tuple) else self.inner(x[1], h)


def by_simple_operations(function):
    """Nested reverse mode with attention in its mathematical form, which alone torch differentiates twice."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return function()


def simple_layer_norm(x, shape, weight=None, bias=None, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + eps) * weight + bias


def made(name):
    torch.manual_seed(2)
    module = MODULES[name]().double()
    for p in module.parameters():
        nn.init.uniform_(p, -0.5, 0.5)
    return module


@pytest.mark.parametrize("name", MODULES)
def test_modules(name, monkeypatch):
    """To order 3; layer_norm, whose nested derivatives are wrong in torch from order 3, written out for the oracle."""
    module, direction = made(name), draw_once(*IMAGE.shape)
    got = nt.derivatives(module, IMAGE, 3, direction)
    torch.testing.assert_close(got[0], module(IMAGE), rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(F, "layer_norm", simple_layer_norm)
    expected = by_simple_operations(lambda: nested(lambda x: module(x).sum(-1) if "Transf" in name else module(x),
                                                   IMAGE, 3, direction))  # fmt: skip
    assert worst(got.sum(-1) if "Transf" in name else got, expected) < 1e-11


# --- gradients ----------------------------------------------------------------------------------

LEARNT = {
    "solve": lambda x, p: torch.linalg.solve(regular(x) + p * x, p),
    "inv": lambda x, p: torch.linalg.inv(regular(p * x)),
    "cholesky": lambda x, p: torch.linalg.cholesky(spd(x + p)),
    "eigh": lambda x, p: torch.linalg.eigvalsh(spread(x * p)),
    "det": lambda x, p: torch.linalg.det(x + p),
    "attention": lambda x, p: F.scaled_dot_product_attention(x @ p, x, p, is_causal=True),
    "conv": lambda x, p: F.conv1d(torch.sin(x)[None], p[:, :, None], padding=1),
    "fft": lambda x, p: torch.fft.rfft(x * p).abs(),
}


@pytest.mark.parametrize("name", LEARNT)
def test_gradients(name):
    """Of the sum of all derivatives to order 3, by a parameter."""
    f = LEARNT[name]

    def gradient(derivatives):
        p = A.clone().requires_grad_()
        return torch.autograd.grad((derivatives(lambda x: f(x, p)) ** 2).sum(), p)[0]

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = gradient(lambda f: nested(f, X, 3, V))
    got = gradient(lambda f: nt.derivatives(f, X, 3, V))
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11 * float(expected.abs().max()))


def test_a_query_that_may_attend_to_nothing():
    """Zeros, as torch gives, and neither NaN derivatives nor NaN gradients."""
    mask = torch.tensor([[True, True], [False, False]])
    p = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    x, v = draw(2, 2), draw(2, 2)
    for kind in (mask, torch.zeros(2, 2).double().masked_fill(~mask, -math.inf)):
        got = nt.derivatives(lambda x, m=kind: F.scaled_dot_product_attention(x * p, x, x, attn_mask=m), x, 3, v)
        assert not got[:, 1].detach().any()
        assert torch.isfinite(torch.autograd.grad(got.sum(), p)[0]).all()


def test_jets_of_jets_through_a_convolution():
    """Mixed derivatives: a jet of one call is the image, that of another the kernel."""
    kernel, image = KERNELS[1][:, :, :1], IMAGES[1]

    def outer(s):
        inner = nt.derivatives(lambda t: F.conv1d(image * t * t, kernel * s**3), torch.ones(()).double(), 2)
        return inner[2]

    got = nt.derivatives(outer, torch.ones(()).double() * 2, 2)[2]
    torch.testing.assert_close(got, F.conv1d(image * 2, kernel * 12))


CHECKED = {
    "attention": lambda: nn.TransformerEncoderLayer(6, 2, **NO_DROPOUT),
    "instance_norm": lambda: nn.InstanceNorm1d(4, affine=True),
    "logcumsumexp": lambda: Logarithms(),
}


class Logarithms(nn.Module):
    def forward(self, x):
        return torch.logcumsumexp(x, 1)


@pytest.mark.parametrize("name", CHECKED)
def test_check_does_not_take_torchs_errors_for_ours(name):
    """Where torch's nested derivatives fail, ``nt.check`` compares with what it wrote out for itself."""
    torch.manual_seed(5)
    assert nt.check(CHECKED[name]().double(), IMAGE, 3, draw_once(*IMAGE.shape)).ok
