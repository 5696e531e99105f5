"""MLP: options, shapes, seeds and errors; a network to order 16 against power series at 50 digits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import ntaylor as nt

mpmath.mp.dps = 50
RNG = np.random.default_rng(0)


def mp_tanh_series(u):
    """Coefficients of tanh u(t) by v' = (1 − v²) u', in mpmath numbers."""
    v = [mpmath.tanh(u[0])]
    for k in range(1, len(u)):
        w = [(1 if i == 0 else 0) - mpmath.fsum(v[j] * v[i - j] for j in range(i + 1)) for i in range(k)]
        v.append(mpmath.fsum(j * u[j] * w[k - j] for j in range(1, k + 1)) / k)
    return v


def mp_network_derivatives(net, x, direction, order):
    """Derivatives of a tanh network at one point, 50 digits: shape (order+1, outputs)."""
    mp = lambda a: mpmath.mpf(float(a))  # noqa: E731
    u = [[mp(a), mp(b)] + [mp(0)] * (order - 1) for a, b in zip(x, direction, strict=True)]
    p = net.parameters
    weights = [(p[name], p[name.replace("weight", "bias")]) for name in p if "weight" in name]
    for layer, (weight, bias) in enumerate(weights):
        z = []
        for o in range(weight.shape[1]):
            column = [mp(w) for w in weight[:, o]]
            series = [mpmath.fsum(s[k] * w for s, w in zip(u, column, strict=True)) for k in range(order + 1)]
            series[0] += mp(bias[o])
            z.append(series)
        u = z if layer == len(weights) - 1 else [mp_tanh_series(s) for s in z]
    return np.asarray([[float(s[k] * mpmath.factorial(k)) for s in u] for k in range(order + 1)])


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_to_order_16_against_fifty_digits(scale):
    """Every derivative of a tanh network to order 16, to 1e-12 of its norm over the points."""
    net = nt.MLP.create([2, 8, 8, 2], seed=1)
    net = net.replace({k: p * scale + 0.1 * RNG.standard_normal(p.shape) for k, p in net.parameters.items()})
    x, direction = RNG.uniform(-1, 1, (4, 2)), np.asarray([0.8, -0.6])
    got = nt.derivatives(net, x, 16, direction)
    expected = np.stack([mp_network_derivatives(net, point, direction, 16) for point in x], axis=1)
    for k in range(17):
        assert np.linalg.norm(got[k] - expected[k]) < 1e-12 * np.linalg.norm(expected[k]), k


def as_function(net):
    """The same network built of array operations on parameters, for options without layers of their own."""
    p = net.parameters

    def dense(u, i):
        return u @ p[f"{i}.weight"] + p[f"{i}.bias"]

    return lambda x: dense(np.tanh(dense(np.tanh(dense(x, 0)), 2)), 4)


def test_a_network_is_the_function_it_stands_for():
    net = nt.MLP.create([2, 6, 6, 3], seed=2)
    x, direction = RNG.standard_normal((5, 2)), RNG.standard_normal((5, 2))
    np.testing.assert_allclose(net(x), as_function(net)(x), atol=1e-15)
    expected = nt.derivatives(as_function(net), x, 8, direction)
    got = nt.derivatives(net, x, 8, direction)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * abs(expected).max())


OPTIONS = [
    {},
    {"bias": False},
    {"residual": True},
    {"gated": True},
    {"odd": True},
    {"fourier": (3, 1.5)},
    {"periods": (1.5, None)},
    {"input_range": ([-1.0, 0.0], [1.0, 4.0])},
    {"output_range": (-3.0, 5.0)},
    {"activation": "snake"},
    {"activation": "gelu", "odd": True, "residual": True},
    {"activation": "sin", "gated": True, "periods": (2.0, 3.0), "output_range": (0.0, 1.0)},
    {"activation": "adaptive_tanh", "fourier": (2, 1.0), "residual": True, "input_range": (-2.0, 2.0), "bias": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=[",".join(o) or "plain" for o in OPTIONS])
def test_options(options):
    """Every option, alone and together: its derivatives are those of its own value, by fourth-order differences."""
    net = nt.MLP.create([2, 5, 5, 2], seed=3, **options)
    x, v = RNG.uniform(-1, 1, (4, 2)), RNG.standard_normal((4, 2))
    assert net(x).shape == (4, 2)
    h = 2e-3
    values = [net(x + s * h * v) for s in (-2, -1, 0, 1, 2)]
    first = (values[0] - 8 * values[1] + 8 * values[3] - values[4]) / (12 * h)
    second = (-values[0] + 16 * values[1] - 30 * values[2] + 16 * values[3] - values[4]) / (12 * h * h)
    got = nt.derivatives(net, x, 2, v)
    # The differences err by f^(5) h⁴/30 and f^(6) h⁴/90: bounded by the derivatives themselves.
    bounds = np.abs(nt.derivatives(net, x, 6, v)).max(axis=(1, 2))
    np.testing.assert_allclose(got[1], first, rtol=0, atol=h**4 / 30 * bounds[5] * 3 + 1e-11)
    np.testing.assert_allclose(got[2], second, rtol=0, atol=h**4 / 90 * bounds[6] * 3 + 1e-8)
    np.testing.assert_allclose(net(nt.Jet([x, v], 2)).derivatives, got)
    assert "MLP(" in repr(net)


def test_what_the_options_promise():
    x = RNG.uniform(-1, 1, (4, 2))
    odd = nt.MLP.create([2, 5, 2], odd=True)
    np.testing.assert_allclose(odd(-x), -odd(x), atol=1e-15)
    even_orders = nt.derivatives(odd, np.zeros((1, 2)), 4, np.asarray([1.0, 2.0]))[::2]
    np.testing.assert_allclose(even_orders, 0, atol=1e-15)
    periodic = nt.MLP.create([2, 5, 1], periods=(0.5, None), seed=1)
    np.testing.assert_allclose(periodic(x + np.asarray([0.5, 0.0])), periodic(x), atol=1e-12)
    assert np.abs(periodic(x + np.asarray([0.0, 0.5])) - periodic(x)).max() > 1e-6
    unbiased = nt.MLP.create([2, 5, 1], bias=False)
    assert not [name for name in unbiased.parameters if "bias" in name]
    ranged = nt.MLP.create([1, 4, 1], output_range=(2.0, 6.0))
    plain = nt.MLP.create([1, 4, 1])
    np.testing.assert_allclose(ranged(x[:, :1]), 4 + 2 * plain(x[:, :1]))
    inputs = nt.MLP.create([1, 4, 1], input_range=(2.0, 6.0))
    np.testing.assert_allclose(inputs(4 + 2 * x[:, :1]), plain(x[:, :1]))


def test_seeds():
    same, again, other = (nt.MLP.create([2, 3, 1], seed=s).parameters for s in (5, 5, 6))
    assert all(np.array_equal(same[k], again[k]) for k in same)
    assert not np.array_equal(same["0.weight"], other["0.weight"])
    for name, parameter in nt.MLP.create([64, 256, 1]).parameters.items():
        if name == "0.weight":
            np.testing.assert_allclose(parameter.std(), np.sqrt(2 / 320), rtol=0.03)
        if "bias" in name:
            assert not parameter.any()


@pytest.mark.parametrize("m", [1, 3])
def test_shapes(m):
    one, two = nt.MLP.create([1, 4, m]), nt.MLP.create([2, 4, m])
    tail = () if m == 1 else (m,)
    x = np.asarray([0.1, 0.2, 0.3])
    column = nt.derivatives(one, x[:, None], 3)
    assert column.shape == (4, 3, m)
    np.testing.assert_array_equal(nt.derivatives(one, x, 3), column.reshape(4, 3, *tail))
    np.testing.assert_allclose(nt.derivatives(one, np.asarray(0.2), 3), column[:, 1].reshape(4, *tail), rtol=1e-13)
    np.testing.assert_allclose(nt.derivatives(one, 0.2, 3), column[:, 1].reshape(4, *tail), rtol=1e-13)
    np.testing.assert_allclose(nt.derivatives(one, np.float64(0.2), 3), column[:, 1].reshape(4, *tail), rtol=1e-13)
    v = np.asarray([1.0, -2.0])
    cube = RNG.standard_normal((3, 4, 2))
    got = nt.derivatives(two, cube, 3, v)
    assert got.shape == (4, 3, 4, m)
    np.testing.assert_allclose(got[:, 1, 2], nt.derivatives(two, cube[1, 2], 3, v), rtol=1e-12, atol=1e-15)
    slab = nt.derivatives(two, cube[1], 3, np.broadcast_to(v, (4, 2)))
    np.testing.assert_allclose(got[:, 1], slab, rtol=1e-12, atol=1e-15)
    # Directions of every shape that broadcasts.
    ones = nt.derivatives(two, cube, 3, np.ones((3, 4, 2)))
    for shape in ((), (1,), (2,), (1, 2), (4, 1), (3, 1, 1)):
        np.testing.assert_allclose(nt.derivatives(two, cube, 3, np.ones(shape)), ones, rtol=1e-12, atol=1e-15)
    for shape in ((), (1,), (3,)):
        np.testing.assert_allclose(nt.derivatives(one, x, 3, np.ones(shape)), nt.derivatives(one, x, 3))
    assert nt.derivatives(two, np.zeros((0, 2)), 3, v).shape == (4, 0, m)
    assert nt.derivatives(one, np.zeros(0), 3).shape == (4, 0, *tail)
    assert nt.derivatives(two, np.asarray([0.1, 0.2]), 2, 1 + 0 * v).shape == (3, m)


def test_layouts_and_read_only_inputs():
    net = nt.MLP.create([3, 4, 2])
    x, v = RNG.standard_normal((6, 3)), RNG.standard_normal((6, 3))
    expected = nt.derivatives(net, x, 4, v)
    x.flags.writeable = v.flags.writeable = False
    np.testing.assert_array_equal(nt.derivatives(net, x, 4, v), expected)
    wide = np.zeros((12, 6))
    wide[::2, ::2] = x
    for other in (np.asfortranarray(x), wide[::2, ::2], x[::-1][::-1]):
        np.testing.assert_allclose(nt.derivatives(net, other, 4, v), expected, rtol=1e-13, atol=1e-16)


def test_a_network_without_hidden_layers():
    net = nt.MLP.create([2, 3])
    got = nt.derivatives(net, np.ones((4, 2)), 3, np.asarray([1.0, 0.0]))
    np.testing.assert_allclose(got[1], np.broadcast_to(net.parameters["0.weight"][0], (4, 3)))
    assert not got[2:].any()


def test_high_orders():
    """Order 60 of a network stays what 50 digits say, and 171 is refused, for 171! is no float64."""
    net = nt.MLP.create([1, 3, 1], seed=8)
    got = nt.derivatives(net, np.asarray([0.3]), 60)
    expected = mp_network_derivatives(net, [0.3], [1.0], 60)[:, 0]
    assert np.max(np.abs(got[:, 0] / expected - 1)) < 1e-9
    with pytest.raises(OverflowError, match="coefficients"):
        nt.derivatives(net, np.asarray([0.3]), 171)
    with pytest.raises(OverflowError, match="float32"):
        nt.derivatives(np.exp, np.asarray([0.3], dtype=np.float32), 35)
    assert nt.jet(np.exp, np.asarray([0.3]), 200).coefficients.shape == (201, 1)


def test_replace():
    net = nt.MLP.create([1, 4, 1])
    p = net.parameters
    assert net.replace(p)(np.asarray([0.5])) == net(np.asarray([0.5]))
    with pytest.raises(ValueError, match=r"unknown parameter '0\.wieght'.*did you mean '0\.weight'"):
        net.replace({**p, "0.wieght": p["0.weight"]})
    with pytest.raises(ValueError, match=r"missing: 0.bias"):
        net.replace({k: v for k, v in p.items() if k != "0.bias"})
    with pytest.raises(ValueError, match=r"'0\.bias' has shape \(3,\); the network needs \(4,\)"):
        net.replace({**p, "0.bias": np.zeros(3)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([3],), "widths takes the inputs"),
        (([2, 0, 1],), "all >= 1"),
        (([2, 3, 4, 1], "tanh", {"residual": True}), "one width"),
        (([2, 1], "tanh", {"gated": True}), "one width"),
        (([2, 3, 3, 1], "tanh", {"residual": True, "gated": True}), "not both"),
        (([2, 3, 1], "tanh", {"fourier": (2, 1.0), "periods": (1.0, 1.0)}), "not both"),
        (([2, 3, 1], "tanh", {"periods": (1.0,)}), "1 entries for 2 inputs"),
        (([2, 3, 1], "tangh"), "did you mean 'tanh'"),
        (([2, 3, 1], "tanh", {"fourier": (0, 1.0)}), "count >= 1"),
        (([2, 3, 1], "tanh", {"fourier": (2, -1)}), "finite scale > 0"),
        (([2, 3, 1], "tanh", {"fourier": (2, 0.0)}), "finite scale > 0"),
        (([2, 3, 1], "tanh", {"fourier": (2, float("nan"))}), "finite scale > 0"),
        (([2, 3, 1], "tanh", {"output_range": (0.0, float("inf"))}), "output_range takes .* finite"),
        (([2, 3, 1], "tanh", {"input_range": (0.0, float("nan"))}), "input_range takes .* finite"),
        (([2, 3, 1], "tanh", {"input_range": (-float("inf"), [0.0, 1.0])}), "input_range takes .* finite"),
        (([1, 3, 1], "tanh", {"odd": True, "output_range": (0, 1)}), r"odd network needs output_range=\(-a, a\)"),
        (([2, 3, 1], "tanh", {"odd": True, "input_range": ([-1, -1], [1, 2])}), "odd network needs input_range"),
        (([2, 3, 1], "tanh", {"input_range": (1.0, 1.0)}), "input_range takes"),
        (([2, 3, 1], "tanh", {"output_range": (2.0, 1.0)}), "output_range takes"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    options = arguments[2] if len(arguments) > 2 else {}
    with pytest.raises(ValueError, match=message):
        nt.MLP.create(*arguments[:2], **options)


def test_an_odd_network_of_symmetric_ranges_is_odd():
    net = nt.MLP.create([2, 4, 1], odd=True, input_range=([-1, -2], [1, 2]), output_range=(-3, 3))
    x = RNG.uniform(-1, 1, (4, 2))
    np.testing.assert_allclose(net(-x), -net(x), atol=1e-14)


def test_periods_are_in_the_units_of_x():
    """Whatever input_range maps to [-1, 1]."""
    net = nt.MLP.create([1, 8, 1], periods=[1.0], input_range=(0.0, 4.0), seed=1)
    x = np.linspace(0, 4, 7)
    np.testing.assert_allclose(net(x + 1), net(x), atol=1e-12)
    assert np.abs(net(x + 0.5) - net(x)).max() > 1e-3
    net = nt.MLP.create([2, 8, 1], periods=[None, 3.0], input_range=([0.0, -1.0], [4.0, 6.0]), seed=1)
    x = RNG.uniform(0, 4, (5, 2))
    np.testing.assert_allclose(net(x + np.asarray([0.0, 3.0])), net(x), atol=1e-12)
    assert np.abs(net(x + np.asarray([3.0, 0.0])) - net(x)).max() > 1e-3


def test_a_python_float_takes_the_dtype_of_the_network(xp):
    net = nt.MLP.create([1, 4, 1], xp=xp.namespace, dtype=xp.float32)
    value = net(0.5)
    assert value.dtype == xp.float32
    assert value.shape == ()
    np.testing.assert_array_equal(xp.numpy(value), xp.numpy(net(xp.array(0.5, np.float32))))
    assert nt.derivatives(net, 0.5, 2).dtype == xp.float32
    with pytest.raises(TypeError, match="dtypes were mixed"):
        net(xp.array([0.5], np.float64))
    with pytest.raises(TypeError, match=r"dtypes were mixed"):
        nt.MLP.create([1, 4, 1], dtype=np.float32)(np.float64(0.5))


def test_assigning_into_the_parameters_does_not_change_the_network():
    """As the class documents it."""
    net = nt.MLP.create([1, 4, 1])
    before = net(0.5)
    net.parameters["0.bias"] = np.ones(4)
    assert net(0.5) == before
    assert type(net.parameters) is dict
    assert net.replace(net.parameters)(0.5) != before


def test_wrong_widths_of_x():
    two = nt.MLP.create([2, 4, 1])
    for call in (two, lambda x: nt.derivatives(two, x, 1)):
        with pytest.raises(
            ValueError, match=r"takes 2 features in the last axis, x is .*\(5,\).*\(batch, 2\), or \(2,\) for one"
        ):
            call(np.ones(5))
    net = nt.MLP.create([3, 4, 1])
    with pytest.raises(ValueError, match="takes 3 features in the last axis"):
        net(np.ones((5, 2)))
    with pytest.raises(ValueError, match="takes 3 features"):
        net(np.asarray(1.0))
    with pytest.raises(ValueError, match=r"x of shape \(batch,\) or \(batch, 1\)"):
        nt.MLP.create([1, 4, 1])(np.ones((5, 2)))


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda: nt.MLP.create([1, 3, 1], dtype=np.int64), ["dtype must be a floating dtype", "int64", "xp.float64"]),
        (lambda: nt.MLP.create([1, 3, 1], dtype="floaty"), ["dtype must be a floating dtype", "'floaty'"]),
        (lambda: nt.MLP.create([1, 4.0, 1]), ["entry 1 is 4.0 (float)", "int(…)", "[2, 64, 64, 1]"]),
        (lambda: nt.MLP.create([1, "a", 1]), ["entry 1 is 'a' (str)"]),
        (lambda: nt.MLP.create(3), ["widths takes a list of integers", "got 3"]),
        (lambda: nt.MLP.create([1, 3, 1], xp="numpy"), ["xp must be an array namespace", "'numpy' (str)", "import it"]),
        (lambda: nt.MLP.create([1, 3, 1], fourier=3), ["fourier takes (count, scale)", "fourier=(64, 1.0)", "got 3"]),
        (lambda: nt.MLP.create([1, 3, 1], fourier=(2.5, 1.0)), ["fourier takes (count, scale)", "got (2.5, 1.0)"]),
        (lambda: nt.MLP.create([2, 3, 1], periods=2.0), ["one period, or None, per input", "(2.0, None)", "got 2.0"]),
        (lambda: nt.MLP.create([1, 3, 1], periods=["a"]), ["positive number or None", "'a'"]),
        (lambda: nt.MLP.create([1, 3, 1], input_range=2.0), ["input_range takes (low, high)", "got 2.0"]),
        (lambda: nt.MLP.create([1, 3, 1]).replace(3), ["replace takes a dict", "got int"]),
        (
            lambda: (net := nt.MLP.create([1, 3, 1])).replace(dict.fromkeys(net.parameters, 1.0)),
            ["'0.weight' must be an array of shape (1, 3), got float", "xp.asarray"],
        ),
    ],
)
def test_the_wrong_kind_is_refused(call, parts):
    """What came, what was expected and what to type."""
    with pytest.raises(TypeError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


def test_ranges_fit_the_features():
    with pytest.raises(ValueError, match=r"input_range has bounds of shapes \(3,\).* for 2 features"):
        nt.MLP.create([2, 3, 1], input_range=(np.zeros(3), np.ones(3)))


@pytest.mark.parametrize("widths", [[1, 5, 5, 1], [2, 5, 5, 3]])
@pytest.mark.parametrize("shape", [(), (4,), (4, 6)])
def test_propagate_takes_directions_that_share_the_primal(widths, shape):
    """Points of every shape: the primal comes back without the directions' axis, the series with it."""
    net, d = nt.MLP.create(widths, seed=1), widths[0]
    for features in ((d,), ()) if d == 1 and len(shape) < 2 else ((d,),):
        x = RNG.standard_normal((*shape, *features))
        for directions in (RNG.standard_normal((3, *x.shape)), RNG.standard_normal((3, *(1,) * len(shape), *features))):
            v = net.propagate([x, directions, None, 2 * directions], 4)
            assert v[0].shape == net(x).shape
            for r in range(3):
                one = np.broadcast_to(directions[r], x.shape)
                expected = net.propagate([x, one, None, 2 * one], 4)
                for k in range(1, 5):
                    assert v[k].shape == (3, *net(x).shape)
                    np.testing.assert_allclose(v[k][r], expected[k], rtol=0, atol=1e-13)


def test_coefficients_that_do_not_fit_are_refused():
    net, x = nt.MLP.create([2, 3, 1]), np.ones((4, 2))
    for shape in ((3, 2), (7, 3, 2), (4, 3)):
        with pytest.raises(ValueError, match=r"coefficient 1 has shape .* x has \(4, 2\).*\(R, 4, 2\)"):
            net.propagate([x, np.ones(shape)], 2)
