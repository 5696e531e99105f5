"""Programs on tensors of the CPU by Numba's loops, which read and write the tensors' own memory."""

from __future__ import annotations

from typing import Any

import torch

from ntaylor.programs import Program
from ntaylor_backends.numpy import numba_kernels

__all__ = ["run"]

Tensor = Any


def run(program: Program, inputs: dict[str, Tensor], shape: tuple[int, ...]) -> list[Tensor | None]:
    """The outputs as new tensors of ``shape``; NumPy's arrays of what the functions gave stay in ``inputs``."""
    arrays = {name: t.detach().numpy() if isinstance(t, torch.Tensor) else t for name, t in inputs.items()}
    results = numba_kernels.run(program, arrays, shape)
    inputs.update({name: a for name, a in arrays.items() if name not in inputs})
    return [None if r is None else torch.from_numpy(r) for r in results]
