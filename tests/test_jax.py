"""Functions of JAX arrays: what they call is followed primitive by primitive, and agrees with nested autodiff."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import re

import mpmath
import numpy as np
import pytest

import ntaylor as nt

jax = pytest.importorskip("jax")
jnp = jax.numpy

ORDER = 4
POINTS = np.linspace(0.15, 0.85, 4)


@pytest.fixture(autouse=True)
def _float64():
    jax.config.update("jax_enable_x64", True)


@pytest.fixture
def _float32():
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", True)


def nested(f, x, order):
    """Derivatives along ones, by JAX's own forward mode nested."""

    def towers(x):
        tower = [f]
        for _ in range(order):
            tower.append(lambda x, g=tower[-1]: jax.jvp(g, (x,), (jnp.ones_like(x),))[1])
        return [g(x) for g in tower]

    return np.stack([np.asarray(v) for v in jax.jit(towers)(x)])


def close(got, expected, tolerance=1e-12):
    got = np.asarray(got)
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * (1 + np.max(np.abs(expected), initial=0.0)))


def _loop(x):
    return jax.lax.fori_loop(0, 3, lambda i, c: c * jnp.cos(x) + i, x)


UNIVARIATE = {
    name: getattr(jnp, name)
    for name in """abs arccos arcsin arcsinh arctan arctanh cbrt cos cosh exp exp2 expm1 log log10 log1p log2 reciprocal
    sin sinc sinh sqrt square tan tanh""".split()  # noqa: SIM905
} | {
    "acosh": lambda x: jnp.arccosh(1 + x),
    "celu": lambda x: jax.nn.celu(x - 0.5),
    "elu": lambda x: jax.nn.elu(x - 0.5),
    "erf": lambda x: jax.scipy.special.erf(x),
    "erfc": lambda x: jax.scipy.special.erfc(x),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "logistic": lambda x: jax.nn.sigmoid(x),
    "log_sigmoid": lambda x: jax.nn.log_sigmoid(x),
    "mish": lambda x: jax.nn.mish(x),
    "ndtr": lambda x: jax.scipy.special.ndtr(x),
    "relu": lambda x: jax.nn.relu(x - 0.5),
    "rsqrt": lambda x: jax.lax.rsqrt(x),
    "silu": lambda x: jax.nn.silu(x),
    "softplus": lambda x: jax.nn.softplus(x),
    "softsign": lambda x: jax.nn.soft_sign(x),
    "xlogy": lambda x: jax.scipy.special.xlogy(x, x),
}
ARITHMETIC = {
    "polynomial": lambda x: 1 + x * (2 - x**3) / (3 + x * x) - x**-2,
    "powers": lambda x: x**2.5 + 2.0**x + x**x,
    "atan2": lambda x: jnp.arctan2(x, jnp.cos(x)),
    "extremes": lambda x: jnp.maximum(x, 0.5 * x + 0.2) + jnp.minimum(jnp.sin(x), 0.6),
    "clipped": lambda x: jnp.clip(x * x, 0.1, 0.5) + jax.lax.clamp(0.2, x, 0.7),
    "pieces": lambda x: jnp.where(x > 0.5, jnp.sin(x), x**3) + jnp.select([x < 0.3, x < 0.6], [x, x * x], x**4),
    "rounded": lambda x: x * (jnp.floor(7 * x) + jnp.ceil(x) + jnp.round(3 * x) + jnp.trunc(5 * x) + jnp.sign(x - 0.4)),
    "finite": lambda x: jnp.nan_to_num(x * x) * jnp.isfinite(x),
    "remainders": lambda x: jnp.remainder(-5 * x, 0.7) + jnp.fmod(-5 * x, x + 0.3),
    "held": lambda x: x * jax.lax.stop_gradient(jnp.sin(x)),
    "complex": lambda x: jnp.abs(jnp.exp(1j * x) + x) + jnp.imag(jnp.conj(jnp.exp(2j * x))) * jnp.real((1 + 1j) * x),
    "half and back": lambda x: jnp.sin(x.astype(jnp.float32).astype(jnp.float64) * 0 + x),
    "integers": lambda x: x * (x * 10).astype(int),
}
MOVED = {
    "matrix products": lambda x: jnp.outer(x, x) @ jnp.sin(x) + jnp.einsum("i,jk,k->j", x, jnp.outer(x, x), x),
    "batched product": lambda x: jnp.einsum(
        "bij,bkj->kb", x[:, None, None] * jnp.ones((2, 3)), jnp.ones((4, 2, 3)) * x[0]
    ),
    "convolved": lambda x: jnp.convolve(jnp.sin(x), x * x, mode="same"),
    "reshaped": lambda x: jnp.squeeze(jnp.expand_dims(jnp.outer(x, jnp.cos(x)).reshape(2, 8), 1)).T[::-1],
    "joined": lambda x: jnp.concatenate([x, jnp.ones(2), x * x]) * jnp.pad(x, (2, 4), constant_values=2.0),
    "stacked": lambda x: jnp.stack([x, jnp.exp(x), jnp.ones_like(x)], axis=1),
    "split": lambda x: jnp.multiply(*jnp.split(jnp.sin(x), 2)),
    "sliced": lambda x: jax.lax.dynamic_slice(x * x, (1,), (2,)) + x[1:3] + jnp.tile(x, 2)[3:5] + jnp.roll(x, 1)[:2],
    "gathered": lambda x: jnp.sin(x)[jnp.asarray([[2, 0], [1, 1]])] + jnp.take(x, 3),
    "updated": lambda x: x.at[1].set(x[0] * x[2]).at[jnp.asarray([0, 0])].add(x[3] ** 2),
    "update of a slice": lambda x: jax.lax.dynamic_update_slice(x * x, jnp.sin(x[:2]), (1,)),
    "summed": lambda x: jnp.sum(jnp.outer(x, x), 0) + jnp.mean(x) + jnp.var(x) + jnp.cumsum(x * x),
    "largest": lambda x: jnp.max(jnp.outer(x, jnp.sin(3 * x)), 1) + jnp.min(x) + x[jnp.argmax(x)] * x[jnp.argmin(x)],
    "products": lambda x: jnp.prod(jnp.stack([x, jnp.sin(x), x + 1, x * x, jnp.cos(x)]), axis=0),
    "softmax": lambda x: jax.nn.softmax(x * x) * jax.nn.logsumexp(jnp.sin(x)),
    "lengths": lambda x: jnp.linalg.norm(jnp.stack([x, jnp.cos(x)]), axis=0),
    "spectrum": lambda x: jnp.abs(jnp.fft.fft(jnp.sin(x))),
}
CALLED = {
    "jit": lambda x: jax.jit(jnp.sin)(x) * x,
    "checkpoint": lambda x: jax.checkpoint(lambda y: jnp.sin(y) * y)(x),
    "vmap": lambda x: jax.vmap(lambda a, b: a * jnp.sin(b))(x, x * x),
    "grad inside": lambda x: jax.vmap(jax.grad(lambda a: jnp.sin(a) * jnp.exp(a)))(x),
    "jacfwd inside": lambda x: jax.jacfwd(lambda a: jnp.sin(a) * a[0])(x).sum(1),
    "custom_vjp": lambda x: _custom_vjp(x) * x,
    "cond": lambda x: jax.lax.cond(x[0] > 0.1, lambda y: jnp.sin(y) * y, jnp.cos, x),
    "switch": lambda x: jax.lax.switch(1, [jnp.sin, jnp.exp, jnp.cos], x) * x,
    "scan": lambda x: jax.lax.scan(lambda c, y: (c * jnp.sin(y + x), c * y), x, jnp.arange(3.0))[1].sum(0),
    "scan over x": lambda x: jax.lax.scan(lambda c, y: (c + y * y, c * y), 1.0, x)[1],
    "loop": _loop,
    "while": lambda x: jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * jnp.cos(x)), (0, x))[1],
}


