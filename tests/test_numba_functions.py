"""exp, tanh, sin and cos of the loops, against mpmath."""

from __future__ import annotations

import math
from types import FunctionType

import mpmath
import numpy as np
import pytest

from ntaylor_backends.numpy import loop_functions

RNG = np.random.default_rng(5)
SMALL = 10 ** RNG.uniform(-300, 0, 200)
POINTS = np.concatenate([RNG.uniform(-3, 3, 400), RNG.uniform(-707, 709, 400), SMALL, -SMALL])
EDGES = [0.0, 5e-324, 1e-310, 0.34657359027997264, -0.34657359027997264, 22.0, 709.782712893384]
NAMES = ["exp", "tanh", "sin", "cos"]
QUARTERS = math.pi / 2 * RNG.integers(-600_000, 600_000, 300)
"""Where sine or cosine are nearly zero, and digits are lost that the reduction has to have."""


@pytest.fixture(params=["plain", "compiled"])
def function(request):
    """By name; in plain Python, and as a loop that Numba compiles."""

    def plain(name):
        with np.errstate(over="ignore", invalid="ignore"):
            return lambda x: np.asarray([getattr(loop_functions, name)(np.float64(v)) for v in x])

    def compiled(name):
        numba = pytest.importorskip("numba")
        made: dict = {"np": np}
        for n in loop_functions.__all__:  # each calls the ones before it
            made[n] = numba.njit(FunctionType(getattr(loop_functions, n).__code__, made, n))
        of_one = made[name]

        @numba.njit
        def loop(x, y):
            for i in range(x.size):
                y[i] = of_one(x[i])
            return y

        return lambda x: loop(np.asarray(x, np.float64), np.empty(len(x)))

    return plain if request.param == "plain" else compiled


@pytest.mark.parametrize("name", NAMES)
def test_within_two_and_a_half_units_in_the_last_place(name, function):
    x = np.concatenate([POINTS, EDGES, -np.asarray(EDGES)])
    if name in ("sin", "cos"):
        x = np.concatenate([x, QUARTERS, RNG.uniform(-1e6, 1e6, 400)])
    with mpmath.workdps(60), np.errstate(over="ignore", invalid="ignore"):
        for v, found in zip(x, function(name)(x), strict=True):
            exact = getattr(mpmath, name)(mpmath.mpf(float(v)))
            assert abs(mpmath.mpf(float(found)) - exact) <= 2.5 * math.ulp(abs(float(exact))), (name, v, found)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_number_and_beyond(name, function):
    beyond = [1e308, -1e308, 710.0, -746.0] if name not in loop_functions.WITHIN else []
    x = np.asarray([np.inf, -np.inf, np.nan, *beyond, -0.0])
    with np.errstate(over="ignore", invalid="ignore"):
        found, expected = function(name)(x), getattr(np, name)(x)
    np.testing.assert_array_equal(found, expected)
    assert math.copysign(1, found[-1]) == math.copysign(1, expected[-1])
