"""Memory of large arrays, used again when nobody reads it any more.

What the system gives anew it has to clear, page by page, which for the coefficients of a network takes as long as half
the arithmetic; a training step asks for the same sizes every time. So memory comes with an object that every view of it
holds, and goes back when that object is let go of, by which nothing that is still read is ever written to.
"""

from __future__ import annotations

import gc
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["empty"]

Array = Any

SMALLEST = 2**19
"""Bytes from which on an array is of memory that is used again: below it the C library does that itself."""
MOST = 2**30
"""Bytes that are kept while nobody uses them."""


class _Free:
    """Memory that nobody uses, by its size; that of sizes not asked for lately is let go of first."""

    def __init__(self) -> None:
        # Memory may come back at any moment of any thread, in the middle of these methods too.
        self._lock = threading.RLock()
        self._kept: OrderedDict[int, list[tuple[Array, int]]] = OrderedDict()
        self._bytes = 0

    def take(self, size: int) -> tuple[Array, int]:
        """Memory and where it begins."""
        with self._lock:
            found = self._kept.get(size)
            if found:
                self._bytes -= size
                return found.pop()
        memory = np.empty(size, np.uint8)
        return memory, memory.ctypes.data

    def give(self, found: tuple[Array, int]) -> None:
        size = found[0].size
        with self._lock:
            self._kept.setdefault(size, []).append(found)
            self._kept.move_to_end(size)
            self._bytes += size
            for oldest in list(self._kept) if self._bytes > MOST else ():
                while self._kept[oldest] and self._bytes > MOST:
                    self._kept[oldest].pop()
                    self._bytes -= oldest

    def collected(self, phase: str, info: Mapping[str, int]) -> None:
        """Python's collector calls it: before a whole collection, as ``gc.collect()`` is, nothing is kept."""
        if phase == "start" and info["generation"] == 2:
            with self._lock:
                self._kept.clear()
                self._bytes = 0

    def unlocked(self) -> None:
        self._lock = threading.RLock()


_free = _Free()
gc.callbacks.append(_free.collected)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free.unlocked)  # another thread of the parent may have held it


class _Lease:
    """What the views of some memory hold."""

    __slots__ = ("__array_interface__", "_found")

    def __init__(self, found: tuple[Array, int], shape: tuple[int, ...], dtype: Any):
        self._found = found
        self.__array_interface__ = {"shape": shape, "typestr": dtype.str, "data": (found[1], False), "version": 3}

    def __del__(self, give: Any = _free.give) -> None:  # at exit a module's names go before the last arrays
        give(self._found)


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """As ``numpy.empty``."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    return np.asarray(_Lease(_free.take(size), shape, dtype))
