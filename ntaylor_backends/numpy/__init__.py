"""The adapter for NumPy arrays: activations by kernels that Numba compiles, where Numba is installed.

Without Numba, or with one that does not work, for small arrays, whose time is the call's and not the computation's, and
for dtypes other than float32 and float64 the core computes, with NumPy alone. Which it is depends on the arrays and on
what is installed, never on what was computed before, so that a program gives the same numbers every time it is run.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from types import ModuleType
from typing import Any

import numpy as np

from ntaylor.activations import Activation, Pullback
from ntaylor.blocks import arrays_in
from ntaylor.dispatch import Adapter
from ntaylor.fans import Order, size
from ntaylor_backends.kernels import activate
from ntaylor_backends.numpy import contestants

__all__ = ["adapter"]

Array = Any

SMALLEST = 2048
"""Entries of the primal from which on a kernel is worth being compiled."""


@cache
def numba_is_installed() -> bool:
    """Whether Numba is there; whether it can be imported is seen when the first kernel is wanted."""
    return importlib.util.find_spec("numba") is not None


@cache
def compiler() -> ModuleType | None:
    """The module that compiles; ``None`` where Numba is not there, cannot be imported or is told not to compile.

    Numba is imported when the first kernel is wanted. It refuses a NumPy newer than itself: as it is never needed, that
    is a warning.
    """
    if not numba_is_installed():
        return None
    try:
        from ntaylor_backends.numpy import numba_kernels
    except ImportError as error:
        warnings.warn(f"Numba cannot be imported, so NumPy alone computes: {error}", RuntimeWarning, stacklevel=2)
        return None
    return numba_kernels if numba_kernels.may_compile() else None


@cache
def threads() -> int:
    """How many share a long loop: as many as share NumPy's matrix products, as far as the environment says."""
    named = (os.environ.get(name, "") for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"))
    given = [int(number) for number in named if number.isdecimal() and int(number) > 0]
    return min([len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, *given])


class _NumpyAdapter(Adapter):
    contestants = contestants.Contestants

    def activate(  # type: ignore[override]
        self, activation: Activation, u: Sequence[Array | None], order: Order, parameters: Mapping[str, Array]
    ) -> tuple[Sequence[Array | None], Pullback]:
        compiling = _compiler_for([*arrays_in(u), *parameters.values()]) if size(order) > 1 else None
        if compiling is None:
            return activation.closed_form(u, order, parameters)
        run = partial(compiling.run, threads=threads())
        return activate(run, activation, u, order, parameters)

    def fuses(self, *arrays: Array) -> bool:  # type: ignore[override]
        return _compiler_for(arrays) is not None

    def writes(self, *arrays: Array) -> bool:  # type: ignore[override]
        return True

    def push_network(  # type: ignore[override]
        self, network: Any, u: Sequence[Array | None], order: Order, plain: Callable[..., Any]
    ) -> tuple[Sequence[Array | None], Callable[..., Any]]:
        from ntaylor_backends.numpy.recorder import NumpyRecorder
        from ntaylor_backends.shares import push

        plain_arrays = all(type(a) is np.ndarray for a in (*arrays_in(u), *network.leaves))
        return push(network, u, order, NumpyRecorder(), threads(), plain) if plain_arrays else plain(u, order)


def _compiler_for(arrays: Sequence[Array]) -> ModuleType | None:
    """:func:`compiler`, where these arrays, of which the first is a primal, suit its kernels."""
    dtype = arrays[0].dtype
    suits = (
        arrays[0].size >= SMALLEST
        and dtype in (np.float32, np.float64)
        and all(type(a) is np.ndarray and a.dtype == dtype for a in arrays)
    )
    return compiler() if suits else None


adapter = _NumpyAdapter()
