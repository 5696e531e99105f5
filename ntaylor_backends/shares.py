"""A recorded network's batch, shared out among threads: each takes its points through all layers.

So threads meet once a push and once a pullback, not once an operation, and every matrix product is one thread's: for
networks' sizes, threads that meet inside each product cost more time than they save.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from functools import cache, reduce
from operator import add
from typing import Any

from ntaylor.array_object import unwrapped_namespace
from ntaylor.blocks import arrays_in, mapped_all, opened
from ntaylor.fans import Order, size
from ntaylor.layers import Coefficients, Gradients, Pullback
from ntaylor_backends.recordings import Recorder, entry_for
from ntaylor_backends.threads import at_once

__all__ = ["push"]

Array = Any

SHARE = 2**24
"""Multiplications in matrix products that are worth waking a thread."""
FEWEST = 32
"""Points of a share."""


def push(
    network: Any,
    u: Coefficients,
    order: Order,
    recorder: Recorder,
    threads: int,
    plain: Callable[[Coefficients, Order], tuple[Coefficients, Pullback]],
    of_input: bool = True,
) -> tuple[Coefficients, Pullback]:
    """As ``plain(u, order)``, the network's own push; without ``of_input`` its pullback gives no cotangents of u."""
    rows = u[0].shape[-2]
    kinds = tuple([(p.dtype, p.shape) for p in network.leaves])
    work = rows * size(order) * sum([shape[0] * shape[1] for _, shape in kinds if len(shape) == 2])
    # Of the shapes alone, so that the numbers are the same every time.
    count = max(1, min(threads, rows // FEWEST, work // SHARE))
    ends = [(rows * i // count, rows * (i + 1) // count) for i in range(count)]

    def shares(coefficients: Coefficients) -> list[Coefficients]:
        if count == 1:
            return [coefficients]

        def share(first: int, last: int) -> Coefficients:
            # What all points share has one row.
            return mapped_all(lambda c: c[..., first:last, :] if _rows(c) == rows else c, coefficients)

        return [share(*part) for part in ends]

    inputs = shares(u)
    entries = [entry_for(network, kinds, share, order, recorder, of_input) for share in inputs]
    one_thread = count > 1 or work < threads * SHARE
    pushes = [_bound(e.push, share, network) for e, share in zip(entries, inputs, strict=True)]
    done = _at_once(pushes, one_thread)
    if None in done:
        return plain(u, order)
    if count > 1 and any(
        _rows(a) != last - first for (v, _), (first, last) in zip(done, ends, strict=True) for a in arrays_in(v)
    ):
        return plain(u, order)  # of an output that all points share, shares do not add up
    v = _joined([v for v, _ in done])

    def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
        given = shares(_of_every_point(cotangent, rows) if count > 1 else cotangent)

        def pulled_back(by: Sequence[Any]) -> list[Any]:
            return _at_once([_bound(back, c, per_sample) for (_, back), c in zip(by, given, strict=True)], one_thread)

        found = pulled_back(done)
        if None in found:
            # Cotangents that came for the first time: the code is made, and run from the start.
            for entry, share, part in zip(entries, inputs, given, strict=True):
                entry.learn(network, share, part, per_sample)
            again = _at_once(pushes, one_thread)
            if None in again:
                return plain(u, order)[1](cotangent, per_sample)
            found = pulled_back(again)
            if None in found:
                return plain(u, order)[1](cotangent, per_sample)
        if count == 1:
            return found[0]  # type: ignore[no-any-return]
        of_u = _joined([c for c, _ in found], None if per_sample else u)
        gradients = {}
        for name, p in zip(network.parameters, network.leaves, strict=True):
            parts = [g[name] for _, g in found]
            xp = unwrapped_namespace(parts)
            gradients[name] = xp.concat(parts, axis=-1 - p.ndim) if per_sample else reduce(add, parts)
        return of_u, gradients

    return v, pullback


def _of_every_point(cotangent: Coefficients, rows: int) -> Coefficients:
    """Cotangents that all points share, once for each."""

    def spread(c: Array) -> Array:
        if _rows(c) == rows:
            return c
        return unwrapped_namespace([c]).broadcast_to(c, (*c.shape[:-2], rows, c.shape[-1]))

    return mapped_all(spread, cotangent)


def _joined(parts: Sequence[Coefficients], like: Coefficients | None = None) -> Coefficients:
    """Coefficients of all points from those of the shares; what is of one row in ``like`` is added up."""
    if len(parts) == 1:
        return parts[0]
    held = [opened(part)[0] for part in parts]
    closed = opened(parts[0])[1]
    if not held[0]:
        return parts[0]
    xp = unwrapped_namespace(held[0])
    of_like = [a for a, c in zip(like, parts[0], strict=True) if c is not None] if like is not None else None
    joined = []
    for i, arrays in enumerate(zip(*held, strict=True)):
        shared = of_like is not None and _rows(of_like[i]) == 1
        joined.append(reduce(add, arrays) if shared else xp.concat(arrays, axis=-2))
    return closed(joined)


def _rows(c: Array) -> int:
    """How many points a coefficient has one for: of what all share without an axis, one."""
    return c.shape[-2] if c.ndim > 1 else 1  # type: ignore[no-any-return]


def _bound(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    return lambda: function(*arguments)


def _at_once(tasks: Sequence[Callable[[], Any]], one_thread_a_product: bool) -> list[Any]:
    if not one_thread_a_product:
        return [task() for task in tasks]
    with _one_thread_a_product:
        return at_once(tasks)


@cache
def _blas() -> list[tuple[Callable[[], int], Callable[[int], Any]]]:
    """What says and what sets the threads of each of the libraries that NumPy's matrix products are in."""
    from threadpoolctl import ThreadpoolController

    return [_functions(library) for library in ThreadpoolController().select(user_api="blas").lib_controllers]


def _functions(library: Any) -> tuple[Callable[[], int], Callable[[int], Any]]:
    # threadpoolctl looks for OpenBLAS's own functions in every call, which takes several times as long as they do.
    find = getattr(library, "_get_symbol", None)
    if library.internal_api == "openblas" and library.threading_layer == "pthreads" and find is not None:
        own = find("openblas_get_num_threads"), find("openblas_set_num_threads")
        if None not in own:
            return own
    return library.get_num_threads, library.set_num_threads


class _OneThreadAProduct:
    """Matrix products by one thread each, until the last of those who ask for it are done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within = 0
        self._before: list[int] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._within:
                self._before = [get() for get, _ in _blas()]
                _set(self._before, [1] * len(self._before))
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                _set([1] * len(self._before), self._before)

    def reset(self) -> None:
        """In the child of a fork: the parent's threads, which would leave, are not here."""
        within, before = self._within, self._before
        self._lock, self._within = threading.Lock(), 0
        if within:
            _set([1] * len(before), before)


_one_thread_a_product = _OneThreadAProduct()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_one_thread_a_product.reset)


def _set(now: Sequence[int], wanted: Sequence[int]) -> None:
    for (_, set_threads), old, new in zip(_blas(), now, wanted, strict=True):
        if old != new:
            set_threads(new)