@jax.custom_vjp
def _custom_vjp(x):
    return jnp.sin(x)


_custom_vjp.defvjp(lambda x: (jnp.sin(x), x), lambda x, v_bar: (v_bar * jnp.cos(x),))


FUNCTIONS = UNIVARIATE | ARITHMETIC | MOVED | {name: f for name, f in CALLED.items() if name != "custom_vjp"}
LOOSE = {"sinc": 1e-9, "lengths": 1e-11}
"""Where the function's own formula cancels, so that the nested oracle is no better."""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_agree_with_nested_autodiff(name):
    """Under jit, where no value can be looked at."""
    x, f = jnp.asarray(POINTS), FUNCTIONS[name]
    got = jax.jit(lambda x: nt.derivatives(f, x, ORDER))(x)
    close(got, nested(f, x, ORDER), LOOSE.get(name, 1e-12))


@pytest.mark.parametrize("name", ["softplus", "powers", "pieces", "gathered", "largest", *CALLED])
def test_functions_run_without_compiling(name):
    x, f = jnp.asarray(POINTS), FUNCTIONS.get(name, CALLED.get(name))
    compiled = jax.jit(lambda x: nt.derivatives(f, x, 3))(x)
    close(nt.derivatives(f, x, 3), np.asarray(compiled))


