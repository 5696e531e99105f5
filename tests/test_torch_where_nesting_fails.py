"""Modules and functions of torch's own, unchanged, where nested differentiation fails in torch and jets do not.

Each failure is asserted, so that the page for torch can be corrected on the day that torch is.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch_oracle import nested, worst  # noqa: E402

import ntaylor as nt  # noqa: E402

pytestmark = [
    pytest.mark.skipif(not torch.__version__.startswith("2.13"), reason="the failures are those of torch 2.13"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),  # torch.func's own
]

GENERATOR = torch.Generator().manual_seed(4)
ZERO = torch.zeros((), dtype=torch.float64)


def draw(*shape):
    return torch.rand(*shape, dtype=torch.float64, generator=GENERATOR)


A, V, B = draw(3, 3) + 2 * torch.eye(3, dtype=torch.float64), draw(3, 3), draw(3)
SEQUENCE, ALONG = draw(2, 3, 4), draw(2, 3, 4)


def forward_over_forward(f):
    """f″(0) by nested forward mode."""
    return torch.func.jacfwd(torch.func.jacfwd(f))(ZERO)


def apart(found, expected):
    """Whether they differ by more than a tenth of the largest entry."""
    return bool(((found - expected).detach().abs().max() > 0.1 * expected.detach().abs().max()).all())


def encoder_layer():
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, activation="gelu", batch_first=True).double()


def test_an_encoder_layer_has_derivatives_of_every_order():
    """``nn.TransformerEncoderLayer`` as it is, of which torch's own modes give no second derivative.

    Reverse mode has no derivative of the backward of its attention (pytorch #116350, on the CPU #181177), forward
    mode none of its attention (#128971). With the slower attention that torch can be told to use, nested reverse mode
    is the oracle, and nested forward mode is silently wrong (#196700, #198017).
    """
    layer = encoder_layer()
    got = nt.derivatives(layer, SEQUENCE, 4, ALONG)

    def f(t):
        return layer(SEQUENCE + t * ALONG)

    with pytest.raises(RuntimeError, match="flash_attention_for_cpu_backward is not implemented"):
        nested(layer, SEQUENCE, 2, ALONG)
    with pytest.raises(NotImplementedError, match="forward AD with _scaled_dot_product_flash_attention_for_cpu"):
        torch.func.jacfwd(f)(ZERO)
    with sdpa_kernel(SDPBackend.MATH):
        expected = nested(layer, SEQUENCE, 2, ALONG)
        wrong = forward_over_forward(f)
    assert worst(got[:3], expected) < 1e-12
    assert apart(wrong, expected[2])


def written_out(x, shape, weight, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + eps) * weight + bias


def test_training_an_encoder_layer_on_its_second_derivatives(monkeypatch):
    """A residual with u″, and the gradient of every parameter: one forward and one backward pass.

    The oracle needs layer_norm written out as well: its third derivatives by nested reverse mode are wrong.
    """
    layer = encoder_layer()
    parameters = list(layer.parameters())
    loss = (nt.derivatives(layer, SEQUENCE, 2, ALONG)[2] ** 2).mean()
    got = torch.autograd.grad(loss, parameters, allow_unused=True)
    monkeypatch.setattr(F, "layer_norm", written_out)
    with sdpa_kernel(SDPBackend.MATH):
        expected = torch.autograd.grad(
            (nested(layer, SEQUENCE, 2, ALONG)[2] ** 2).mean(), parameters, allow_unused=True
        )
    for g, e in zip(got, expected, strict=True):
        torch.testing.assert_close(g, torch.zeros_like(g) if e is None else e, rtol=1e-9, atol=1e-11)


SILENTLY_WRONG = {
    "linalg.solve (pytorch #196695)": lambda t: torch.linalg.solve(A + t * V, B),
    "linalg.det (pytorch #196696)": lambda t: torch.linalg.det(A + t * V),
    "linalg.slogdet (pytorch #192540)": lambda t: torch.linalg.slogdet(A + t * V).logabsdet,
    "layer_norm (pytorch #196700)": lambda t: F.layer_norm(A + t * V, (3,)),
}


@pytest.mark.parametrize("name", SILENTLY_WRONG)
def test_where_nested_forward_mode_is_silently_wrong(name):
    """The umbrella issue is pytorch #198017. Nested reverse mode is right to order 2 for all of these."""
    f = SILENTLY_WRONG[name]
    expected = nested(f, ZERO, 2)
    assert worst(nt.derivatives(f, ZERO, 2), expected) < 1e-13
    assert apart(forward_over_forward(f), expected[2])


def test_cumulative_products_at_a_zero_factor():
    """Pytorch #196701: the second derivative of this polynomial is 144, nested forward mode gives 68."""

    def f(t):
        x = torch.stack((t, t + 1, 2 - t, t - 1, 2 * t + 1, t + 3)).reshape(2, 3)
        weights = torch.arange(1, 7, dtype=torch.float64).reshape(2, 3)
        return (torch.cumprod(x, dim=-1) * weights).sum()

    one = torch.ones((), dtype=torch.float64)
    assert float(nt.derivatives(f, one, 2)[2]) == 144.0
    assert float(torch.func.jacfwd(torch.func.jacfwd(f))(one)) == 68.0


def test_determinants_are_polynomials():
    """Of ones, (t + 2)(2t + 3) − 1: the second derivative is 4 exactly, and all others after it 0."""

    def f(t):
        one = torch.ones((), dtype=torch.float64)
        return torch.det(torch.stack((torch.stack((t + 2, one)), torch.stack((one, 2 * t + 3)))))

    got = nt.derivatives(f, torch.tensor(0.7, dtype=torch.float64), 5)
    torch.testing.assert_close(got[2:], torch.tensor([4.0, 0, 0, 0]).double(), rtol=1e-14, atol=1e-14)
