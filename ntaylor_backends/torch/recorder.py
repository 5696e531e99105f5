"""Networks of tensors on the CPU, recorded, and run by NumPy on the tensors' own memory.

There NumPy's calls cost a fraction of torch's, and its matrix products are as fast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from ntaylor.blocks import arrays_in
from ntaylor.fans import Order
from ntaylor_backends import numpy as of_numpy
from ntaylor_backends.numpy.recorder import NumpyRecorder
from ntaylor_backends.shares import push
from ntaylor_backends.torch.kernel_choice import are_plain

__all__ = ["as_array", "push_network"]

Tensor = Any


def as_array(tensor: Tensor) -> Any:
    """A tensor's memory as NumPy's array; a copy of what has none, as a sparse gradient."""
    # Forced: without what autograd knows of it, and with a sign that torch has only noted.
    return (tensor if tensor.layout is torch.strided else tensor.to_dense()).numpy(force=True)


class _Recorder(NumpyRecorder):
    reports = False  # torch says nothing of infinities

    def enter(self, arrays: Sequence[Tensor]) -> Sequence[Any]:
        return [as_array(t) for t in arrays]

    def leave(self, arrays: Sequence[Any]) -> Sequence[Tensor]:
        return [torch.from_numpy(a if a.flags.writeable else np.array(a)) for a in arrays]

    def silently(self) -> AbstractContextManager[Any]:
        return np.errstate(all="ignore")


_RECORDER = _Recorder()


def push_network(
    network: Any, u: Sequence[Tensor | None], order: Order, plain: Callable[..., Any]
) -> tuple[Sequence[Tensor | None], Callable[..., Any]]:
    """The slot ``push_network``: recorded where nobody follows what is done to these tensors."""
    if torch.compiler.is_compiling():
        return plain(u, order)  # type: ignore[no-any-return]
    inputs = arrays_in(u)
    tensors = [*inputs, *network.leaves]
    dtype = tensors[0].dtype
    suits = (
        dtype in (torch.float32, torch.float64)
        and {t.dtype for t in tensors} == {dtype}
        and {t.is_cpu for t in tensors} == {True}
        # NumPy takes as many threads as it was given, whatever torch was told.
        and of_numpy.threads() <= torch.get_num_threads()
        and of_numpy.numba_is_installed()
        and are_plain(tensors)
    )
    if not suits:
        return plain(u, order)  # type: ignore[no-any-return]
    return push(network, u, order, _RECORDER, torch.get_num_threads(), plain, any(t.requires_grad for t in inputs))
