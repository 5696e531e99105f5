"""How NumPy runs recorded networks: its own functions, and Numba's loops for activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import array_api_compat.numpy
import numpy as np

from ntaylor.activations import Activation
from ntaylor.array_object import innermost
from ntaylor.blocks import arrays_in
from ntaylor.fans import Order, size
from ntaylor_backends import kernels
from ntaylor_backends import numpy as of_numpy
from ntaylor_backends.numpy import buffers
from ntaylor_backends.recordings import Recorded, Recorder, Tape

__all__ = ["NumpyRecorder"]

SMALL = 4096
"""Entries of a matrix whose copy takes a microsecond."""


class NumpyRecorder(Recorder):
    """Arrays of NumPy, or of a library whose arrays lie in memory that NumPy can read."""

    namespace = array_api_compat.numpy
    reports = True
    """Whether the caller may want to hear of overflows and of what is invalid."""

    def key(self) -> Any:
        # What decides whether activations are kernels; the function itself, for its answer would import Numba.
        return type(self), of_numpy.SMALLEST, of_numpy.compiler

    def written(
        self, tape: Tape, name: str, value: Any, args: Sequence[Any], options: dict[str, Any], texts: Sequence[str]
    ) -> str | None:
        # Methods cost a fraction of the functions, which look for other libraries' arrays first.
        if name == "reshape" and not options:
            return f"{texts[0]}.reshape({texts[1]})"
        if name == "sum" and set(options) == {"axis"} and len(args) == 1:
            axes, count = options["axis"], args[0].shape[0] if args[0].ndim else 0
            if args[0].ndim == 2 and axes in (0, (0,)) and count > 1:
                # Of rows that are short NumPy's sum takes several times as long as their product with ones.
                ones = tape.bound(np.ones(count, _dtype(value)), "ones")
                return f"{ones} @ {texts[0]}" if self.reports else f"{ones}.dot({texts[0]})"
            return f"{texts[0]}.sum({axes!r})"
        if name == "permute_dims" and args[0].ndim == 2:
            # Of a small matrix a copy: the product with it is then half as long again as fast.
            return f"{texts[0]}.T" + (".copy()" if args[0].size <= SMALL and texts[0].startswith("x") else "")
        if name == "matmul" and not self.reports and args[0].ndim == args[1].ndim == 2:
            name = "dot"  # which says nothing, and of a column and a row takes a fifth of the time
        if name == "matmul" and args[0].shape[-1:] == (1,) and args[0].ndim > 1 and args[1].ndim > 1:
            name = "multiply"  # of a column and a row, the same in half the time
        if (name == "dot" or isinstance(getattr(np, name, None), np.ufunc)) and not options:
            dtype, shape = _dtype(value), tuple(value.shape)
            if dtype.itemsize * math.prod(shape) >= buffers.SMALLEST:
                memory = tape.bound(partial(buffers.empty, shape, dtype), "memory")
                return f"{tape.bound(getattr(np, name), name)}({', '.join(texts)}, out={memory}())"
            if name == "multiply":
                return " * ".join(texts)
            if name == "dot":
                return f"{texts[0]}.dot({texts[1]})"
        return None

    def activate(self, tape: Tape, activation: Activation, u: Sequence[Any], order: Order, parameters: Any) -> Any:
        dtype = _dtype(innermost(arrays_in(u)[0]))
        compiling = of_numpy.compiler() if size(order) > 1 and u[0].size >= of_numpy.SMALLEST else None
        if compiling is None or dtype not in (np.float32, np.float64):
            return None

        def noted(kernel: Callable[..., Any], arrays: Sequence[Recorded]) -> Recorded:
            (value,) = self.leave([kernel(*self.enter([a.value for a in arrays]))])
            reads = [a.name for a in arrays]
            return tape.note(value, f"{tape.bound(kernel, 'kernel')}({', '.join(reads)})", reads)

        run = partial(compiling.run, dtype=dtype, call=noted)
        return kernels.activate(run, activation, u, order, parameters)


def _dtype(array: Any) -> np.dtype[Any]:
    return np.dtype(str(array.dtype).rpartition(".")[2])
