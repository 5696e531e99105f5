"""The adapter for CuPy arrays: activations by kernels in CUDA C, compiled by NVRTC as CuPy brings it.

Gradients are the core's closed forms (``nt.value_and_grad``), whose activations are these kernels too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import array_api_compat.cupy
import cupy
import cupyx.scipy.special
import numpy

from ntaylor.activations import Activation, Pullback
from ntaylor.blocks import arrays_in
from ntaylor.dispatch import Adapter
from ntaylor.namespace import Library, know
from ntaylor.programs import Program
from ntaylor_backends import cuda, kernels
from ntaylor_backends.cupy import contestants

__all__ = ["adapter"]

Array = Any

THREADS = 256
MOST_BLOCKS = 2**31 - 1

know(
    Library(
        array_api_compat.cupy,
        special={"erf": cupyx.scipy.special.erf, "ndtr": cupyx.scipy.special.ndtr},
        device=lambda array: array.device,
    ),
    cupy.ndarray,
)


class _CupyAdapter(Adapter):
    def writes(self, *arrays: Array) -> bool:  # type: ignore[override]
        return True

    contestants = contestants.Contestants

    def activate(  # type: ignore[override]
        self, activation: Activation, u: Sequence[Array | None], order: int, parameters: Mapping[str, Array]
    ) -> tuple[Sequence[Array | None], Pullback]:
        if not self.fuses(*arrays_in(u), *parameters.values()):
            return activation.closed_form(u, order, parameters)
        return kernels.activate(run, activation, u, order, parameters)

    def fuses(self, *arrays: Array) -> bool:  # type: ignore[override]
        first = arrays[0]
        return first.dtype in (numpy.float32, numpy.float64) and all(
            type(a) is cupy.ndarray and a.dtype == first.dtype and a.device == first.device for a in arrays
        )


adapter = _CupyAdapter()


def run(program: Program, inputs: kernels.Inputs, shape: tuple[int, ...]) -> Array:
    """The outputs as one new array, on the device and of the dtype of the first input."""
    like = next(iter(inputs.values()))
    named = dict(kernels.singly(inputs))
    arrays = [named[name] for name in program.inputs]
    sizes, varying = kernels.layout(shape, tuple(a.shape for a in arrays))
    count = sum(at is not None for at in program.outputs)
    with like.device:  # kernels are launched on the device that is current
        results = cupy.empty((count, *shape), like.dtype)
        entries = math.prod(sizes)
        if entries and count:
            compiled = _compiled(program, varying, len(sizes), like.dtype.name)
            # A loss may give cotangents of another dtype, and of any strides.
            flat = [cupy.ascontiguousarray(a, like.dtype) for a in arrays]
            blocks = min(-(-entries // THREADS), MOST_BLOCKS)
            compiled((blocks,), (THREADS,), (*map(numpy.int64, sizes), *flat, *(results[i, ...] for i in range(count))))
    return results


@lru_cache(maxsize=4096)
def _compiled(program: Program, varying: tuple[tuple[bool, ...], ...], loops: int, dtype: str) -> Any:
    """CuPy compiles it when it is first called, once a device, and keeps it on disk."""
    name, text = cuda.kernel(program, varying, loops, dtype)
    return cupy.RawKernel(text, name)
