"""Fans: directions of several orders in one push of a network, against pushes one by one and nested reverse mode."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from kernel_cases import OPTIONS

import ntaylor as nt
from ntaylor import pushing
from ntaylor.directions import Coordinates, Rows
from ntaylor.fans import Fan, gathered, merged, opened_out, size, spread
from ntaylor.layers import Dense, Layer
from ntaylor.namespace import array_namespace
from ntaylor.operators import D, HardConstraint, Radial, biharmonic, identity, jointly, laplacian
from ntaylor.passes import Wanted, one_pass
from ntaylor.series import Series
from ntaylor_backends import recordings

RNG = np.random.default_rng(17)
VECTORS = np.asarray([[1.0, 0.5], [0.0, 1.0], [1.0, -1.0], [0.3, 0.7]])
FANS = {
    "one direction": Fan((3,), (None,)),
    "orders of their own": Fan((3, 1), (None, None)),
    "a sum of two tops": Fan((2, 2), (None, (0, 1.0))),
    "everything": Fan((3, 1, 3, 2), (None, None, (0, -2.0), None)),
    "two sums": Fan((4, 2, 4, 2), ((2, 0.5), None, None, (1, 3.0))),
}


def close(got, expected, tolerance=1e-12):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, (got.shape, expected.shape)
    scale = 1 + np.max(np.abs(expected), initial=0)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


def one_by_one(net, x, fan):
    """The fan's coefficients from a jet a direction, tops that are joined added up."""
    of_arrays = array_namespace(x)
    vectors = [of_arrays.asarray(v, dtype=x.dtype) for v in VECTORS]
    jets = [nt.jet(net, x, n, vectors[r]).coefficients for r, n in enumerate(fan.orders)]
    tops = {r: jets[r][n, ...] for r, n in enumerate(fan.orders)}
    for r, joined in enumerate(fan.joined):
        if joined is not None:
            tops[joined[0]] = tops[joined[0]] + joined[1] * jets[r][fan.orders[r], ...]
    found = [jets[0][0, ...]]
    for r, n in enumerate(fan.orders):
        found += [jets[r][k, ...] for k in range(1, n)] + ([tops[r]] if fan.joined[r] is None else [])
    return found


@pytest.mark.parametrize("name", FANS)
@pytest.mark.parametrize("batch", [5, 300])  # operation by operation, and by kernels where there are any
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_fan_is_its_directions_one_by_one(xp, options, batch, name):
    if xp.name != "numpy" and (name != "everything" or batch != 5):
        pytest.skip("seconds of tracing, and nothing that NumPy's arrays have not shown")
    if batch == 300 and (name not in ("everything", "a sum of two tops") or options not in OPTIONS[:3]):
        pytest.skip("seconds of compiling kernels, which are made of the same programs")
    net, x, fan = xp.network([2, 8, 8, 2], seed=1, **options), xp.array(RNG.uniform(-1, 1, (batch, 2))), FANS[name]
    found = pushing.fanned(net, x, Rows(xp.array(VECTORS[: len(fan.orders)])), fan)
    assert len(found) == size(fan)
    for got, expected in zip(found, one_by_one(net, x, fan), strict=True):
        close(np.zeros_like(xp.numpy(expected)) if got is None else xp.numpy(got), xp.numpy(expected))


@pytest.mark.parametrize("batch", [5, 300])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_of_a_fan(xp, options, batch):
    if xp.name in ("dask", "array_api_strict") or (xp.name == "jax" and batch == 300):
        pytest.skip("gradients of the core, which NumPy has")
    if batch == 300 and options not in OPTIONS[:3]:
        pytest.skip("seconds of compiling kernels, which are made of the same programs")
    fan = FANS["everything"]
    net, x = xp.network([2, 8, 8, 2], seed=1, **options), xp.array(RNG.uniform(-1, 1, (batch, 2)))
    cotangents = [xp.array(c) for c in RNG.standard_normal((size(fan), batch, 2))]

    def loss(parameters, how):
        found = how(net.replace(parameters))
        return sum(array_namespace(c).sum(c * g) for c, g in zip(found, cotangents, strict=True) if c is not None)

    for _ in range(2):  # the first pullback is not recorded code
        (one, of_one), (two, of_two) = (
            nt.value_and_grad(lambda p, how=how: loss(p, how))(dict(net.parameters))
            for how in (
                lambda net: pushing.fanned(net, x, Rows(xp.array(VECTORS)), fan),
                lambda net: one_by_one(net, x, fan),
            )
        )
        close(xp.numpy(one), xp.numpy(two))
        for key, gradient in of_two.items():
            close(xp.numpy(of_one[key]), xp.numpy(gradient))


