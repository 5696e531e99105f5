"""Gradients of derivatives in torch: one backward, two backwards, torch.func, and nt.value_and_grad."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import gc
import weakref

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.autograd import forward_ad, gradcheck, gradgradcheck  # noqa: E402
from torch_oracle import nested  # noqa: E402

import ntaylor as nt  # noqa: E402

torch.manual_seed(0)
X = torch.rand(5, 1, dtype=torch.float64) * 2 - 1
TORCHS_OWN = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # the first forward mode of a process
ACTIVATIONS = ["tanh", "gelu", "silu", "softplus", "sin", "sigmoid", "snake", "adaptive_tanh", "mish", "gelu_tanh"]


def network(activation="tanh", widths=(1, 4, 3, 1), seed=1, **options):
    net = nt.MLP.create(widths, activation, xp=torch, dtype=torch.float64, seed=seed, **options)
    return net.replace({name: p.requires_grad_() for name, p in net.parameters.items()})


def by_hand(parameters, x):
    """The network of ``network()`` with tanh, in torch's own operations."""
    for i in (0, 2):
        x = torch.tanh(x @ parameters[f"{i}.weight"] + parameters[f"{i}.bias"])
    return x @ parameters["4.weight"] + parameters["4.bias"]


def sequential(activation=nn.Tanh):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(1, 4), activation(), nn.Linear(4, 3), activation(), nn.Linear(3, 1)).double()


def loss_of(derivatives):
    u, du, ddu, *rest = derivatives
    return ((ddu + u * du) ** 2).mean() + sum((r * r).mean() for r in rest)


def relative(got, expected):
    return max(float((g - e).abs().max() / e.abs().max()) for g, e in zip(got, expected, strict=True))


def test_a_networks_gradients_are_those_of_nested_autograd():
    net = network()
    parameters = list(net.parameters.values())
    got = torch.autograd.grad(loss_of(nt.derivatives(net, X, 4)), parameters)
    expected = torch.autograd.grad(loss_of(nested(lambda x: by_hand(net.parameters, x), X, 4)), parameters)
    assert relative(got, expected) < 1e-12


@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU, nn.SiLU, nn.Softplus, nn.Sigmoid, nn.Mish])
def test_a_modules_parameters_receive_grad(activation):
    """From .backward(), the same as nested autograd gives, and the state_dict is what it was."""
    model = sequential(activation)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    expected = torch.autograd.grad(loss_of(nested(model, X, 4)), list(model.parameters()))
    loss_of(nt.derivatives(model, X, 4)).backward()
    assert relative([p.grad for p in model.parameters()], expected) < 1e-11
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(before[name], p) for name, p in model.state_dict().items())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_first_and_second_backward_agree_with_differences(activation):
    """gradcheck and gradgradcheck of a whole network: parameters, learnable ones included, and x."""
    net = network(activation, (1, 3, 1))
    x = X[:2].clone().requires_grad_()

    def derivatives(x, *parameters):
        return nt.derivatives(net.replace(dict(zip(net.parameters, parameters, strict=True))), x, 3)

    inputs = (x, *net.parameters.values())
    assert gradcheck(derivatives, inputs)
    assert gradgradcheck(derivatives, inputs)


@pytest.mark.parametrize("activation", [torch.tanh, torch.sigmoid, nn.functional.gelu, torch.sin, torch.log])
def test_activations_of_functions_are_differentiable_twice(activation):
    x = (X[:2] + 2).requires_grad_()
    direction = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)

    def derivatives(x, direction):
        return nt.derivatives(lambda x: activation(x * x), x, 3, direction)

    assert gradcheck(derivatives, (x, direction))
    assert gradgradcheck(derivatives, (x, direction))


@pytest.mark.parametrize("options", [{"residual": True}, {"gated": True}, {"odd": True}, {"fourier": (3, 1.0)}])
def test_other_networks_are_differentiable_twice(options):
    net = network("tanh", (1, 3, 3, 1), **options)

    def derivatives(*parameters):
        return nt.derivatives(net.replace(dict(zip(net.parameters, parameters, strict=True))), X[:2], 2)

    assert gradcheck(derivatives, tuple(net.parameters.values()))
    assert gradgradcheck(derivatives, tuple(net.parameters.values()))


