"""Who is compared in a benchmark on CuPy: ntaylor with its CUDA kernels, the published algorithm, the floor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cupy

from ntaylor.dispatch import Contestant
from ntaylor_backends import array_contestants

__all__ = ["Contestants"]


class Contestants:
    """The slot ``contestants``: see :class:`ntaylor.dispatch.Contestants`. The device is the current one."""

    def __init__(self, device: Any, folder: Path | None):
        self._device = device

    def of(self, workload: Any, ours: Any) -> list[Contestant]:
        modes = {"CUDA kernels": lambda call: call}
        return array_contestants.contestants(workload, ours, cupy, cupy.cuda.get_current_stream().synchronize, modes)

    def about(self) -> dict[str, Any]:
        name = cupy.cuda.runtime.getDeviceProperties(self._device.id)["name"].decode()
        return {"versions": {"cupy": cupy.__version__}, "device": name, "notes": [array_contestants.OWN_GRADIENTS]}

    def memory(self) -> tuple[int, Callable[[], int]] | None:
        # The pool keeps what was freed: what it has taken in all is the most that was in use.
        pool = cupy.get_default_memory_pool()
        pool.free_all_blocks()
        return pool.total_bytes(), pool.total_bytes

    def copy_bandwidth(self) -> float | None:
        source = cupy.ones(2**27)
        target = cupy.empty_like(source)
        seconds = []
        for _ in range(5):
            begin, end = cupy.cuda.Event(), cupy.cuda.Event()
            begin.record()
            cupy.copyto(target, source)
            end.record()
            end.synchronize()
            seconds.append(cupy.cuda.get_elapsed_time(begin, end) / 1e3)
        return 2 * source.nbytes / min(seconds)