def test_whole_powers_hold_at_zero_under_jit():
    """Exponents made of literals are known although nothing else is; JAX's own derivatives are NaN there."""
    x = jnp.asarray([0.0, 0.5])
    got = jax.jit(lambda x: nt.derivatives(lambda x: x[:, None] ** jnp.arange(4), x, 3))(x)
    powers = [[np.polynomial.Polynomial.basis(p).deriv(k) for p in range(4)] for k in range(4)]
    close(got, np.asarray([[[p(t) for p in row] for t in (0.0, 0.5)] for row in powers]))


def test_a_custom_vjp_function_is_followed_inside():
    """Nested forward mode refuses it."""
    x = jnp.asarray(POINTS)
    close(nt.derivatives(CALLED["custom_vjp"], x, ORDER), nested(lambda x: jnp.sin(x) * x, x, ORDER))


@pytest.mark.parametrize("name", ["softplus", "sigmoid", "silu", "gelu", "mish", "log_sigmoid", "tanh", "sinc"])
def test_smooth_functions_are_smooth_at_zero(name):
    """Where their code has branches that meet; jax.nn.softplus has |x| in it, and a derivative rule of its own."""
    formulas = {
        "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
        "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
        "silu": lambda x: x / (1 + mpmath.exp(-x)),
        "gelu": lambda x: x * mpmath.ncdf(x),
        "mish": lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x))),
        "log_sigmoid": lambda x: -mpmath.log1p(mpmath.exp(-x)),
        "tanh": mpmath.tanh,
        "sinc": lambda x: mpmath.sinc(mpmath.pi * x),
    }
    f = jnp.sinc if name == "sinc" else jnp.tanh if name == "tanh" else getattr(jax.nn, name)
    function = (lambda x: f(x, approximate=False)) if name == "gelu" else f
    with mpmath.workdps(50):
        expected = np.asarray([float(mpmath.diff(formulas[name], 0, k)) for k in range(ORDER + 1)])
    close(nt.derivatives(function, jnp.asarray(0.0), ORDER), expected)


def test_relu_follows_its_own_rule_at_the_kink():
    """jax.nn.relu says that its slope at 0 is 0; the maximum that it is made of would follow x."""
    assert nt.derivatives(jax.nn.relu, jnp.asarray([0.0]), 2).tolist() == [[0.0], [0.0], [0.0]]


def test_a_custom_rule_is_the_derivative():
    """Of a function whose rule differs from its code, the rule's derivatives come."""

    @jax.custom_jvp
    def rounded_sine(x, scale):
        return jnp.round(jnp.sin(x), 12) * scale

    @rounded_sine.defjvp
    def _(primals, tangents):
        (x, scale), (dx, ds) = primals, tangents
        return rounded_sine(x, scale), scale * jnp.cos(x) * dx + jnp.sin(x) * ds

    x = jnp.asarray(POINTS)
    got = nt.derivatives(lambda x: rounded_sine(x, 2.0) + rounded_sine(x, x), x, 4)
    close(got[1:], nested(lambda x: (2 + x) * jnp.sin(x), x, 4)[1:])


def test_functions_of_the_namespace_and_of_numpy():
    """A name that only jets know, and NumPy, which traced arrays refuse: f is called with the jet itself."""
    x = jnp.asarray(POINTS)
    expected = nested(lambda x: jax.nn.gelu(x, approximate=False), x, 3)
    close(nt.derivatives(lambda x: x.__array_namespace__().gelu(x), x, 3), expected)
    close(nt.derivatives(lambda x: np.sin(x) * x, x, 3), nested(lambda x: jnp.sin(x) * x, x, 3))


def test_several_inputs_along_a_direction():
    x, direction = np.random.default_rng(0).standard_normal((2, 6, 3))
    f = lambda x: jnp.sin(x[:, 0] * x[:, 1]) * jnp.exp(x @ jnp.ones(3))  # noqa: E731
    along = nested(lambda t: f(x + t[:, None] * direction), jnp.zeros(6), 4)
    close(nt.derivatives(f, jnp.asarray(x), 4, jnp.asarray(direction)), along)


def test_constants_and_shapes():
    """What does not depend on x has no derivatives; one number in gives numbers."""
    x = jnp.asarray(POINTS)
    assert nt.derivatives(lambda x: jnp.arange(3.0), x, 2)[1:].any().item() is False
    assert nt.derivatives(jnp.sin, jnp.asarray(0.5), 3).shape == (4,)
    assert nt.derivatives(lambda x: x[:, None] * x, x, 0).shape == (1, 4, 4)


def test_what_f_closes_over_is_differentiated():
    """Parameters that jit and grad trace reach the interpreter as constants of f."""
    x = jnp.asarray(POINTS)

    def loss(a, b):
        return jnp.sum(nt.derivatives(lambda x: jnp.sin(a * x) * jnp.tanh(b * x), x, 3)[3] ** 2)

    def plain(a, b):
        g = lambda x: jnp.sin(a * x) * jnp.tanh(b * x)  # noqa: E731
        for _ in range(3):
            g = jax.grad(g)
        return jnp.sum(jax.vmap(g)(x) ** 2)

    got = jax.jit(jax.grad(loss, argnums=(0, 1)))(1.3, 0.7)
    np.testing.assert_allclose(got, jax.grad(plain, argnums=(0, 1))(1.3, 0.7), rtol=1e-11)


