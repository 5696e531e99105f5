"""Torch functions, tensor methods and modules on jets, against nested reverse mode in float64."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import mpmath
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402
from torch_oracle import nested, worst  # noqa: E402

import ntaylor as nt  # noqa: E402

GENERATOR = torch.Generator().manual_seed(0)


def draw(*shape):
    return torch.rand(*shape, dtype=torch.float64, generator=GENERATOR) * 1.6 - 0.8


X = draw(3, 4)
V = draw(3, 4)
W = draw(4, 4)

UNARY = """
acos arccos arcsin arcsinh arctan arctanh asin asinh atan atanh ceil cos cosh deg2rad erf erfc exp
exp2 expm1 fix floor log log10 log1p log2 neg negative rad2deg reciprocal round rsqrt sigmoid sign sin sinh sqrt square
tan tanh trunc abs absolute positive logit""".split()  # noqa: SIM905

FUNCTIONS = {
    "acosh": lambda x: torch.acosh(x + 2),
    "arccosh": lambda x: torch.arccosh(x + 2),
    "add alpha": lambda x: torch.add(x, x * x, alpha=3) - torch.sub(x, W[:3], alpha=0.5),
    "addcmul": lambda x: torch.addcmul(x, x, x * x, value=0.5) + torch.addcdiv(x, x, 2 + x, value=0.3),
    "addmm": lambda x: torch.addmm(x, x, W, beta=0.5, alpha=2),
    "amax": lambda x: x.amax(1) + torch.amin(x, dim=0).sum(),
    "atan2": lambda x: torch.atan2(x, 2 + x * x) + torch.hypot(x, 1 + x),
    "bilinear": lambda x: F.bilinear(x, x * x, draw_once("bilinear", 2, 4, 4), draw_once("b", 2)),
    "bmm": lambda x: torch.bmm(x.reshape(1, 3, 4), W[None] * x[0, 0]),
    "cat": lambda x: torch.cat([x, x * x, torch.ones_like(x)], dim=-1).sum(0) + torch.concat((x, x), 1)[0, :1],
    "chunk": lambda x: torch.chunk(x * x, 2, dim=1)[1] * x.chunk(3)[0][:, :2],
    "clamp": lambda x: x.clamp(-0.3, 0.3) + torch.clamp(x, min=0.1) * x.clamp_max(0.2) + torch.clip(x, max=0.0),
    "column_stack": lambda x: torch.column_stack((x[:, 0], x * x)),
    "cross": lambda x: torch.cross(x[:, :3], torch.sin(x[:, 1:]), dim=1) + torch.linalg.cross(x[:, :3], x[:, 1:]),
    "cumsum": lambda x: torch.cumsum(x * x, dim=1) + x.cumsum(0),
    "detach": lambda x: x * x.detach() + x,
    "diag": lambda x: torch.diag(x @ W.T, 1) * torch.trace(x @ x.T) + torch.diagonal(x, offset=1),
    "diff": lambda x: torch.diff(x**2, dim=0),
    "div": lambda x: torch.div(x, 2 + x) + x.true_divide(1.5) + torch.div(x, 0.3, rounding_mode="floor"),
    "einsum": lambda x: torch.einsum("bi,ij,bj->b", x, W, x * x) + torch.einsum("bi->b", x),
    "einsum outer": lambda x: torch.einsum("bi,bj->bij", x, x).sum(-1) + torch.einsum("bi, ji -> bj", (x, W)),
    "einsum ellipsis": lambda x: torch.einsum("...i,ij->...j", x, W) + torch.einsum("b...,...->b", x, x[0])[:, None],
    "einsum implicit": lambda x: torch.einsum("ba,ac", x, W) * torch.einsum("ji", x)[0, 0],
    "fmod": lambda x: torch.fmod(x, 0.3) * x + (3 * x).frac() * x,
    "masked_select": lambda x: torch.masked_select(x, X > 0) ** 2,
    "baddbmm": lambda x: torch.baddbmm(x[None], x[None], W[None], beta=0.5),
    "expand": lambda x: x[:, :1].expand(3, 4) * x[:1].expand_as(x) + x[0].expand(3, -1),
    "flatten": lambda x: torch.flatten(x * x) + x.flatten(0, 1) + x.ravel(),
    "flip": lambda x: x.flip(0, 1) * torch.flip(x, dims=(1,)) + x.roll(1, 0) * torch.roll(x, 2),
    "float power": lambda x: torch.float_power(2 + x, 1.5),
    "functional linear": lambda x: F.linear(x, W, W[0]) + F.linear(x, W),
    "glu": lambda x: F.glu(x, dim=1),
    "index": lambda x: x[:, 1] * x[..., -1] + x[torch.tensor([0, 1, 2]), 0] + torch.index_select(x, 1, IDX)[:, 0],
    "lerp": lambda x: torch.lerp(x, x * x, 0.3),
    "linalg norm": lambda x: torch.linalg.norm(x, dim=1) + torch.linalg.vector_norm(x, dim=1) + torch.norm(x),
    "log_softmax": lambda x: torch.log_softmax(x, -1) + F.log_softmax(x, dim=0),
    "logaddexp": lambda x: torch.logaddexp(x, x * x),
    "logsumexp": lambda x: torch.logsumexp(x, dim=1) + x.logsumexp(1, keepdim=True)[:, 0],
    "masked_fill": lambda x: x.masked_fill(x > 0.3, 0.0) * torch.where(x < 0, x, x**3),
    "matmul": lambda x: torch.matmul(x, W) @ W + W[:3] @ (x.T @ x) + x.mm(W),
    "matrix vector": lambda x: torch.mv(W, x[0]) + x[0] @ W + torch.dot(x[0], x[1]) + torch.inner(x[1], x[2]),
    "max": lambda x: torch.max(x, dim=1).values * x.min(0)[0].sum() + x.max() + torch.max(x, x * x).sum(),
    "max keepdim": lambda x: x.max(1, keepdim=True).values + torch.maximum(x, x * x) - torch.minimum(x, V),
    "mean": lambda x: x.mean() + torch.mean(x * x, dim=(0, 1)) + x.mean(0, keepdim=True).sum(),
    "methods": lambda x: x.sin().mul(2).add(1).pow(2).sub(0.5).div(3).neg().exp(),
    "narrow": lambda x: x.narrow(1, 1, 2) * x.select(1, 0)[:, None],
    "normalize": lambda x: F.normalize(x, dim=1),
    "numpy words": lambda x: torch.sum(x * x, axis=1, keepdims=True) + x.mean(axis=0),
    "operators": lambda x: 1 - 2 * x / (3 + x) + (-x) ** 2 + abs(x) + V / (2 + x) - V + V**2 * x - x % 0.7,
    "outer": lambda x: torch.outer(x[0], x[1]),
    "permute": lambda x: x.permute(1, 0) + torch.permute(x * x, (1, 0)) + x.t() * x.T + x.mT + x.transpose(0, -1),
    "powers": lambda x: x**3 + (2 + x) ** -1.5 + 2.0**x + torch.pow(x, 2) + (2 + x) ** x + torch.pow(1.5, x),
    "rsub": lambda x: torch.rsub(x, 2) + torch.rsub(x, V, alpha=0.5),
    "prod": lambda x: torch.prod(x, dim=1) + x.prod(),
    "repeat": lambda x: x.repeat(2, 1, 1)[0] + x.tile((1, 2))[:, :4] + x.repeat_interleave(2, dim=1)[:, :4],
    "reshape": lambda x: x.view(4, 3) + x.reshape((4, 3)) * x.view(-1)[0] + x.reshape(-1, 3),
    "shapes": lambda x: x.view(x.size(0), -1) * x.numel() + x.dim() + x.size()[1] + x.shape.numel() + x.new_zeros(4),
    "softmax": lambda x: torch.softmax(x, dim=1) * x.softmax(-1) + F.softmax(x, dim=0) + F.softmin(x, dim=1),
    "split": lambda x: torch.split(x * x, 3, dim=1)[0] + x.split([3, 1], 1)[0],
    "stack": lambda x: torch.stack([x, x * x], dim=1).sum(1) + torch.hstack([x, x])[:, :4] + torch.vstack([x, x])[:3],
    "std": lambda x: x.std(1) + torch.var(x, dim=1) + x.var() + torch.std(x, 1, correction=0),
    "std legacy": lambda x: x.var(1, unbiased=False) + x.std(1, False),
    "sum": lambda x: torch.sum(x * x, dim=-1) + x.sum(1) + x.sum(),
    "take": lambda x: torch.take(x * x, IDX),
    "tensordot": lambda x: torch.tensordot(x, W, dims=1) + torch.tensordot(x, W, dims=([1], [0])),
    "to": lambda x: x.to(torch.float64).double().type_as(V) * x.to(V) + x.contiguous().clone(),
    "tril": lambda x: torch.tril(x * x) + x.triu(1),
    "unbind": lambda x: torch.unbind(x, 1)[2] * [*x.T][1],
    "unflatten": lambda x: x.unflatten(1, (2, -1)).squeeze() * x.unsqueeze(-1)[:, :2].squeeze(-1)[:, None],
    "vecdot": lambda x: torch.linalg.vecdot(x, x * x) + torch.vdot(x[0], x[1]),
    "attention": lambda x: F.scaled_dot_product_attention(x[None], x[None] * 2, torch.sin(x)[None], is_causal=True),
}  # fmt: skip
IDX = torch.tensor([2, 0, 3])
_DRAWN: dict = {}


def draw_once(name, *shape):
    return _DRAWN.setdefault(name, draw(*shape))


@pytest.mark.parametrize("name", UNARY)
def test_elementwise_functions(name):
    """torch.f(x) and x.f() agree with nested reverse mode to order 4."""
    x = X.abs() * 0.8 + 0.1
    function = getattr(torch, name)
    expected = nested(function, x, 4, V)
    assert worst(nt.derivatives(function, x, 4, V), expected) < 1e-11
    if hasattr(torch.Tensor, name):
        assert worst(nt.derivatives(lambda x: getattr(x, name)(), x, 4, V), expected) < 1e-11


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    expected = nested(FUNCTIONS[name], X, 4, V)
    assert worst(nt.derivatives(FUNCTIONS[name], X, 4, V), expected) < 1e-11


@pytest.mark.parametrize("name", ["erf", "expit", "logsumexp", "ndtr", "softmax", "log_softmax"])
def test_special_functions(name):
    arguments = (1,) if name in ("logsumexp", "softmax", "log_softmax") else ()
    function = lambda x: getattr(torch.special, name)(x, *arguments)  # noqa: E731
    assert worst(nt.derivatives(function, X, 3, V), nested(function, X, 3, V)) < 1e-11


def test_sinc():
    """Against mpmath, at 0 and on both sides of where its form changes."""
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    got = nt.derivatives(torch.sinc, x, 8)
    with mpmath.workdps(50):
        series = [mpmath.taylor(lambda t: mpmath.sincpi(t), mpmath.mpf(a), 8) for a in x.tolist()]
        expected = torch.tensor(
            [[float(s[k] * mpmath.factorial(k)) for s in series] for k in range(9)], dtype=torch.float64
        )
    assert worst(got, expected) < 1e-13


def test_tails():
    """Where 1 − erf, 1 + erf and a + softplus(b − a) have no digit left."""
    x = torch.tensor([-9.0], dtype=torch.float64)
    for f, expected in (
        (lambda x: torch.erfc(-x), torch.erfc(-x)),
        (torch.special.ndtr, torch.erfc(-x / 2**0.5) / 2),
        (lambda x: torch.logaddexp(4 * x, torch.zeros_like(x)), torch.log1p(torch.exp(4 * x))),
    ):
        torch.testing.assert_close(nt.derivatives(f, x, 2)[0], expected, rtol=1e-13, atol=0)


MODULES = {
    "Bilinear": lambda: Twice(nn.Bilinear(4, 4, 3)),
    "CELU": lambda: nn.CELU(0.7),
    "Dropout": lambda: nn.Dropout(0.3).eval(),
    "ELU": lambda: nn.ELU(0.6),
    "ELU 1": nn.ELU,
    "Flatten": lambda: nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (2, 6))),
    "GELU": nn.GELU,
    "GELU tanh": lambda: nn.GELU(approximate="tanh"),
    "GLU": nn.GLU,
    "GroupNorm": lambda: nn.GroupNorm(2, 4),
    "BatchNorm1d": lambda: nn.BatchNorm1d(4).eval(),
    "Hardshrink": lambda: nn.Hardshrink(0.2),
    "Hardsigmoid": nn.Hardsigmoid,
    "Hardswish": nn.Hardswish,
    "Hardtanh": lambda: nn.Hardtanh(-0.4, 0.5),
    "Identity": nn.Identity,
    "LayerNorm": lambda: nn.LayerNorm(4),
    "LayerNorm 2": lambda: nn.LayerNorm((3, 4), elementwise_affine=False),
    "LeakyReLU": lambda: nn.LeakyReLU(0.2),
    "Linear": lambda: nn.Linear(4, 5),
    "Linear no bias": lambda: nn.Linear(4, 5, bias=False),
    "LogSigmoid": nn.LogSigmoid,
    "LogSoftmax": lambda: nn.LogSoftmax(dim=1),
    "Mish": nn.Mish,
    "PReLU": nn.PReLU,
    "PReLU channels": lambda: nn.PReLU(4),
    "RMSNorm": lambda: nn.RMSNorm(4),
    "RReLU": lambda: nn.RReLU().eval(),
    "ReLU": nn.ReLU,
    "ReLU in place": lambda: Ignoring(nn.ReLU(inplace=True)),
    "ReLU6": nn.ReLU6,
    "SELU": nn.SELU,
    "SiLU": nn.SiLU,
    "SiLU in place": lambda: nn.SiLU(inplace=True),
    "Sigmoid": nn.Sigmoid,
    "Softmax": lambda: nn.Softmax(dim=-1),
    "Softmin": lambda: nn.Softmin(dim=-1),
    "Softplus": lambda: nn.Softplus(beta=2.0, threshold=1.0),
    "Softplus 1": nn.Softplus,
    "Softshrink": lambda: nn.Softshrink(0.1),
    "Softsign": nn.Softsign,
    "Tanh": nn.Tanh,
    "Tanhshrink": nn.Tanhshrink,
    "Threshold": lambda: nn.Threshold(0.1, 0.4),
}


class Twice(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x, x * x)


class Ignoring(nn.Module):
    """Uses what an in-place module did to its argument, not what it returned."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        y = x * 1.0
        self.inner(y)
        return y * x


