"""Modules that are recognised as the core's networks: torch's own numbers, and nothing of the module's passed over."""

from __future__ import annotations

import gc
import weakref

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch_oracle import nested, worst  # noqa: E402

import ntaylor as nt  # noqa: E402
from ntaylor_backends.torch.sequential import network_of  # noqa: E402

X = torch.linspace(-1, 1, 7, dtype=torch.float64)[:, None]


def sequential(activation=nn.Tanh, **options):
    torch.manual_seed(1)
    layers = nn.Linear(1, 5, **options), activation(), nn.Linear(5, 4), activation(), nn.Linear(4, 2)
    return nn.Sequential(*layers).double()


def gradients(module, d):
    weight = torch.linspace(1, 2, d.numel(), dtype=d.dtype).reshape(d.shape)
    return torch.autograd.grad((d * d * weight).sum(), list(module.parameters()))


@pytest.mark.parametrize("make", [nn.Tanh, nn.Sigmoid, nn.SiLU, nn.GELU, lambda: nn.GELU(approximate="tanh")])
@pytest.mark.parametrize("bias", [True, False])
def test_derivatives_and_gradients_are_torchs(make, bias):
    module = sequential(make, bias=bias)
    assert network_of(module) is not None
    for _ in range(3):  # the first pullback is not by recorded code
        d, expected = nt.derivatives(module, X, 4), nested(module, X, 4)
        assert worst(d, expected) < 1e-13
        for g, e in zip(gradients(module, d), gradients(module, expected), strict=True):
            assert worst(g[None], e[None]) < 1e-12


def test_a_module_is_pushed_as_its_network_is():
    """The very same numbers: the direction that all points share is one row here too."""
    module = sequential()
    network = network_of(module)
    d, of_network = nt.derivatives(module, X, 3), nt.derivatives(network, X, 3)
    assert torch.equal(d, of_network)
    assert type(nt.jet(module, X, 3)) is type(nt.jet(network, X, 3))
    for g, e in zip(gradients(module, d), gradients(module, of_network), strict=True):
        assert torch.equal(g, e)


def test_weights_that_are_no_parameters_are_taken_too():
    module = sequential()
    first = nt.derivatives(module, X, 2)
    weight = module[0].weight.detach() * 1.5
    del module[0].weight
    module[0].weight = weight
    assert worst(nt.derivatives(module, X, 2), nested(module, X, 2)) < 1e-13
    assert not torch.equal(nt.derivatives(module, X, 2), first)


def test_gradients_by_the_points_and_of_gradients():
    module = sequential()
    x = X.clone().requires_grad_()

    def twice(derivatives):
        (once,) = torch.autograd.grad(derivatives[2].sum(), x, create_graph=True)
        return torch.autograd.grad((once**2).sum(), [x, *module.parameters()], allow_unused=True)

    for g, e in zip(twice(nt.derivatives(module, x, 2)), twice(nested(module, x, 2)), strict=True):
        assert (g is None) == (e is None) or not bool((e if g is None else g).any())
        if g is not None and e is not None:
            assert worst(g[None], e[None]) < 1e-12


def test_parameters_that_are_changed_or_put_in_are_seen():
    module = sequential()
    first = nt.derivatives(module, X, 2)
    with torch.no_grad():
        module[0].weight.mul_(2)
    assert worst(nt.derivatives(module, X, 2), nested(module, X, 2)) < 1e-13
    module[2].weight = nn.Parameter(module[2].weight.detach() * 3)
    changed = nt.derivatives(module, X, 2)
    assert worst(changed, nested(module, X, 2)) < 1e-13
    assert not torch.allclose(first, changed)
    swapped = {name: p.detach() * 0.5 for name, p in module.named_parameters()}
    found = nt.derivatives(lambda x: torch.func.functional_call(module, swapped, (x,)), X, 2)
    expected = nested(lambda x: torch.func.functional_call(module, swapped, (x,)), X, 2)
    assert worst(found, expected) < 1e-13