def test_calls_nest():
    """The derivative of a derivative, with respect to another variable, is the mixed one."""
    x = jnp.asarray(POINTS)

    def slope_in_a(x):
        return nt.derivatives(lambda a: jnp.sin(a * x), jnp.asarray(2.0), 1)[1]

    close(nt.derivatives(slope_in_a, x, 3), nested(lambda x: x * jnp.cos(2 * x), x, 3))


@pytest.mark.usefixtures("_float32")
def test_float32_stays():
    """No dtype is promoted, and nothing asks for one that is not there: a warning would be an error here."""
    x = jnp.asarray(POINTS, dtype=jnp.float32)
    for name in ("gelu", "softplus", "ndtr", "erfc"):
        assert nt.derivatives(UNIVARIATE[name], x, 3).dtype == jnp.float32
    for f in (ARITHMETIC["pieces"], ARITHMETIC["complex"], MOVED["joined"], MOVED["gathered"], CALLED["scan"]):
        assert nt.derivatives(f, x, 3).dtype == jnp.float32


def test_float32_beside_float64():
    x = jnp.asarray(POINTS, dtype=jnp.float32)
    got = nt.derivatives(lambda x: 0.3 * jnp.sin(x) ** 2 + x**1.5 + 2.0**x, x, 4)
    assert got.dtype == jnp.float32


def test_domains_are_checked_where_values_are_known():
    with pytest.raises(ValueError, match="log is not differentiable"):
        nt.derivatives(jnp.log, jnp.asarray([-1.0, 1.0]), 2)
    inside = jax.jit(lambda x: nt.derivatives(jnp.log, x, 2))(jnp.asarray([-1.0, 1.0]))
    assert np.isnan(inside[0, 0])


def test_a_primitive_without_rule_is_named_with_its_line():
    f = lambda x: jax.lax.linalg.schur(x[:, None] * x)  # noqa: E731
    line = f.__code__.co_firstlineno
    with pytest.raises(
        nt.jets.MissingRule, match=rf"(?s)'schur'.*nt.jets.register\('lax.schur'.*line {line} of {re.escape(__file__)}"
    ):
        nt.derivatives(f, jnp.asarray(POINTS), 2)


def test_a_primitive_can_be_taught():
    """By jets.register under lax.<name>, or as an activation where it is a function of one variable."""
    squared = pytest.importorskip("jax.extend.core").Primitive("squared")
    squared.def_abstract_eval(lambda a: a)
    nt.jets.register("lax.squared", lambda xp, order, u: u * u)
    try:
        f = lambda x: squared.bind(x) + x  # noqa: E731
        close(nt.derivatives(f, jnp.asarray(POINTS), 3), nested(lambda x: x * x + x, jnp.asarray(POINTS), 3))
    finally:
        del nt.jet_rules.RULES["lax.squared"]


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (lambda x: None, TypeError, "it returned a NoneType"),
        (lambda x: x > 0, TypeError, "must return floating values"),
        (lambda x: nt.jet(jnp.sin, x, 2), TypeError, "returned a Jet made inside it"),
        (lambda x: jnp.sinn(x), AttributeError, "sinn"),
    ],
)
def test_what_f_returns_is_checked(f, error, message):
    with pytest.raises(error, match=message):
        nt.derivatives(f, jnp.asarray(POINTS), 2)


def test_mixed_libraries_are_refused():
    net = nt.MLP.create([1, 4, 1], xp=jnp)
    with pytest.raises(TypeError, match=r"x is a numpy array.*net.parameters\['0.weight'\] is a jaxlib array"):
        nt.derivatives(net, POINTS, 2)
    with pytest.raises(TypeError, match="direction is a numpy array"):
        nt.derivatives(jnp.sin, jnp.asarray(POINTS), 2, np.ones(4))
    with pytest.raises(TypeError, match="x is a jax"):
        jax.jit(lambda x: nt.derivatives(nt.MLP.create([1, 4, 1]), x, 2))(jnp.asarray(POINTS))


def test_an_array_of_another_library_is_named():
    """Whichever of the two a user forgot to convert."""
    for f in (jnp.sin, lambda x: jnp.exp(x) * x):
        with pytest.raises(TypeError, match=r"x is a numpy array of shape \(3,\).*f\(x\) is a jax.* array of shape"):
            nt.derivatives(f, np.ones(3), 2)
