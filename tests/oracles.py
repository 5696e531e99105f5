"""Oracles that several test files share."""

from __future__ import annotations

import math

import mpmath
import numpy as np


def complex_step(function, array):
    """The gradient of a real analytic function of an array, exact to rounding: Im f(a + i h e)/h, h = 1e-30."""
    gradient = np.empty(array.shape)
    for index in np.ndindex(array.shape):
        moved = array.astype(complex)
        moved[index] += 1e-30j
        gradient[index] = function(moved).imag / 1e-30
    return gradient


def on_a_circle(function, order, radius=0.25, points=256):
    """Taylor coefficients at 0 of a holomorphic function of one number, from its values alone, by Cauchy's integral.

    Its error is that of the values over radius^k, and what an order of ``points`` aliases.
    """
    nodes = radius * np.exp(2j * math.pi * np.arange(points) / points)
    values = np.stack([np.asarray(function(node), complex) for node in nodes])
    return (np.fft.fft(values, axis=0) / points)[: order + 1] / radius ** np.arange(order + 1).reshape(
        -1, *[1] * (values.ndim - 1)
    )


def of_matrices(function, curves, order):
    """Taylor coefficients of ``function`` of matrices A(t) = Σ t^k A_k, at 50 digits: an mpmath matrix or number."""
    with mpmath.workdps(50):
        known = [[mpmath.matrix(np.atleast_2d(c).tolist()) for c in curve] for curve in curves]

        def at(t):
            found = function(*(sum((c * t**k for k, c in enumerate(curve[1:], 1)), curve[0]) for curve in known))
            return found if isinstance(found, mpmath.matrix) else mpmath.matrix([[found]])

        shape = (at(mpmath.mpf(0)).rows, at(mpmath.mpf(0)).cols)
        # One evaluation a step for all entries: differences of order k at a step that 50 digits bear.
        entries = [
            [mpmath.taylor(lambda t, i=i, j=j: at(t)[i, j], 0, order) for j in range(shape[1])] for i in range(shape[0])
        ]
        return np.asarray([[[complex(c) for c in row] for row in line] for line in entries]).transpose(2, 0, 1).real
