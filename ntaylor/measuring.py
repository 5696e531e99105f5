"""A benchmark: libraries in processes of their own, budgets, and a record that grows by one cell at a time.

Floor 14. A cell is one workload on one library and device, whose contestants were timed in turn in one process. What
is in the record is not measured again. A contestant that takes longer or more memory than its budget ends its process,
and is written down as that.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import multiprocessing
import os
import platform
import signal
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ntaylor.contests import serve
from ntaylor.references import Reference, reference, tolerance
from ntaylor.storage import made_with
from ntaylor.verification import BACKENDS
from ntaylor.workloads import Job, Workload

__all__ = ["Settings", "machine", "run"]

Record = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How long, and within what."""

    seconds: float = 1.5
    """Of timing a cell, shared by its contestants."""
    least: int = 5
    most: int = 200
    """Calls of a contestant."""
    budget_seconds: float = 90.0
    """Of a contestant's preparation, compiling and two steps included."""
    nested_seconds: float = 12.0
    """The same, of contestants whose cost is exponential in the order."""
    budget_bytes: int = 6 * 2**30
    cold: bool = True
    """Whether compilers begin with empty caches, so that the first step tells what compiling takes."""


class _OverBudgetError(Exception):
    """A request took longer than it may, or ended its process."""


class _Process:
    """A process with one library, started when it is first asked, and again after it was ended."""

    def __init__(self, backend: str, folder: str | None, limit: int, environment: dict[str, str] | None = None):
        self._arguments = backend, folder, limit
        self._environment = environment or {}
        self._process: Any = None
        self._pipe: Any = None

    @property
    def runs(self) -> bool:
        return self._process is not None

    def ask(self, method: str, *arguments: Any, seconds: float | None = None) -> Any:
        """The result. :class:`_OverBudgetError` beyond the seconds or at a sudden end, RuntimeError for a failure."""
        if self._process is None:
            self._start()
        try:
            self._pipe.send((method, arguments))
            if not (seconds is None or seconds > 0) or not self._pipe.poll(seconds):
                raise _OverBudgetError(f"{seconds:.0f} s")
            kind, result = self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join(5)
            code = self._process.exitcode
            self.end()
            raise _OverBudgetError(f"memory, or a crash: the process ended with {code}") from None
        except BaseException:
            self.end()
            raise
        if kind == "failed":
            raise RuntimeError(result)
        return result

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, *self._arguments), daemon=True)
        before = {name: os.environ.get(name) for name in self._environment}
        os.environ.update(self._environment)
        try:
            self._process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        other.close()

    def end(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # It leads a group of its own, in which its compilers are; unless it has not come so far.
            if os.getpgid(self._process.pid) == self._process.pid:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._pipe.close()
        self._process = self._pipe = None


def machine() -> dict[str, Any]:
    """``made_with``, the processor's name and the memory."""
    found: dict[str, Any] = dict(made_with())
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        found["processor"] = next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
    found.setdefault("processor", platform.processor() or platform.machine())
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found["memory"] = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    return found


def run(
    jobs: list[Job],
    backends: list[str],
    settings: Settings,
    record: Record,
    save: Callable[[Record], object] = lambda _: None,
    on_cell: Callable[[str, int, int], object] = lambda *_: None,
) -> Record:
    """Measure what is not in the record yet; ``save`` is called with it after every cell.

    ``on_cell(what, done, total)`` is called before each cell and at the end.
    """
    record.setdefault("libraries", {})
    record.setdefault("cells", {})
    record |= {"made_with": machine(), "settings": asdict(settings)}
    record["tolerance"] = {dtype: tolerance(dtype) for dtype in ("float64", "float32")}
    total, done = len(jobs) * len(backends), 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = temporary if settings.cold else None
        for backend in backends:
            with contextlib.closing(_Library(backend, folder, settings)) as library:
                on_cell(backend, done, total)
                about = library.about()
                _check_same_versions(backend, about, record)
                record["libraries"][backend] = about
                save(record)
                for device in about.get("devices", ()):
                    for i, job in enumerate(jobs):
                        on_cell(f"{backend} {device}, {job.workload.key}", done + i, total)
                        key = f"{job.part}: {backend} {device}, {job.workload.key}"
                        if key not in record["cells"]:
                            cell = library.cell(job, device, jobs)
                            head = {"part": job.part, "backend": backend, "device": device}
                            record["cells"][key] = {**head, "workload": asdict(job.workload), "contestants": cell}
                            save(record)
                done += len(jobs)
    on_cell("done", total, total)
    return record


def _check_same_versions(backend: str, about: dict[str, Any], record: Record) -> None:
    before = record["libraries"].get(backend, {}).get("versions")
    kept = any(cell["backend"] == backend for cell in record["cells"].values())
    if kept and before != about.get("versions"):
        raise ValueError(
            f"the record holds measurements of {backend} with {before}; here it is {about.get('versions')}: measure "
            "all of it anew, or into another file"
        )


class _Library:
    """One library's cells: its process, and what is known to be beyond the budget."""

    def __init__(self, backend: str, folder: str | None, settings: Settings):
        self._backend, self._folder, self._settings = backend, folder, settings
        self._process = _Process(backend, folder, settings.budget_bytes)
        self._beyond: dict[tuple[str, str], list[tuple[Workload, str]]] = {}

    def close(self) -> None:
        self._process.end()

    def about(self) -> dict[str, Any]:
        """Versions, devices and, of each device, the bandwidth of a copy; or the reason why nothing is measured."""
        if importlib.util.find_spec(BACKENDS[self._backend].package) is None:
            return {"reason": "not installed"}
        try:
            found: dict[str, Any] = self._process.ask("hello")
            if not found["devices"]:
                return {**found, "reason": "no device"}
            found["of"] = {}
            for device in found["devices"]:
                name = self._process.ask("on", device).get("device")
                found["of"][device] = {"name": name, "copy": self._process.ask("bandwidth")}
        except (RuntimeError, _OverBudgetError) as error:
            return {"reason": str(error)}
        return found

    def cell(self, job: Job, device: str, jobs: list[Job]) -> list[dict[str, Any]]:
        """A row a contestant: who, and its times, or why there are none."""
        found = self._begun(self._process, job.workload, device)
        rows = [row for row in found if not job.leaves_out(row["name"], row["mode"], row["role"])]
        for row in rows:
            row["verdict"] = "not installed" if row["missing"] else None
            known = self._known(row, job.workload)
            if row["verdict"] is None and known:
                row |= {"verdict": "over budget", "reason": known}
        if job.part == "memory":
            for row in rows:
                if row["verdict"] is None:
                    row |= self._weighed(row, job.workload, device, jobs)
        else:
            # The exponential ones last: if one ends the process, the others have to be prepared again.
            for row in sorted(rows, key=lambda row: row["exponential"]):
                if row["verdict"] is None:
                    row |= self._prepared(row, rows, job.workload, device, jobs)
            self._timed(rows, job, device, jobs)
        for row in rows:
            row.pop("missing")
            row.pop("exponential")
        return rows

    def _begun(self, process: _Process, workload: Workload, device: str) -> list[dict[str, Any]]:
        process.ask("on", device)
        found: list[dict[str, Any]] = process.ask("begin", workload)
        return found

    def _known(self, row: dict[str, Any], workload: Workload) -> str | None:
        """The budget that a smaller workload was beyond already, of a contestant whose cost is known to grow."""
        sizes = ("order", "depth", "width", "batch", "inputs")
        for smaller, reason in self._beyond.get((row["name"], row["mode"]), []):
            same = (smaller.task, smaller.model, smaller.dtype) == (workload.task, workload.model, workload.dtype)
            if same and all(getattr(smaller, s) <= getattr(workload, s) for s in sizes):
                return f"{reason} at {smaller.label}, n = {smaller.order}"
        return None

    def _over(self, row: dict[str, Any], workload: Workload, reason: str) -> dict[str, Any]:
        self._beyond.setdefault((row["name"], row["mode"]), []).append((workload, reason))
        return {"verdict": "over budget", "reason": reason}

    def _prepared(
        self, row: dict[str, Any], rows: list[dict[str, Any]], workload: Workload, device: str, jobs: list[Job]
    ) -> dict[str, Any]:
        exact = _reference(workload, jobs)
        self._restore(rows, workload, device, exact)
        s = self._settings
        limit = s.nested_seconds if row["exponential"] else s.budget_seconds
        return self._asked(self._process, row, workload, "timed", ("prepare", exact), limit)

    def _asked(
        self,
        process: _Process,
        row: dict[str, Any],
        workload: Workload,
        verdict: str,
        request: tuple[Any, ...],
        limit: float,
    ) -> dict[str, Any]:
        """What the process said of a contestant, with a verdict."""
        method, *rest = request
        try:
            found = process.ask(method, row["name"], row["mode"], *rest, seconds=limit)
        except _OverBudgetError as over:
            return self._over(row, workload, str(over))
        except RuntimeError as error:
            if any(word in str(error) for word in ("memory", "Memory", "RESOURCE_EXHAUSTED", "bad_alloc")):
                return self._over(row, workload, f"{self._settings.budget_bytes / 2**30:.0f} GiB")
            return {"verdict": "failed", "reason": str(error)}
        return {"verdict": verdict if found.pop("agrees") else "wrong", **found}

    def _restore(self, rows: list[dict[str, Any]], workload: Workload, device: str, exact: Reference) -> None:
        """Have prepared again who was, where another contestant has ended the process."""
        if not self._process.runs:
            self._begun(self._process, workload, device)
            for row in rows:
                if row["verdict"] == "timed":
                    self._process.ask("prepare", row["name"], row["mode"], exact)

    def _timed(self, rows: list[dict[str, Any]], job: Job, device: str, jobs: list[Job]) -> None:
        s = self._settings
        timed = [row for row in rows if row["verdict"] == "timed"]
        if not timed:
            return
        self._restore(rows, job.workload, device, _reference(job.workload, jobs))
        try:
            found = self._process.ask("measure", s.seconds * job.share, s.least, s.most)
        except (RuntimeError, _OverBudgetError) as error:
            for row in timed:
                row |= {"verdict": "failed", "reason": f"while timed with the others: {error}"}
            return
        for row in timed:
            row |= found[f"{row['name']}, {row['mode']}"]

    def _weighed(self, row: dict[str, Any], workload: Workload, device: str, jobs: list[Job]) -> dict[str, Any]:
        # The C library then keeps nothing that is freed, and every array is seen.
        environment = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        process = _Process(self._backend, self._folder, 0, environment)
        s = self._settings
        with contextlib.ExitStack() as stack:
            stack.callback(process.end)
            self._begun(process, workload, device)
            request = ("weigh", _reference(workload, jobs), s.budget_bytes)
            return self._asked(process, row, workload, "weighed", request, s.budget_seconds)


def _reference(workload: Workload, jobs: list[Job]) -> Reference:
    """That of the highest order that any job asks of this function, which has all lower ones and any batch in it."""

    def function(w: Workload) -> Workload:
        return replace(w, dtype="float64", order=0, batch=w.different)

    orders = [job.workload.order for job in jobs if function(job.workload) == function(workload)]
    return _reference_of(replace(function(workload), order=max([*orders, workload.order])))


@functools.lru_cache(maxsize=64)
def _reference_of(workload: Workload) -> Reference:
    return reference(workload)
