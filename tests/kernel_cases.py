"""What kernels are tried on, whoever runs them: every activation, in every shape in which coefficients come."""

from __future__ import annotations

from dataclasses import replace

import array_api_compat.numpy
import numpy as np

from ntaylor import activations
from ntaylor.programs import COMPARISONS, ELEMENTWISE, SCALARS, evaluate, record
from ntaylor.series import Series
from ntaylor_backends import kernels

BUILT_IN = tuple(activations.names)  # before a test registers its own
ACTIVATIONS = {name: activations.get(name) for name in BUILT_IN} | {
    made.name + label: made
    for label, made in [
        *(("", activations.power(p)) for p in (0, 3, 0.5, -2)),
        ("", activations.relu_power(6)),
        (" of 0.7", activations.elu(0.7)),
    ]
}

OPTIONS = [
    {},
    {"activation": "gelu"},
    {"activation": "snake"},
    {"activation": "square"},
    {"gated": True},
    {"residual": True, "bias": False},
    {"odd": True},
    {"fourier": (3, 1.0), "output_range": (-2.0, 3.0)},
    {"periods": (2.0, None), "input_range": (-1.0, 3.0)},
]
"""Of ``nt.MLP.create``: networks with every kind of layer."""

SHAPES = {
    "a batch": [(7, 5)] * 4,
    "one number": [()] * 4,
    "scalars": [(9,)] * 4,
    "a line": [(7, 5)] * 2,
    "a shared row": [(7, 5), (5,)],
    "a row of one": [(7, 5), (1, 5), (7, 5)],
    "a primal of one row": [(5,), (7, 5)],
    "directions": [(7, 5), (3, 7, 5), (3, 7, 5)],
    "directions shared by points": [(7, 5), (3, 1, 5)],
    "one number a point": [(7, 5), (7, 1), (7, 5)],
    "nothing": [(0, 5)] * 3,
    "no directions": [(7, 5), (0, 7, 5)],
    "several blocks": [(300, 5)] * 3,
    "deep": [(2, 3, 4, 5), (3, 1, 5), (2, 1, 4, 1)],
}


def primal(activation, shape, rng):
    """Points at which f is smooth, on both sides of 0 where it is: no kink, and no zero of a denominator."""
    distance = rng.uniform(0.2, 0.9, shape)
    candidates = [distance * rng.choice([-1, 1], shape), distance, 1 + distance]
    if activation.singular is None:
        return candidates[0]
    return next(c for c in candidates if not np.any(activation.singular(c, np)))


def series(activation, shapes, rng, dtype="float64"):
    """Coefficients of these shapes (None is absent), decreasing as those of a smooth function do."""
    return [
        None
        if shape is None
        else np.asarray(primal(activation, shape, rng) if k == 0 else rng.standard_normal(shape) * 0.4**k).astype(dtype)
        for k, shape in enumerate(shapes)
    ]


def parameters_of(activation, dtype="float64"):
    return {name: np.asarray(1.2, dtype) for name in activation.parameters}


def cotangents(v, rng):
    return [None if c is None else rng.standard_normal(c.shape).astype(c.dtype) for c in v]


def expected(activation, u, order, parameters, cotangent):
    """By the core on NumPy: (coefficients, cotangents of u, cotangents of the parameters)."""
    v, pullback = activation.closed_form(u, order, parameters)
    return v, *pullback(cotangent)


def worst(found, wanted):
    """The largest error of an array among these, relative to that array's largest entry; shapes and gaps must agree."""
    error = 0.0
    for f, w in zip(found, wanted, strict=True):
        assert (f is None) == (w is None)
        if w is not None:
            assert f.shape == w.shape
            assert f.dtype == w.dtype
            assert np.all(np.isfinite(f))
            error = max(error, np.max(np.abs(f - w), initial=0.0) / np.max(np.abs(w), initial=1e-30))
    return error


def compare(activation, u, order, parameters, activate, to_array, to_numpy, seed=0):
    """The worst errors of (values, cotangents, cotangents of parameters) of ``activate`` against the core on NumPy."""
    rng = np.random.default_rng(seed)
    v, pullback = activate(
        activation,
        [None if c is None else to_array(c) for c in u],
        order,
        {name: to_array(p) for name, p in parameters.items()},
    )
    cotangent = cotangents([None if c is None else to_numpy(c) for c in v], rng)
    of_u, of_parameters = pullback([None if c is None else to_array(c) for c in cotangent])
    wanted = expected(activation, u, order, parameters, cotangent)
    back = [[None if c is None else to_numpy(c) for c in found] for found in (v, of_u, of_parameters.values())]
    assert list(of_parameters) == list(wanted[2])
    return tuple(map(worst, back, (wanted[0], wanted[1], list(wanted[2].values()))))


def _constant_slope(u, xp):
    return Series([u[0], 2.0]), Series([u[0] * 0 + 1])


CONSTANT = activations.Activation("constant", _constant_slope)
"""Its v_1 is a number: a kernel without inputs, where directions share a primal."""


def programs(activation, orders):
    """(label, order, line, program) of the forward and adjoint kernels along a line and of all coefficients."""
    for order in orders:
        for line in (True, False):
            present = (True,) * (2 if line else order + 1)
            names = tuple(activation.parameters)
            yield (
                "forward",
                order,
                line,
                kernels.forward_program(activation, order, tuple(range(order + 1)), present, names),
            )
            yield (
                "adjoint",
                order,
                line,
                kernels.adjoint_program(activation, order, present, names, (True,) * (order + 1)),
            )


def every_operation():
    """A program of u0 and u1 with an output for each operation that a rule may use, and their names."""
    of_any = sorted(ELEMENTWISE - {"maximum", "minimum", "pow", "where"})

    def outputs(a, b):
        places = {"acosh": a + 1, "abs": b, "sign": b, "floor": b, "exp": b, "erf": b, "ndtr": b}
        from_one = [getattr(SCALARS, name)(places.get(name, a)) for name in of_any]
        of_two = [getattr(SCALARS, name)(a, b) for name in ("maximum", "minimum", "pow")]
        one = a * 0 + 1
        truths = [getattr(SCALARS, name)(a, b) for name in sorted(COMPARISONS)]
        truths += [(a < 0.5) & (b < 0), (a < 0.5) | (b < 0), ~(a < b)]
        constants = [SCALARS.where(a < b, 0.1, 0.3), SCALARS.where(a < b, 0.1, b), SCALARS.pow(a, 0.1)]
        constants += [SCALARS.maximum(a, 0.1), a - 0.1, 0.1 / b, -a, 0.25]
        return [*from_one, *of_two, *(SCALARS.where(t, one, b) for t in truths), *constants]

    program = replace(record(outputs, ["u0", "u1"]), name="every_operation")
    assert {o.name for o in program.operations} >= ELEMENTWISE | COMPARISONS
    return program


def on_every_operation(dtype="float64"):
    """(inputs, results by NumPy), a place where they are equal and places where they are no numbers among them."""
    rng = np.random.default_rng(6)
    u0, u1 = rng.uniform(0.05, 0.95, 60).astype(dtype), rng.standard_normal(60).astype(dtype)
    u1[0], u1[1], u0[2] = u0[0], np.nan, np.nan
    with np.errstate(invalid="ignore"):
        return {"u0": u0, "u1": u1}, evaluate(every_operation(), array_api_compat.numpy, {"u0": u0, "u1": u1})


def check_every_operation(found, dtype="float64"):
    _, wanted = on_every_operation(dtype)
    tolerance = 8 * np.finfo(dtype).eps
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f, np.full(60, w, dtype), rtol=tolerance, atol=tolerance, strict=True)