@pytest.mark.parametrize("kind", ["network", "module"])
def test_hessian_vector_products(kind):
    """Double backward of a loss, against nested autograd."""
    model = network() if kind == "network" else sequential()
    parameters = list(model.parameters.values() if kind == "network" else model.parameters())
    generator = torch.Generator().manual_seed(5)
    vectors = [torch.randn(p.shape, dtype=p.dtype, generator=generator) for p in parameters]

    def product(loss):
        gradient = torch.autograd.grad(loss, parameters, create_graph=True)
        return torch.autograd.grad(sum((g * v).sum() for g, v in zip(gradient, vectors, strict=True)), parameters)

    got = product(loss_of(nt.derivatives(model, X, 3)))
    f = (lambda x: by_hand(model.parameters, x)) if kind == "network" else model
    assert relative(got, product(loss_of(nested(f, X, 3)))) < 1e-11


def test_derivatives_are_differentiable_by_x():
    """d/dx of the k-th derivative is the next one."""
    for f in (network(), sequential()):
        x = X[:, 0].clone().requires_grad_() if isinstance(f, nt.MLP) else X.clone().requires_grad_()
        derivatives = nt.derivatives(f, x, 4)
        for k in range(4):
            (slope,) = torch.autograd.grad(derivatives[k].sum(), x, retain_graph=True)
            torch.testing.assert_close(slope, derivatives[k + 1], rtol=1e-12, atol=1e-12)


def test_a_second_backward_through_a_freed_graph_is_refused_as_torch_does():
    net = network()
    loss = loss_of(nt.derivatives(net, X, 3))
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_parameters_changed_before_backward_are_refused_as_torch_does():
    net = network()
    loss = loss_of(nt.derivatives(net, X, 3))
    with torch.no_grad():
        net.parameters["2.weight"].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("kind", ["network", "module"])
def test_nothing_is_kept_in_cycles(kind):
    """A graph that is dropped is freed at once, with all it held: no reference goes round."""
    model = network("gelu") if kind == "network" else sequential(nn.GELU)
    gc.collect()
    gc.disable()
    before = set(map(id, _steps()))  # an exception that another test caught may hold some
    try:
        derivatives = nt.derivatives(model, X, 3)
        watched = [weakref.ref(node) for node in _steps() if id(node) not in before]
        assert watched
        del derivatives
        assert not [w for w in watched if w() is not None]
    finally:
        gc.enable()


def test_what_a_backward_has_used_is_freed_with_the_loss_still_held():
    """As of any graph of torch's: a list of losses is no list of all that they were computed from."""
    before = set(map(id, _carriers()))
    loss = loss_of(nt.derivatives(network(), X, 3))
    kept = [weakref.ref(t.pullback) for t in _carriers() if id(t) not in before]
    assert kept
    loss.backward()
    assert not [w for w in kept if w() is not None]


@pytest.mark.parametrize("kind", ["network", "module"])
def test_checkpoints(kind):
    """What is computed anew in the backward gives the same gradients."""
    model = network() if kind == "network" else sequential()
    parameters = list(model.parameters.values() if kind == "network" else model.parameters())

    def derivatives(x):
        return nt.derivatives(model, x, 3)

    anew = torch.utils.checkpoint.checkpoint(derivatives, X, use_reentrant=False)
    expected = torch.autograd.grad(loss_of(derivatives(X)), parameters)
    assert relative(torch.autograd.grad(loss_of(anew), parameters), expected) < 1e-14


@TORCHS_OWN
@pytest.mark.parametrize("kind", ["network", "module"])
def test_forward_mode(kind):
    """The tangent of the k-th derivative along the direction is the next one, watched by autograd or not."""
    model = network() if kind == "network" else sequential()
    for mode in (torch.enable_grad, torch.no_grad):
        with mode(), forward_ad.dual_level():
            derivatives = nt.derivatives(model, forward_ad.make_dual(X, torch.ones_like(X)), 3)
            tangent = forward_ad.unpack_dual(derivatives).tangent
            torch.testing.assert_close(tangent[:3], derivatives[1:], rtol=1e-12, atol=1e-12)