def test_pullbacks_per_sample():
    """Summed over the batch they are the pullback that sums."""
    fan = FANS["everything"]
    for options in ({}, {"gated": True}, {"periods": (2.0, None)}):
        net, x = nt.MLP.create([2, 7, 7, 2], seed=3, **options), RNG.uniform(-1, 1, (6, 2))
        u = [x]
        for r, (n, joined) in enumerate(zip(fan.orders, fan.joined, strict=True)):
            u += [VECTORS[r : r + 1], *[None] * (n - 1)][: n - (joined is not None)]
        v, pullback = net.push(u, fan)
        cotangent = list(RNG.standard_normal((len(v), *v[0].shape)))
        _, summed = pullback(cotangent)
        _, each = pullback([c[None, ...] for c in cotangent], per_sample=True)
        for key, gradient in summed.items():
            close(each[key].sum(axis=1)[0], gradient)


def test_spreading_is_the_transpose_of_merging():
    """⟨ḡ, merged v⟩ = ⟨spread ḡ, v⟩, and ⟨gathered ū, u⟩ = ⟨ū, opened u⟩, for numbers."""
    for fan in FANS.values():
        v = [RNG.standard_normal(n + 1) for n in fan.orders]
        for of_direction in v[1:]:
            of_direction[0] = v[0][0]
        g = RNG.standard_normal(size(fan))
        left = g @ np.asarray(merged(fan, [Series(list(c)) for c in v]))
        right = sum(
            a * b for c, d in zip(spread(fan, g), v, strict=True) for a, b in zip(c, d, strict=True) if a is not None
        )
        assert abs(left - right) < 1e-13
        u_bar = [list(RNG.standard_normal(n + 1)) for n in fan.orders]
        left = np.asarray(gathered(fan, u_bar, size(fan))) @ g
        right = sum(a * b for c, d in zip(u_bar, opened_out(fan, g), strict=True) for a, b in zip(c, d, strict=False))
        assert abs(left - right) < 1e-13


# --- passes ---------------------------------------------------------------------------------------------

X_AXIS, Y_AXIS, T_AXIS = ((0, 1),), ((1, 1),), ((2, 1),)


def plan_of(*operators, dimension):
    plan = nt.operators._plan(dimension, *operators)
    return plan.one_pass((True,) * len(plan.steps), True)[1]


@pytest.mark.parametrize(
    ("operators", "dimension", "fan", "arrays"),
    [
        ((identity(), D(1), D(0), D(0, 0, 0)), 2, Fan((3, 1), (None, None)), 5),
        ((D(1), D(0, 0)), 2, Fan((2, 1), (None, None)), 4),
        ((D(1), D(0), D(0, 0), D(0, 0, 0, 0)), 2, Fan((4, 1), (None, None)), 6),
        ((laplacian(),), 2, Fan((2, 2), (None, (0, 1.0))), 4),
        ((laplacian(),), 10, Fan((2,) * 10, (None, *((0, 1.0),) * 9)), 12),
        ((D(2), D(0, 0) + 3 * D(1, 1)), 3, Fan((2, 2, 1), (None, (0, 3.0), None)), 5),
        ((laplacian(), D(0, 0)), 2, Fan((2, 2), (None, None)), 5),
        ((2 * identity(),), 2, Fan((), ()), 1),
    ],
)
def test_no_direction_goes_further_than_it_is_wanted(operators, dimension, fan, arrays):
    found = plan_of(*operators, dimension=dimension)
    assert (found.fan, found.size) == (fan, arrays)


def test_results_of_a_pass_are_exact_weights():
    wanted = [
        Wanted(0, 0, (((), Fraction(5)),)),
        Wanted(0, 2, ((X_AXIS, Fraction(1)), (Y_AXIS, Fraction(-3)))),
        Wanted(1, 1, ((X_AXIS, Fraction(1, 2)), (T_AXIS, Fraction(7)))),
    ]
    found = one_pass(wanted, 2, 3, True)
    assert found.fan == Fan((2, 2, 1), (None, (0, -3.0), None))
    assert found.results == (((0, 5.0), (2, 2.0)), ((1, 0.5), (4, 7.0)))
    apart = one_pass(wanted, 2, 3, False)
    assert apart.fan.joined == (None, None, None)
    assert apart.results == (((0, 5.0), (2, 2.0), (4, -6.0)), ((1, 0.5), (5, 7.0)))


