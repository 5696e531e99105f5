"""``ntaylor bench``: what derivatives cost on this machine, beside everybody else's and the floor.

Floor 16: arguments, progress, files and words; the measuring is ``measuring``'s.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from ntaylor.commands.arguments import RefusedError

__all__ = ["add_bench"]

_RECORD = Path("ntaylor-bench.json")
_SAME = ("ntaylor", "numpy", "python", "machine", "processor")


def add_bench(commands: Any) -> None:
    """Let the parser's ``commands`` know ``bench``."""
    bench = commands.add_parser(
        "bench",
        help="measure what derivatives cost on this machine, beside nested differentiation, other libraries and the "
        "floor",
        description="A step is all derivatives up to n, the sum of their squares, and its gradient by every parameter. "
        "The floor is the plain network evaluated and differentiated on (n+1)·batch rows. Everybody is first compared "
        "with values from Cauchy's integral, and not timed if wrong; then all of one library are timed in turn. "
        "A rival's figure is its time by ours: above 1 ours is faster. A library or rival that is not installed is "
        "said to be so. Exit status: 0 done, 1 somebody gave wrong results, 2 refused, 130 interrupted (what is in the "
        "record is not measured again).",
    )
    size = bench.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="one network, a few orders, about a minute (the default)")
    size.add_argument("--full", action="store_true", help="everything, about half an hour on two cores; writes --json")
    bench.add_argument("--backend", metavar="A,B", help="of numpy, torch, jax, cupy (default: all)")
    bench.add_argument(
        "--part", metavar="A,B", help="of published, large, function, operators, grid, memory (default: all)"
    )
    bench.add_argument(
        "--json", type=Path, metavar="FILE", help=f"the record, gone on with if it is there (--full: {_RECORD})"
    )
    bench.add_argument("--again", action="store_true", help="measure what is in the record already once more")
    bench.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> int:
    from rich.console import Console

    from ntaylor import measuring, workloads
    from ntaylor.progress_bar import bar_on
    from ntaylor.storage import write_json
    from ntaylor.verification import chosen

    backends = chosen(options.backend.split(",") if options.backend is not None else None)
    jobs = _jobs(workloads.full() if options.full else workloads.quick(), options.part)
    settings = (
        measuring.Settings()
        if options.full
        else measuring.Settings(0.6, least=3, budget_seconds=30.0, nested_seconds=8.0, cold=False)
    )
    path = options.json or (_RECORD if options.full else None)
    record = _record(path, options.again, backends, {job.part for job in jobs})
    console = Console(markup=False, highlight=False)
    bar = bar_on(console)

    def save(content: dict[str, Any]) -> None:
        if path is not None:
            write_json(path, content)

    try:
        with bar:
            task = bar.add_task("bench", total=None)

            def show(what: str, done: int, total: int) -> None:
                bar.update(task, description=what, completed=done, total=total)

            measuring.run(jobs, backends, settings, record, save, show)
    except KeyboardInterrupt:
        where = f"what was measured is in {path}: the same command goes on" if path else "nothing was kept: give --json"
        console.print(f"interrupted; {where}", soft_wrap=True)
        raise
    _print(record, backends, {job.part for job in jobs}, console)
    if path is not None:
        console.print(f"every figure is in {path}", soft_wrap=True)
    rows = [row for cell in record["cells"].values() for row in cell["contestants"]]
    if not rows:
        raise RefusedError("nothing was measured: none of these backends could be run. Give others to --backend")
    return 1 if any(row["verdict"] == "wrong" for row in rows) else 0


def _jobs(jobs: list[Any], parts: str | None) -> list[Any]:
    from ntaylor.namespace import near_names

    known = list(dict.fromkeys(job.part for job in jobs))
    asked = known if parts is None else parts.split(",")
    for part in asked:
        if part not in known:
            raise RefusedError(f"unknown --part {part!r} (more with --full): {near_names(part, known)}")
    return [job for job in jobs if job.part in asked]


def _record(path: Path | None, again: bool, backends: list[str], parts: set[str]) -> dict[str, Any]:
    """What is in the file, less what is to be measured again; RefusedError where that is not to be gone on with."""
    from ntaylor.measuring import machine

    if path is None:
        return {}
    if path.is_dir():
        raise RefusedError(f"--json {path} is a folder: give a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise RefusedError(f"{path.parent} cannot be written to: give another --json")
    if not path.exists():
        return {}
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        cells = record["cells"]
        if again:
            kept = {k: c for k, c in cells.items() if c["backend"] not in backends or c["part"] not in parts}
            record["cells"] = cells = kept
        made = record["made_with"]
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(
            f"{path} is no record of ntaylor bench, or damaged ({error}): give another --json"
        ) from error
    here = machine()
    other = [f"{key} {made.get(key)} there, {here.get(key)} here" for key in _SAME if made.get(key) != here.get(key)]
    if other and cells:
        raise RefusedError(
            f"{path} holds measurements of another machine or other versions ({'; '.join(other)}): give another "
            "--json, or --again to measure anew"
        )
    return record


def _print(record: dict[str, Any], backends: list[str], parts: set[str], console: Any) -> None:
    """A table a library, network and dtype; who is not there; who was wrong."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from ntaylor.ratios import ratio_table, workload_of

    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in record["cells"].values():
        if cell["part"] in parts and cell["backend"] in backends:
            workload = workload_of(cell)
            several = workload.task != "derivatives"
            label = f"{workload.task} of {workload.depth}×{workload.width}" if several else workload.label
            groups.setdefault(
                (cell["part"], f"{cell['backend']} {cell['device']} {workload.dtype}: {label}"), []
            ).append(cell)
    for (part, title), found in groups.items():
        heads, lines, _ = ratio_table(found, "bytes" if part == "memory" else "step")
        console.print(f"{title}{', peak memory' if part == 'memory' else ''}")
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for i, head in enumerate(heads):
            table.add_column(head.replace(" ", "\n").replace(",\n", "\n"), justify="left" if i in (1, 2) else "right")
        for line in lines:
            table.add_row(*line)
        console.print(table)
    for backend in backends:
        about = record["libraries"].get(backend, {})
        if "reason" in about:
            console.print(f"{backend}: {about['reason']}")
        for name, version in about.get("versions", {}).items():
            if version == "not installed":
                console.print(f"{name}: not installed")
        for note in about.get("notes", ()):
            console.print(f"{note}")
    for key, cell in record["cells"].items():
        for row in cell["contestants"]:
            who = f"{key}: {row['name']}, {row['mode']}"
            if row["verdict"] == "wrong":
                console.print(
                    f"WRONG, not timed: {who}: derivatives off by {_error(row['error'])}, gradient by "
                    f"{_error(row['gradient_error'])}, allowed {record['tolerance'][cell['workload']['dtype']]:.0e}"
                )
            elif row["verdict"] == "failed":
                console.print(f"failed: {who}: {row['reason']}")


def _error(value: float | None) -> str:
    return "no finite number" if value is None else f"{value:.1e}"