def written_out_layer_norm(module, x):
    axes = tuple(range(-len(module.normalized_shape), 0))
    centred = x - x.mean(axes, keepdim=True)
    same = centred / torch.sqrt((centred * centred).mean(axes, keepdim=True) + module.eps)
    return same if module.weight is None else same * module.weight + module.bias


# Where torch's own higher derivatives are wrong or missing, the module written with simpler operations.
WRITTEN_OUT = {
    # its backward rounds 1/α to float32
    "CELU": lambda m, x: torch.where(x > 0, x, m.alpha * torch.expm1(x / m.alpha)),
    "Hardsigmoid": lambda m, x: torch.clamp(x / 6 + 0.5, 0, 1),  # not differentiable twice
    "LayerNorm": written_out_layer_norm,  # nested autograd is wrong from order 3: see the test below
    "LayerNorm 2": written_out_layer_norm,
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    torch.manual_seed(3)
    module = MODULES[name]().double()
    for p in module.parameters():
        nn.init.uniform_(p, 0.2, 0.9)
    got = nt.derivatives(module, X, 4, V)
    simple = WRITTEN_OUT.get(name, lambda m, x: m(x))
    assert worst(got, nested(lambda x: simple(module, x), X, 4, V)) < 1e-11
    torch.testing.assert_close(got[0], module(X), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", ["LayerNorm", "LayerNorm 2", "CELU"])
def test_check_does_not_take_torchs_errors_for_ours(name):
    module = MODULES[name]().double()
    for p in module.parameters():
        nn.init.uniform_(p, 0.2, 0.9)
    assert nt.check(module, X, 4, V).ok


def test_layer_norm_is_right_where_nested_autograd_is_not():
    """A third opinion on the third derivative, by differences of the second; the page for torch says so."""
    step = 1e-4
    module = nn.LayerNorm(4).double()
    second = [nt.derivatives(module, X + s * step * V, 2, V)[2] for s in (-1, 1)]
    by_differences = (second[1] - second[0]) / (2 * step)
    torch.testing.assert_close(nt.derivatives(module, X, 3, V)[3], by_differences, rtol=1e-5, atol=1e-5)
