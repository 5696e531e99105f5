"""Who is compared in a benchmark on NumPy: ntaylor with Numba and without it, the published algorithm, the floor."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ntaylor.dispatch import Contestant
from ntaylor_backends import array_contestants
from ntaylor_backends import numpy as own

__all__ = ["Contestants"]


@contextlib.contextmanager
def _without_kernels() -> Iterator[None]:
    before, own.SMALLEST = own.SMALLEST, 10**12
    try:
        yield
    finally:
        own.SMALLEST = before


def _alone(call: Callable[[], Any]) -> Callable[[], Any]:
    def called() -> Any:
        with _without_kernels():
            return call()

    return called


class Contestants:
    """The slot ``contestants``: see :class:`ntaylor.dispatch.Contestants`."""

    def __init__(self, device: Any, folder: Path | None):
        if folder is not None:
            os.environ["NUMBA_CACHE_DIR"] = str(folder / "numba")

    def of(self, workload: Any, ours: Any) -> list[Contestant]:
        kernels = {"Numba": lambda call: call} if importlib.util.find_spec("numba") else {}
        return array_contestants.contestants(workload, ours, np, lambda: None, {**kernels, "NumPy alone": _alone})

    def about(self) -> dict[str, Any]:
        installed = importlib.util.find_spec("numba") is not None
        versions = {"numpy": np.__version__, "numba": version("numba") if installed else "not installed"}
        return {"versions": versions, "notes": [array_contestants.OWN_GRADIENTS]}

    def memory(self) -> tuple[int, Callable[[], int]] | None:
        return None

    def copy_bandwidth(self) -> float | None:
        source = np.ones(2**25)
        target = np.empty_like(source)
        seconds = []
        for _ in range(5):
            begin = time.perf_counter()
            np.copyto(target, source)
            seconds.append(time.perf_counter() - begin)
        return 2 * source.nbytes / min(seconds)