# --- operators of networks ------------------------------------------------------------------------------

CASES = {
    "kdv": (2, (identity(), D(1), D(0), D(0, 0, 0))),
    "kuramoto": (2, (D(1), D(0), D(0, 0), D(0, 0, 0, 0))),
    "heat": (3, (D(2) - laplacian(coordinates=range(2)) / 3,)),
    "mixed": (2, (D(0, 0, 1) + 2 * D(1), laplacian(), 3 * identity() - D(0))),
    "biharmonic": (2, (biharmonic(), laplacian())),
    "with a function": (2, ((lambda x: x[:, 0] ** 2) * D(0, 0) + D(1), identity())),
}


KINDS = ("network", "constraint", "constraint and term", "linear")


def functions_of(net):
    return {
        "network": net,
        "constraint": HardConstraint(net, Radial(lambda s, xp: 1 - s)),
        "constraint and term": HardConstraint(net, lambda x: x[:, :1] * x[:, 1:2], lambda x: x[:, :1] ** 3),
        "linear": HardConstraint(net, lambda x: 0 * x[:, :1] + 2.0, lambda x: x[:, 1:2]),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_every_path_gives_the_same(xp, name, kind):
    if xp.name == "jax" and (kind != "network" or name not in ("kdv", "heat")):
        pytest.skip("seconds of tracing")
    if xp.name in ("dask", "array_api_strict") and name == "biharmonic":
        pytest.skip("as slow")
    dimension, operators = CASES[name]
    f = functions_of(xp.network([dimension, 6, 6, 2], seed=2))[kind]
    x = xp.array(RNG.uniform(-1, 1, (4, dimension)))
    # By pushes of arrays with all directions in front, as any function's.
    expected = jointly(operators, f, x, method="plain", max_directions=1000)
    for method in ("auto", "collapsed", "plain"):
        for got, value in zip(jointly(operators, f, x, method=method), expected, strict=True):
            close(xp.numpy(got), xp.numpy(value), 1e-11)
    for got, value in zip(jointly(operators, lambda x: f(x), x), expected, strict=True):
        close(xp.numpy(got), xp.numpy(value), 1e-11)


@pytest.mark.parametrize("shape", [(2,), (3, 4, 2), (0, 2)])
def test_points_of_any_shape(shape):
    net, x = nt.MLP.create([2, 5, 3], seed=4), RNG.uniform(-1, 1, shape)
    operators = CASES["kdv"][1]
    expected = jointly(operators, net, x, max_directions=1000)
    for got, value in zip(jointly(operators, net, x), expected, strict=True):
        close(got, value)


@pytest.mark.parametrize("kind", ["network", "module", "constraint"])
def test_kdv_and_its_gradient_against_nested_reverse_mode(kind):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(2, 9), torch.nn.Tanh(), torch.nn.Linear(9, 9), torch.nn.Tanh())
    module.append(torch.nn.Linear(9, 1)).double()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype) / 2)
    linear = list(module)[::2]
    net = nt.MLP.create([2, 9, 9, 1], xp=torch, dtype=torch.float64)
    net = net.replace(dict(zip(net.parameters, [a for m in linear for a in (m.weight.T, m.bias)], strict=True)))

    def factor(x):
        return 1 - (x * x).sum(-1, keepdim=True)

    constraint = HardConstraint(net, Radial(lambda s, xp: 1 - s))
    f = {"network": net, "module": module, "constraint": constraint}[kind]
    x = torch.rand((7, 2), dtype=torch.float64, generator=generator, requires_grad=True)
    u, u_t, u_x, u_xxx = jointly(CASES["kdv"][1], f, x)
    ours = u_t + 6 * u * u_x + u_xxx

    def by(v, i):
        return torch.autograd.grad(v.sum(), x, create_graph=True)[0][:, i : i + 1]

    v = module(x) * (factor(x) if kind == "constraint" else 1)
    v_x = by(v, 0)
    nested = by(v, 1) + 6 * v * v_x + by(by(v_x, 0), 0)
    close(ours.detach(), nested.detach())
    leaves = [*module.parameters(), x]
    one, two = (torch.autograd.grad((r**2).sum(), leaves, create_graph=True, allow_unused=True) for r in (ours, nested))
    for a, b in zip(one, two, strict=True):
        if b is not None:  # u's last bias is in u alone
            close(a.detach(), b.detach(), 1e-11)
    # And differentiated again, as by second-order optimisers.
    second = [
        torch.autograd.grad(sum((g * torch.cos(g.detach())).sum() for g in gs if g is not None), leaves)
        for gs in (one, two)
    ]
    for a, b in zip(*second, strict=True):
        close(a, b, 1e-10)


