"""How NumPy runs recorded networks: its own functions, and Numba's loops for activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import array_api_compat.numpy
import numpy as np

from ntaylor.activations import Activation
from ntaylor.array_object import innermost
from ntaylor.blocks import arrays_in
from ntaylor.fans import Order, size
from ntaylor.programs import Program
from ntaylor_backends import kernels
from ntaylor_backends import numpy as of_numpy
from ntaylor_backends.recordings import Recorder, Tape

__all__ = ["NumpyRecorder"]

SMALL = 4096
"""Entries of a matrix whose copy takes a microsecond."""


class NumpyRecorder(Recorder):
    """Arrays of NumPy, or of a library whose arrays lie in memory that NumPy can read."""

    namespace = array_api_compat.numpy

    def key(self) -> Any:
        # What decides whether activations are kernels; the function itself, for its answer would import Numba.
        return type(self), of_numpy.SMALLEST, of_numpy.compiler

    def written(self, name: str, args: Sequence[Any], options: dict[str, Any], texts: Sequence[str]) -> str | None:
        # Methods cost a fraction of the functions, which look for other libraries' arrays first.
        if name == "reshape" and not options:
            return f"{texts[0]}.reshape({texts[1]})"
        if name == "sum" and set(options) == {"axis"} and len(args) == 1:
            return f"{texts[0]}.sum({options['axis']!r})"
        if name == "permute_dims" and args[0].ndim == 2:
            # Of a small matrix a copy: the product with it is then half as long again as fast.
            return f"{texts[0]}.T" + (".copy()" if args[0].size <= SMALL and texts[0].startswith("x") else "")
        return None

    def activate(self, tape: Tape, activation: Activation, u: Sequence[Any], order: Order, parameters: Any) -> Any:
        dtype = np.dtype(str(innermost(arrays_in(u)[0]).dtype).rpartition(".")[2])
        compiling = of_numpy.compiler() if size(order) > 1 and u[0].size >= of_numpy.SMALLEST else None
        if compiling is None or dtype not in (np.float32, np.float64):
            return None

        def run(program: Program, inputs: kernels.Inputs, shape: tuple[int, ...]) -> Any:
            tail = compiling.functions_first(program, inputs)
            used, call = compiling.prepared(tail, kernels.shapes_of(inputs), shape, dtype, 1)
            arrays = [inputs[names] for names in used]
            (value,) = self.leave([call(*self.enter([a.value for a in arrays]))])
            reads = [a.name for a in arrays]
            return tape.note(value, f"{tape.bound(call, 'kernel')}({', '.join(reads)})", reads)

        return kernels.activate(run, activation, u, order, parameters)
