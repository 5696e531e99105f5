"""The adapter for NumPy arrays: activations by kernels that Numba compiles, where Numba is installed.

Without Numba, for small arrays, whose time is the call's and not the computation's, and for dtypes other than float32
and float64 the core computes, with NumPy alone. Which it is depends on the arrays and on what is installed, never on
what was computed before, so that a program gives the same numbers every time it is run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ntaylor.activations import Activation, Pullback
from ntaylor.dispatch import Adapter
from ntaylor_backends.kernels import activate

__all__ = ["adapter"]

Array = Any

SMALLEST = 2048
"""Entries of the primal from which on a kernel is worth being compiled."""


@cache
def numba_is_installed() -> bool:
    """Whether Numba can be imported; it is imported when the first kernel is wanted."""
    return importlib.util.find_spec("numba") is not None


class _NumpyAdapter(Adapter):
    def activate(  # type: ignore[override]
        self, activation: Activation, u: Sequence[Array | None], order: int, parameters: Mapping[str, Array]
    ) -> tuple[list[Array | None], Pullback]:
        arrays = [c for c in (*u, *parameters.values()) if c is not None]
        dtype = arrays[0].dtype
        suits = (
            order > 0
            and arrays[0].size >= SMALLEST
            and dtype in (np.float32, np.float64)
            and all(type(a) is np.ndarray and a.dtype == dtype for a in arrays)
            and numba_is_installed()
        )
        if not suits:
            return activation.closed_form(u, order, parameters)
        from ntaylor_backends.numpy.numba_kernels import run

        return activate(run, activation, u, order, parameters)


adapter = _NumpyAdapter()
