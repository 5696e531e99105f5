"""The adapter for NumPy arrays: activations by kernels that Numba compiles, where Numba is installed.

Without Numba, or with one that does not work, for small arrays, whose time is the call's and not the computation's, and
for dtypes other than float32 and float64 the core computes, with NumPy alone. Which it is depends on the arrays and on
what is installed, never on what was computed before, so that a program gives the same numbers every time it is run.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from ntaylor.activations import Activation, Pullback
from ntaylor.dispatch import Adapter
from ntaylor_backends.kernels import activate
from ntaylor_backends.numpy import contestants

__all__ = ["adapter"]

Array = Any

SMALLEST = 2048
"""Entries of the primal from which on a kernel is worth being compiled."""


@cache
def compiler() -> ModuleType | None:
    """The module that compiles; ``None`` where Numba is not there, cannot be imported or is told not to compile.

    Numba is imported when the first kernel is wanted. It refuses a NumPy newer than itself: as it is never needed, that
    is a warning.
    """
    if importlib.util.find_spec("numba") is None:
        return None
    try:
        from ntaylor_backends.numpy import numba_kernels
    except ImportError as error:
        warnings.warn(f"Numba cannot be imported, so NumPy alone computes: {error}", RuntimeWarning, stacklevel=2)
        return None
    return numba_kernels if numba_kernels.may_compile() else None


class _NumpyAdapter(Adapter):
    contestants = contestants.Contestants

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
        )
        compiling = compiler() if suits else None
        if compiling is None:
            return activation.closed_form(u, order, parameters)
        return activate(compiling.run, activation, u, order, parameters)


adapter = _NumpyAdapter()