def test_hooks_and_other_modules_run_as_they_are():
    module = sequential()
    seen = []
    handle = module[1].register_forward_hook(lambda *_: seen.append(1))
    assert network_of(module) is None
    nt.derivatives(module, X, 2)
    assert seen
    handle.remove()
    assert network_of(module) is not None

    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    other = nn.Sequential(Doubled(1, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    assert network_of(other) is None
    assert worst(nt.derivatives(other, X, 3), nested(other, X, 3)) < 1e-13
    for plain in (nn.Sequential(), nn.Sequential(nn.Tanh()), nn.Linear(1, 1)):
        assert network_of(plain) is None


def test_points_that_torch_refuses_are_refused_by_torch():
    module = sequential()
    with pytest.raises((RuntimeError, ValueError, TypeError)):
        nt.derivatives(module, torch.ones(3, 2, dtype=torch.float64), 1, torch.ones(2, dtype=torch.float64))
    with pytest.raises(TypeError, match="dtypes were mixed"):
        nt.derivatives(module, X.float(), 1)


def test_without_a_graph_there_is_none():
    module = sequential()
    with torch.no_grad():
        d = nt.derivatives(module, X, 2)
    assert not d.requires_grad
    assert worst(d, nested(module, X, 2)) < 1e-13


def test_a_forward_put_in_is_called():
    module = sequential()
    plain = module[0].forward
    module[0].forward = lambda x: 2 * plain(x)
    assert network_of(module) is None
    assert worst(nt.derivatives(module, X, 2), nested(module, X, 2)) < 1e-13


def test_a_result_written_to_gives_no_wrong_gradient():
    """Where its memory is what the backward pass reads, torch refuses; where it is not, the gradient is right."""
    module = sequential()[:2]
    x = torch.linspace(-1, 1, 600, dtype=torch.float64)[:, None]
    wanted = torch.autograd.grad(2 * nested(module, x[:5], 1).sum(), module[0].weight)[0]
    d = nt.derivatives(module, x[:5], 1)
    (found,) = torch.autograd.grad(d.mul_(2).sum(), module[0].weight)
    assert worst(found[None], wanted[None]) < 1e-12
    pytest.importorskip("numba")
    for _ in range(2):  # the second time by recorded code from the start
        d = nt.derivatives(module, x, 1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            d.mul_(2).sum().backward()


def test_tensors_that_numpy_cannot_read_as_they_are():
    module = sequential()
    negative = torch.complex(X, X).conj().imag
    assert negative.is_neg()
    assert worst(nt.derivatives(module, negative, 2), nested(module, -X, 2)) < 1e-13
    module[2].float()
    with pytest.raises(TypeError, match="dtypes were mixed"):
        nt.derivatives(module, X, 1)


def test_tracers_see_operations():
    from torch.fx.experimental.proxy_tensor import make_fx

    module = sequential()
    with torch.no_grad():
        traced = make_fx(lambda x: nt.derivatives(module, x, 2))(X)
        assert worst(traced(2 * X), nt.derivatives(module, 2 * X, 2)) < 1e-13


def test_what_a_call_put_in_is_not_kept():
    module = sequential()
    weight = torch.ones(5, 1, dtype=torch.float64, requires_grad=True) * 2
    put_in = {**{name: p.detach() for name, p in module.named_parameters()}, "0.weight": weight}
    nt.derivatives(lambda x, put_in=put_in: torch.func.functional_call(module, put_in, (x,)), X, 1)
    seen = weakref.ref(weight)
    del weight, put_in
    gc.collect()
    assert seen() is None


def test_directions_of_many_inputs_are_compressed_behind_the_first_layer():
    """Whatever the number of inputs, no more directions than that layer has outputs; the same numbers and gradients."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(40, 6), nn.Tanh(), nn.Linear(6, 5), nn.SiLU(), nn.Linear(5, 1)).double()
    x = torch.rand(4, 40, dtype=torch.float64)
    found = {}
    for method in ("compressed", "plain"):
        value = nt.laplacian(model, x, method=method)
        found[method] = [value, *torch.autograd.grad((value**2).sum(), list(model.parameters()), allow_unused=True)]
    point = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(point).sum(), point, create_graph=True)
    nested = sum(torch.autograd.grad(slope[:, i].sum(), point, retain_graph=True)[0][:, i] for i in range(40))
    torch.testing.assert_close(found["compressed"][0][:, 0], nested, rtol=1e-12, atol=1e-13)
    for a, b in zip(found["compressed"], found["plain"], strict=True):
        if b is None:
            assert a is None or not a.any()
        else:
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
    held = nt.operators.HardConstraint(model, lambda x: 1 - torch.sum(x * x, dim=-1, keepdim=True))
    torch.testing.assert_close(nt.laplacian(held, x), nt.laplacian(held, x, method="plain"), rtol=1e-11, atol=1e-12)