def _steps():
    from ntaylor_backends.torch.nodes import Step

    return [o for o in gc.get_objects() if type(o) is Step]


def _carriers():
    return [t for t in gc.get_objects() if type(t) is torch.Tensor and hasattr(t, "pullback")]


# --- torch.func ---------------------------------------------------------------------------------


def plain(net):
    return {name: p.detach() for name, p in net.parameters.items()}


def loss(net, parameters, x=X):
    return loss_of(nt.derivatives(net.replace(parameters), x, 3))


def test_func_grad():
    net = network()
    got = torch.func.grad(lambda p: loss(net, p))(plain(net))
    expected = torch.autograd.grad(loss(net, net.parameters), list(net.parameters.values()))
    assert relative(got.values(), expected) < 1e-12


@pytest.mark.parametrize("activation", ["tanh", "gelu", "snake"])
def test_func_vmap_of_an_ensemble(activation):
    """Networks side by side: vmap over parameters, of values and of gradients."""
    nets = [network(activation, seed=seed) for seed in range(3)]
    together = {name: torch.stack([n.parameters[name].detach() for n in nets]) for name in nets[0].parameters}
    values = torch.func.vmap(lambda p: loss(nets[0], p))(together)
    torch.testing.assert_close(values, torch.stack([loss(n, n.parameters) for n in nets]).detach())
    gradients = torch.func.vmap(torch.func.grad(lambda p: loss(nets[0], p)))(together)
    for i, n in enumerate(nets):
        expected = torch.autograd.grad(loss(n, n.parameters), list(n.parameters.values()))
        assert relative([g[i] for g in gradients.values()], expected) < 1e-12


def test_func_vmap_over_points():
    net = network()
    got = torch.func.vmap(lambda x: nt.derivatives(net, x, 3))(X)
    torch.testing.assert_close(got.movedim(0, 1), nt.derivatives(net, X, 3))
    model = sequential()
    got = torch.func.vmap(lambda x: nt.derivatives(model, x, 3))(X)
    torch.testing.assert_close(got.movedim(0, 1), nt.derivatives(model, X, 3))


@pytest.mark.parametrize("activation", ["tanh", "gelu", "sin", "softsign"])
def test_func_vmap_over_directions(activation):
    """The primal is not mapped over and the series are: sums in place must not mix the two."""
    net = network(activation, (2, 4, 4, 1))
    x, directions = torch.rand(3, 2, dtype=torch.float64), torch.rand(4, 2, dtype=torch.float64)
    for f in (net, lambda x: torch.sin(x[:, 0]) ** 2 / (2 + x[:, 1])):
        got = torch.func.vmap(lambda v, f=f: nt.derivatives(f, x, 4, v))(directions)
        torch.testing.assert_close(got, torch.stack([nt.derivatives(f, x, 4, v) for v in directions]))


@TORCHS_OWN
@pytest.mark.parametrize("transform", [torch.func.jacrev, torch.func.jacfwd])
def test_func_jacobians_of_residuals(transform):
    net = network()

    def residuals(parameters):
        u, _, ddu = nt.derivatives(net.replace(parameters), X, 2)
        return ddu[:, 0] + torch.sin(u[:, 0])

    got = transform(residuals)(plain(net))
    rows = [torch.autograd.grad(r, list(net.parameters.values()), retain_graph=True) for r in residuals(net.parameters)]
    expected = [torch.stack(column) for column in zip(*rows, strict=True)]
    assert relative(got.values(), expected) < 1e-12


def test_func_per_sample_gradients():
    net = network()
    got = torch.func.vmap(torch.func.grad(lambda p, x: loss(net, p, x)), in_dims=(None, 0))(plain(net), X)
    for i, x in enumerate(X):
        expected = torch.autograd.grad(loss(net, net.parameters, x), list(net.parameters.values()))
        assert relative([g[i] for g in got.values()], expected) < 1e-12


