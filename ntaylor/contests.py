"""One library's side of a benchmark: contestants are checked, timed and weighed in a process of their own.

Floor 13. ``serve`` answers one request after another on a pipe; ``measuring`` asks, watches the clock and kills. A
contestant that does not give what the reference says is never timed.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib
import math
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
from threadpoolctl import threadpool_info

from ntaylor import calculus, differentiate
from ntaylor.dispatch import Contestant, Contestants, Prepared, adapter_for
from ntaylor.namespace import array_namespace
from ntaylor.references import Reference, errors, tolerance
from ntaylor.verification import BACKENDS, short_name
from ntaylor.workloads import Workload

__all__ = ["Ours", "check", "quartiles", "serve", "time_interleaved"]

Array = Any

_LONG = 1.0
_BRIEF = 0.05
_RESET_PEAK = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Ours:
    """What ntaylor has for a workload: the verbs, so that a library's side need not know them."""

    workload: Workload
    value_and_grad: Callable[..., Any] = differentiate.value_and_grad

    def operate(self, f: Callable[[Any], Any], x: Array) -> Array:
        """The outputs that the workload asks for, of f at x."""
        if self.workload.task == "laplacian":
            return calculus.laplacian(f, x)
        if self.workload.task == "biharmonic":
            return calculus.biharmonic(f, x)
        direction = None if self.workload.inputs == 1 else array_namespace(x).ones_like(x[:1, ...])
        return differentiate.derivatives(f, x, self.workload.order, direction)


@dataclass
class _Side:
    """The library, and who of it is prepared for the workload that is being measured."""

    backend: str
    folder: Path | None
    device: Any = None
    contestants: Contestants | None = None
    workload: Workload | None = None
    made: list[Contestant] = field(default_factory=list)
    ready: dict[str, Prepared] = field(default_factory=dict)

    def hello(self) -> dict[str, Any]:
        """Versions, threads and the names of the devices."""
        backend = BACKENDS[self.backend]
        xp = importlib.import_module(backend.module)
        devices = backend.devices(xp)
        about = self._side(devices[0]).about() if devices else {}
        threads = {f"{pool['user_api']}, {pool['internal_api']}": pool["num_threads"] for pool in threadpool_info()}
        threads |= about.get("threads", {})
        return {**about, "threads": threads, "devices": [short_name(d) for d in devices]}

    def on(self, device: str) -> dict[str, Any]:
        """Go to the device of this name; about it."""
        backend = BACKENDS[self.backend]
        xp = importlib.import_module(backend.module)
        self.device = next(d for d in backend.devices(xp) if short_name(d) == device)
        self.contestants = self._side(self.device)
        return self.contestants.about()

    def _side(self, device: Any) -> Contestants:
        xp = importlib.import_module(BACKENDS[self.backend].module)
        make = adapter_for(xp.zeros(1)).contestants
        if make is None:
            raise LookupError(f"the adapter for {self.backend} names no contestants")
        return make(device, self.folder)

    def begin(self, workload: Workload) -> list[dict[str, Any]]:
        """Who could take part: name, mode, role, whether missing, whether exponential."""
        assert self.contestants is not None
        self.ready.clear()
        gc.collect()
        self.workload, self.made = workload, self.contestants.of(workload, Ours(workload))
        keys = ("name", "mode", "role", "missing", "exponential")
        return [{key: getattr(c, key) for key in keys} for c in self.made]

    def prepare(self, name: str, mode: str, exact: Reference) -> dict[str, Any]:
        """Build a contestant, call it once, and compare what it gives: errors, and seconds of the first step."""
        assert self.workload is not None
        contestant = next(c for c in self.made if (c.name, c.mode) == (name, mode))
        prepared = contestant.prepare()
        begin = time.perf_counter()
        prepared.step()
        first = time.perf_counter() - begin
        found = self._checked(contestant, prepared, exact)
        if found["agrees"]:
            self.ready[f"{name}, {mode}"] = prepared
        return {**found, "first_step": first}

    def _checked(self, contestant: Contestant, prepared: Prepared, exact: Reference) -> dict[str, Any]:
        assert self.workload is not None
        workload = self.workload.floor() if contestant.role == "floor" else self.workload
        assert workload is not None
        error, off = check(prepared, workload, exact, BACKENDS[self.backend].to_host)
        agrees = max(error, off) <= tolerance(workload.dtype)
        return {"agrees": agrees, "error": _finite(error), "gradient_error": _finite(off)}

    def measure(self, seconds: float, least: int, most: int) -> dict[str, Any]:
        """Times of all that are prepared, in turn."""
        return time_interleaved(self.ready, seconds, least, most)

    def weigh(self, name: str, mode: str, exact: Reference, limit: int) -> dict[str, Any]:
        """Peak memory of a step beyond what lay there before, in a process that does nothing else."""
        assert self.contestants is not None
        contestant = next(c for c in self.made if (c.name, c.mode) == (name, mode))
        prepared = contestant.prepare()
        limited(limit)
        on_device = self.contestants.memory() is not None
        alone = not on_device and not _peak_can_be_reset()
        if alone:  # then the first step has to be the one that is weighed, with whatever is compiled in it
            before, peak = _peak_bytes(), _peak_bytes
            prepared.step()
            weight = peak() - before
        found = self._checked(contestant, prepared, exact)
        if not alone:
            gc.collect()
            of_device = self.contestants.memory()
            if of_device is not None:
                before, peak = of_device
            else:
                _give_back()
                _RESET_PEAK.write_text("5")
                before, peak = _peak_bytes(), _peak_bytes
            for _ in range(2):
                prepared.step()
            weight = peak() - before
        return {**found, "bytes": max(0, weight), "compiling": alone}

    def bandwidth(self) -> float | None:
        """Of a copy on the device, bytes a second."""
        assert self.contestants is not None
        return self.contestants.copy_bandwidth()


