"""Programs on tensors of the CPU by Numba's loops, which read and write the tensors' own memory."""

from __future__ import annotations

from typing import Any

import torch

from ntaylor.programs import Program
from ntaylor_backends.kernels import Inputs
from ntaylor_backends.numpy import numba_kernels
from ntaylor_backends.torch.recorder import as_array

__all__ = ["run"]

Tensor = Any


def run(program: Program, inputs: Inputs, shape: tuple[int, ...]) -> Tensor:
    """The outputs as one new tensor; NumPy's arrays of what the functions gave stay in ``inputs``."""
    arrays = {key: as_array(t) if isinstance(t, torch.Tensor) else t for key, t in inputs.items()}
    result = numba_kernels.run(program, arrays, shape, torch.get_num_threads())
    inputs.update((key, a) for key, a in arrays.items() if key not in inputs)
    return torch.from_numpy(result)