@TORCHS_OWN
@pytest.mark.parametrize("outer", [torch.func.jacfwd, torch.func.jacrev])
def test_func_hessian(outer):
    net = network(widths=(1, 3, 1))
    name = "0.weight"

    def of_weight(weight):
        return loss(net, {**plain(net), name: weight})

    got = outer(torch.func.jacrev(of_weight))(plain(net)[name])
    expected = torch.autograd.functional.hessian(
        lambda w: loss_of(
            nested(lambda x: torch.tanh(x @ w + net.parameters["0.bias"]) @ net.parameters["2.weight"], X, 3)
        ),
        plain(net)[name],
    )
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)


def test_functional_call():
    model = sequential()
    parameters = {name: p.detach() * 0.9 for name, p in model.named_parameters()}

    def of_parameters(parameters):
        return loss_of(nt.derivatives(lambda x: torch.func.functional_call(model, parameters, (x,)), X, 3))

    got = torch.func.grad(of_parameters)(parameters)
    leaves = {name: p.clone().requires_grad_() for name, p in parameters.items()}
    expected = torch.autograd.grad(
        loss_of(nested(lambda x: torch.func.functional_call(model, leaves, (x,)), X, 3)), list(leaves.values())
    )
    assert relative(got.values(), expected) < 1e-11


# --- nt.value_and_grad --------------------------------------------------------------------------


def test_value_and_grad():
    """Values and gradients are detached, and whether the parameters require a gradient is not changed."""
    net = network()
    value, gradient = nt.value_and_grad(lambda p: loss(net, p))(net.parameters)
    expected = torch.autograd.grad(loss(net, net.parameters), list(net.parameters.values()))
    assert list(gradient) == list(net.parameters)
    assert relative(gradient.values(), expected) == 0
    assert not value.requires_grad
    assert not any(g.requires_grad for g in gradient.values())
    assert all(p.requires_grad and p.grad is None for p in net.parameters.values())


def test_value_and_grad_with_auxiliary_and_rest():
    net = network()

    def of(parameters, x, *, scale):
        j = nt.jet(net.replace(parameters), x, 2)
        return scale * j.derivatives[2].square().mean(), {"jet": j, "net": net.replace(parameters), "n": 3}

    (value, auxiliary), gradient = nt.value_and_grad(of)(plain(net), X, scale=2.0)
    assert value.shape == ()
    assert auxiliary["n"] == 3
    assert not auxiliary["jet"].primal.requires_grad
    assert not auxiliary["net"].parameters["0.bias"].requires_grad
    assert gradient["4.bias"].abs().max() == 0  # the bias of the last layer does not enter u″


def test_value_and_grad_within_no_grad_and_of_other_shapes():
    with torch.no_grad():
        value, (gradient, [other]) = nt.value_and_grad(lambda p: (p[0] ** 2).sum() + p[1][0])(
            (torch.ones(2), [torch.zeros(())])
        )
    assert float(value) == 2
    assert gradient.tolist() == [2, 2]
    assert float(other) == 1


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (lambda p: p * 1, ValueError, "must be a scalar"),
        (lambda p: None, ValueError, "nothing"),
        (lambda p: torch.ones(()), ValueError, "does not depend on the parameters"),
        (lambda p: (p.sum(), 1, 2), ValueError, "tuple of 3"),
        (lambda p: [p.sum()], ValueError, "returned a list"),
        (lambda p: (p + 1j).sum(), ValueError, "must be real"),
    ],
)
def test_value_and_grad_refuses(bad, error, words):
    with pytest.raises(error, match=words):
        nt.value_and_grad(bad)(torch.ones(3))


def test_value_and_grad_refuses_parameters_that_have_no_gradient():
    with pytest.raises(TypeError, match="complex"):
        nt.value_and_grad(lambda p: p.abs().sum())(torch.ones(2, dtype=torch.complex128))
    with pytest.raises(TypeError, match="floating"):
        nt.value_and_grad(lambda p: p.sum())(torch.ones(2, dtype=torch.int64))