def check(
    prepared: Prepared, workload: Workload, exact: Reference, to_host: Callable[[Array], Array]
) -> tuple[float, float]:
    """Relative errors of a contestant's outputs and gradient, from the calls that are going to be timed."""
    outputs = to_host(prepared.outputs(prepared.forward()))
    gradient = {name: to_host(g) for name, g in prepared.gradient(prepared.step()).items()}
    return errors(workload, exact, outputs, gradient)


def time_interleaved(ready: dict[str, Prepared], seconds: float, least: int, most: int) -> dict[str, Any]:
    """Quartiles of forward, step and their difference "backward" of each.

    In turn, round after round, so that what disturbs one disturbs all; in an order that is drawn anew every round, so
    that nobody always follows the same other, whose threads may still wait for work in a loop. Brief ones are called
    once before the call that counts too, as in a training loop a step follows its like. Each gets an equal share of the
    seconds, and at least ``least`` calls, 3 if they take over a second. Who has fewer calls than others is spread over
    all rounds.
    """
    rounds: dict[str, int] = {}
    times: dict[str, dict[str, list[float]]] = {}
    first: dict[str, float] = {}

    def once(name: str, taken: float = _LONG) -> float:
        total = 0.0
        if taken < _BRIEF:
            ready[name].step()
        else:
            gc.collect(1)  # a graph that refers to itself is gigabytes, and nobody else looks for it now
        for what, call in (("forward", ready[name].forward), ("step", ready[name].step)):
            begin = time.perf_counter()
            call()
            times[name][what].append(time.perf_counter() - begin)
            total += times[name][what][-1]
        return total

    gc.collect()
    gc.disable()
    try:
        for name in ready:  # all have been called before, when they were checked: this is the first round
            times[name] = {"forward": [], "step": []}
            first[name] = taken = max(once(name), 1e-9)
            wanted = min(most, int(seconds / len(ready) / taken))
            rounds[name] = max(wanted, least if taken < _LONG else min(least, 3)) - 1
        longest, turns = max(rounds.values(), default=0), random.Random(0)
        for i in range(longest):
            for name in turns.sample(list(ready), len(ready)):
                if (i + 1) * rounds[name] // longest > i * rounds[name] // longest:
                    once(name, first[name])
    finally:
        gc.enable()
    for of in times.values():
        of["backward"] = [b - a for a, b in zip(of["forward"], of["step"], strict=True)]
    return {name: {what: quartiles(t) for what, t in of.items()} for name, of in times.items()}


def _finite(value: float) -> float | None:
    """JSON knows no NaN."""
    return value if math.isfinite(value) else None


def quartiles(values: list[float]) -> dict[str, float]:
    """Median, quartiles and the number of measurements."""
    low, middle, high = (float(q) for q in numpy.percentile(values, (25, 50, 75)))
    return {"median": middle, "low": low, "high": high, "count": len(values)}


# --- memory -------------------------------------------------------------------------------------------


def limited(limit: int) -> None:
    """Let the process take no more than ``limit`` bytes beyond what it has; where the system knows such limits."""
    with contextlib.suppress(OSError, ValueError, ImportError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (_status("VmData") + limit, hard))


def _status(name: str) -> int:
    """Bytes; OSError where there is no such file, as on other systems than Linux."""
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _peak_bytes() -> int:
    # What getrusage says begins on Linux with the memory of the process that started this one.
    with contextlib.suppress(OSError, StopIteration):
        return _status("VmHWM")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@functools.cache
def _peak_can_be_reset() -> bool:
    """On Linux; elsewhere a process's peak only grows."""
    try:
        _RESET_PEAK.write_text("5")
        block = numpy.ones(2**23)
        high = _peak_bytes()
        del block
        _RESET_PEAK.write_text("5")
    except OSError:
        return False
    return _peak_bytes() < high - 2**25


def _give_back() -> None:
    """Have the C library return what was freed, so that it is not there already when it is wanted again."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


# --- the process --------------------------------------------------------------------------------------


def serve(pipe: Any, backend: str, folder: str | None, limit: int) -> None:
    """Answer (method of the side, arguments) with ("done", result) or ("failed", what was raised), until None."""
    with contextlib.suppress(AttributeError, OSError):
        os.setsid()  # whoever ends this process ends its compilers with it
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    side = _Side(backend, None if folder is None else Path(folder))
    with BACKENDS[backend].setting():
        while (request := pipe.recv()) is not None:
            method, arguments = request
            try:
                result = getattr(side, method)(*arguments)
                if method == "on" and limit:
                    limited(limit)
                pipe.send(("done", result))
            except Exception as error:
                pipe.send(("failed", f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]))
