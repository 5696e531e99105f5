"""A small array namespace of mpmath numbers, so that one and the same program runs on jets and at many digits.

Arrays are NumPy arrays of objects; linear algebra is mpmath's. It knows values only: derivatives come from
``by_values``, the polynomial through nine of them along real t, at a step that 120 digits bear.
"""

from __future__ import annotations

import functools

import mpmath
import numpy as np

__all__ = ["MP", "by_values"]

DIGITS = 120
STEP = mpmath.mpf(10) ** -10


def _elementwise(function, inputs=1):
    each = np.frompyfunc(function, inputs, 1)
    return lambda *a: np.asarray(each(*a), dtype=object)


def _matrices(function):
    """``function`` of one mpmath matrix, on a stack of them."""

    def of_stack(a, *rest):
        if a.ndim > 2:
            return np.stack([of_stack(*parts) for parts in zip(a, *rest, strict=True)])
        return function(mpmath.matrix(a.tolist()), *rest)

    return of_stack


def _array(m):
    return np.asarray(m.tolist(), dtype=object).reshape(m.rows, m.cols)


def _solve(a, b):
    if b.ndim == 1:
        return _solve(a, b[:, None])[:, 0]
    return _array(mpmath.inverse(a) * mpmath.matrix(b.tolist()))


def _scalar(value):
    return np.asarray(value, dtype=object)[()]


def _fourier(sign):
    def function(a, axis=-1):
        n = a.shape[axis]
        unit = [[mpmath.expjpi(mpmath.mpf(2 * sign * j * k) / n) for k in range(n)] for j in range(n)]
        found = np.moveaxis(a, axis, -1) @ np.asarray(unit, dtype=object)
        return np.moveaxis(found if sign < 0 else found / n, -1, axis)

    return function


class _Linalg:
    solve = staticmethod(_matrices(_solve))
    inv = staticmethod(_matrices(lambda a: _array(mpmath.inverse(a))))
    det = staticmethod(_matrices(lambda a: _scalar(mpmath.det(a))))
    cholesky = staticmethod(_matrices(lambda a: _array(mpmath.cholesky(a))))
    slogdet = staticmethod(_matrices(lambda a: (mpmath.sign(mpmath.det(a)), _scalar(mpmath.log(abs(mpmath.det(a)))))))
    eigvalsh = staticmethod(
        _matrices(lambda a: np.asarray(sorted(mpmath.eigsy((a + a.T) / 2, eigvals_only=True)), dtype=object))
    )
    trace = staticmethod(lambda a: np.trace(a, axis1=-2, axis2=-1))
    diagonal = staticmethod(lambda a: np.diagonal(a, axis1=-2, axis2=-1))
    cross = staticmethod(np.cross)
    outer = staticmethod(np.outer)
    matrix_power = staticmethod(lambda a, n: functools.reduce(np.matmul, [a if n > 0 else _Linalg.inv(a)] * abs(n)))
    vector_norm = staticmethod(lambda a, axis=None: MP.sqrt(np.sum(a * a, axis=axis)))
    matrix_norm = staticmethod(lambda a: MP.sqrt(np.sum(a * a, axis=(-2, -1))))


class _Fft:
    fft = staticmethod(_fourier(-1))
    ifft = staticmethod(_fourier(1))


class _Namespace:
    linalg = _Linalg
    fft = _Fft
    e, pi = mpmath.e, mpmath.pi

    def __getattr__(self, name):
        return _OWN[name] if name in _OWN else getattr(np, name)


_OWN = {
    **{
        name: _elementwise(getattr(mpmath, name))
        for name in (
            *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "expm1", "log", "log10"),
            *("log1p", "sin", "sinh", "sqrt", "tan", "tanh", "sign"),
        )
    },
    "log2": _elementwise(lambda u: mpmath.log(u, 2)),
    "floor": _elementwise(mpmath.floor),
    "real": _elementwise(mpmath.re),
    "imag": _elementwise(mpmath.im),
    "conj": _elementwise(mpmath.conj),
    "abs": _elementwise(abs),
    "reciprocal": _elementwise(lambda u: 1 / u),
    "square": _elementwise(lambda u: u * u),
    "atan2": _elementwise(mpmath.atan2, 2),
    "hypot": _elementwise(mpmath.hypot, 2),
    "pow": _elementwise(lambda a, b: mpmath.power(a, b), 2),
    "logaddexp": _elementwise(lambda a, b: mpmath.log(mpmath.exp(a) + mpmath.exp(b)), 2),
    "remainder": _elementwise(lambda a, b: a - b * mpmath.floor(a / b), 2),
    "maximum": _elementwise(max, 2),
    "minimum": _elementwise(min, 2),
    "clip": lambda a, low, high: MP.minimum(MP.maximum(a, low), high),
    "copysign": _elementwise(lambda a, b: abs(a) if b >= 0 else -abs(a), 2),
    "mean": lambda a, axis=None: np.sum(a, axis=axis) / (a.size // np.size(np.sum(a, axis=axis))),
    "var": lambda a, axis=None: MP.mean((a - np.expand_dims(MP.mean(a, axis), axis)) ** 2, axis),
    "std": lambda a, axis=None: MP.sqrt(MP.var(a, axis)),
    "cumulative_prod": lambda a, axis=None: np.cumprod(a, axis=axis or 0),
    "cumulative_sum": lambda a, axis=None: np.cumsum(a, axis=axis or 0),
    "matrix_transpose": lambda a: np.swapaxes(a, -1, -2),
    "einsum": lambda subscripts, *a: np.einsum(subscripts, *a),
}
MP = _Namespace()


def by_values(function, x, v, order=8):
    """Taylor coefficients (order + 1, …) of ``function`` of x + t v at t = 0, from its values at t = −h n/2 … h n/2."""
    with mpmath.workdps(DIGITS):
        known = [np.vectorize(mpmath.mpf, otypes=[object])(np.asarray(a)) for a in (x, v)]
        places = [mpmath.mpf(j) - order // 2 for j in range(order + 1)]
        values = [np.asarray(function(known[0] + (j * STEP) * known[1]), dtype=object) for j in places]
        weights = mpmath.inverse(mpmath.matrix([[j**k for k in range(order + 1)] for j in places]))
        found = [sum(weights[k, i] * value for i, value in enumerate(values)) / STEP**k for k in range(order + 1)]
        return np.asarray([np.vectorize(complex)(c) for c in found])