# --- how many pushes ------------------------------------------------------------------------------------


@pytest.fixture
def _nothing_recorded():
    recordings._entries.clear()
    yield
    recordings._entries.clear()


@pytest.mark.usefixtures("_nothing_recorded")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_one_push_of_a_network(monkeypatch, name, kind):
    """f(x) is computed once, whatever is asked for."""
    pushes = []
    original = nt.MLP.propagate

    def propagate(self, coefficients, order):
        pushes.append(order)
        return original(self, coefficients, order)

    monkeypatch.setattr(nt.MLP, "propagate", propagate)
    dimension, operators = CASES[name]
    f = functions_of(nt.MLP.create([dimension, 6, 1]))[kind]
    jointly(operators, f, RNG.uniform(-1, 1, (4, dimension)))
    assert len(pushes) == 1


@pytest.mark.parametrize(("name", "calls"), [("kdv", 1), ("heat", 1), ("kuramoto", 1)])
def test_a_function_is_called_once_where_that_costs_no_more(name, calls):
    """One call with both directions to order 3 carries no more arrays, a call counted as one, than two."""
    dimension, operators = CASES[name]
    seen = []

    def f(x):
        seen.append(x)
        return array_namespace(x).sin(x[:, 0] * x[:, 1])

    jointly(operators, f, RNG.uniform(-1, 1, (4, dimension)))
    assert len(seen) == calls


def test_far_apart_orders_are_pushes_of_their_own():
    seen = []

    def f(x):
        seen.append(x)
        return array_namespace(x).sin(x[:, 0] * x[:, 1])

    x = RNG.uniform(-1, 1, (4, 2))
    operators = (D(*[0] * 6), D(*[0] * 5), D(1))
    found = jointly(operators, f, x)
    assert len(seen) == 2
    a, b = x.T
    for got, expected in zip(found, (-(b**6) * np.sin(a * b), b**5 * np.cos(a * b), a * np.cos(a * b)), strict=True):
        close(got, expected, 1e-11)


def test_one_node_of_autograd():
    torch = pytest.importorskip("torch")
    for module in (
        nt.MLP.create([2, 6, 6, 1], xp=torch, dtype=torch.float64),
        torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)).double(),
    ):
        if isinstance(module, nt.MLP):
            module = module.replace({k: p.clone().requires_grad_() for k, p in module.parameters.items()})
        found = jointly(CASES["kdv"][1], module, torch.rand((4, 2), dtype=torch.float64))
        waiting, seen = [v.grad_fn for v in found], set()
        while waiting:
            node = waiting.pop()
            if node is not None and node not in seen:
                seen.add(node)
                waiting += [parent for parent, _ in node.next_functions]
        assert [n.name() for n in seen if "_Node" in n.name()] == ["_NodeBackward"]


class Doubled(Layer):
    """A layer that somebody else wrote, which knows orders and no fans."""

    structure = ("doubled",)

    def push(self, u, order):
        assert isinstance(order, int)
        return [None if c is None else 2 * c for c in u], lambda cotangent, per_sample=False: (cotangent, {})


def test_networks_with_layers_of_others_are_pushed_as_before():
    net = nt.MLP([Dense(RNG.standard_normal((2, 3))), Doubled(), Dense(RNG.standard_normal((3, 1)))])
    x = RNG.standard_normal((4, 2))
    assert pushing.fanned(net, x, Coordinates(range(2)), FANS["a sum of two tops"]) is None
    close(D(0)(net, x), np.broadcast_to(2 * (net.parameters["0.weight"] @ net.parameters["2.weight"])[0], (4, 1)))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by Dynamo itself
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torch_compile_of_a_fan():
    torch = pytest.importorskip("torch")
    torch._dynamo.reset()
    net = nt.MLP.create([2, 5, 4, 1], xp=torch, dtype=torch.float64)
    leaves = {k: p.clone().requires_grad_() for k, p in net.parameters.items()}
    x = torch.tensor(RNG.uniform(-1, 1, (3, 2)))

    def loss(parameters):
        u, u_t, u_x, u_xxx = jointly(CASES["kdv"][1], net.replace(parameters), x)
        return ((u_t + 6 * u * u_x + u_xxx) ** 2).sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    one, two = (torch.autograd.grad(f(leaves), list(leaves.values())) for f in (compiled, loss))
    for a, b in zip(one, two, strict=True):
        close(a, b)
