"""What derivatives cost, beside everybody else and the floor: the whole record, its page and its pictures.

Usage: python benchmarks/performance.py [--page-only] [what ``ntaylor bench --full`` takes, such as --part or --again]

Runs ``ntaylor bench --full``, which measures what is not in ``benchmarks/results/performance.json`` yet, and writes
``docs/performance.md`` and the pictures ``docs/performance-*`` from what is there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from ntaylor.plots import cost_picture, heat_map_picture
from ntaylor.ratios import WORDS, Measured, cells, figure, number, ratio_table, row_of, targets, workload_of
from ntaylor.storage import write_atomic
from ntaylor.workloads import FULL_GRID, PARTS, PUBLISHED_GRID

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "performance.json"
PICTURES = ROOT / "docs"
LIBRARIES = ("torch", "jax", "numpy", "cupy")
NESTED = ("nested torch.autograd", "eager")
OURS = ("ntaylor, nt.MLP", "eager")

INTRODUCTION = """\
A *step* is all derivatives up to n, the sum of their squares, and its gradient by every parameter; *forward* is its
first half, recording what the second needs. The *floor* is the plain network evaluated and differentiated on
(n+1)·batch rows: what any method that computes n+1 numbers a point must at least do. A rival's figure is its time by
ours, so above 1 ours is faster; where ours is slower the figure is **bold**.

Before anybody is timed, derivatives and gradient are compared with Cauchy's integral over values of the plain
function at complex points, which shares nothing with any of them. Who is off by more than {tolerance}, relative, is
wrong and not timed. All contestants of one library run in turn, round after round, in one process; figures are
medians, and ratios are of one such run. Each has {seconds:.0f} s for compiling and two steps, nested differentiation
{nested:.0f} s, and {gigabytes:.0f} GiB; who needs more is *over budget*.

Nested differentiation computes the same outputs, by reverse mode n times on the sum over the batch. n-TangentProp is
our implementation of the published algorithm (arXiv 2412.09752), differentiated by autograd."""


def page(record: dict) -> str:
    s = record["settings"]
    lines = [
        "# Performance",
        "",
        "Made by `python benchmarks/performance.py`; `ntaylor bench` measures it on your machine.",
        "",
    ]
    allowed = " or ".join(f"{t:.0e} in {dtype}" for dtype, t in record["tolerance"].items())
    lines += [
        INTRODUCTION.format(
            tolerance=allowed,
            seconds=s["budget_seconds"],
            nested=s["nested_seconds"],
            gigabytes=s["budget_bytes"] / 2**30,
        ),
        "",
        "## What was wanted",
        "",
        "| against | wanted | measured |",
        "|---|---|---|",
    ]
    for row in targets(record):
        lines.append(f"| {row.against} | {row.wanted} | {'; '.join(map(_measured, row.measured))} |")
    lines += ["", *_machine(record)]
    for part in PARTS:
        lines += _grid(record) if part == "grid" else _part(record, part)
    return "\n".join(lines)


def _measured(found: Measured) -> str:
    """``ours eager: 1.3 at n = 1, 2.5 at n = 2``, bold what is not as wanted."""
    words = []
    for at, value, good in found.figures:
        figure_ = "not measured" if value is None else f"**{number(value)}**" if good is False else number(value)
        words.append(f"{figure_} at {at}" if at else figure_)
    if all(value is None for _, value, _ in found.figures):
        return f"{found.what}: not measured"
    return f"{found.what}: {', '.join(words)}"


def _machine(record: dict) -> list[str]:
    made = dict(record["made_with"])
    versions, notes, threads, gpus, absent = {}, [], [], [], []
    for backend, about in record["libraries"].items():
        if "reason" in about:
            absent.append(f"{backend}: {about['reason']}")
            continue
        versions |= about["versions"]
        notes += [note for note in about["notes"] if note not in notes]
        threads.append(f"{backend} ({', '.join(f'{k} {v}' for k, v in about['threads'].items())})")
        for device, of in about["of"].items():
            if of["copy"] is not None:
                gpus.append(f"{backend} {device}: {of['copy'] / 1e9:.0f} GB/s")
    devices = {c["device"] for c in record["cells"].values()}
    made |= {k: v for k, v in versions.items() if k not in made}
    found = ["Made with: " + ", ".join(f"{k} {v}" for k, v in made.items()) + ".", ""]
    if threads:
        found += [f"Threads: {'; '.join(threads)}; JAX's own are one a core.", ""]
    found += [f"A large copy, read and written: {'; '.join(gpus)}.", ""] if gpus else []
    found += [f"{note}." for note in [*notes, *absent]]
    if devices <= {"cpu"}:
        found += ["", "On a GPU: not measured."]
    return [*found, ""]


def _part(record: dict, part: str) -> list[str]:
    groups: dict[tuple, list[dict]] = {}
    for cell in cells(record, part):
        w = workload_of(cell)
        label = w.label if w.task == "derivatives" else f"{w.task} of {w.depth}×{w.width}, batch {w.batch}"
        groups.setdefault((cell["backend"], cell["device"], w.dtype, label), []).append(cell)
    lines = [f"## {PARTS[part][0].upper()}{PARTS[part][1:]}", ""]
    if part == "function":
        lines += ["x ↦ sin(x A) · exp(−‖x‖²/2) / (1 + softplus(x B)) · c, along (1, 1, 1).", ""]
    if part == "memory":
        lines += ["Beyond what the process takes before it; every figure from a process of its own.", ""]
    if not groups:
        return [*lines, "Not measured.", ""]
    for name in pictures_of(record).get(part, ()):
        lines += [f"![{PARTS[part]}]({name})", ""]
    for (backend, device, dtype, label), found in groups.items():
        lines += [f"### {backend}, {device}, {dtype}: {label}", ""]
        lines += _table(*ratio_table(found, "bytes" if part == "memory" else "step"))
        lines += _beyond(found)
    return lines


def _table(heads: list[str], rows: list[list[str]], lost: list[list[bool]]) -> list[str]:
    right = ["---" if i in (1, 2) else "---:" for i in range(len(heads))]
    body = [
        "| " + " | ".join(f"**{word}**" if bad else word for word, bad in zip(row, bads, strict=True)) + " |"
        for row, bads in zip(rows, lost, strict=True)
    ]
    return ["| " + " | ".join(heads) + " |", f"|{'|'.join(right)}|", *body, ""]


def _beyond(found: list[dict]) -> list[str]:
    """Who was not timed, and why, in words; once a reason."""
    said: dict[str, list[str]] = {}
    for cell in found:
        for row in cell["contestants"]:
            if row["verdict"] in ("over budget", "failed", "wrong"):
                reason = row.get("reason") or f"errors {row['error']}, {row['gradient_error']}"
                words = f"{row['name']}, {row['mode']}: {row['verdict']} ({reason.replace('|', '/')})"
                w = cell["workload"]
                size = f"n = {w['order']}" + (f", D = {w['inputs']}" if w["inputs"] > 3 else "")
                said.setdefault(words, []).append(size)
    return [f"- {words} at {'; '.join(dict.fromkeys(sizes))}" for words, sizes in said.items()] + ([""] if said else [])


def _grid(record: dict) -> list[str]:
    lines = [f"## {PARTS['grid'][0].upper()}{PARTS['grid'][1:]}", ""]
    found = cells(record, "grid", "torch")
    if not found:
        return [*lines, "Not measured.", ""]
    name = pictures_of(record)["grid"][0]
    run = len(found)
    asked = int(np.prod([len(v) for v in PUBLISHED_GRID.values()]))
    left = {k: [str(v) for v in PUBLISHED_GRID[k] if v not in FULL_GRID[k]] for k in PUBLISHED_GRID}
    missing = "; ".join(f"{k} {', '.join(v)}" for k, v in left.items() if v)
    what = (
        f"Nested torch.autograd by ours, a step, both eager, float64. Of the {asked} cells of arXiv 2412.09752 {run} "
        f"were run; not run: {missing}. *Over budget*: nested differentiation took more than its budget, there or in a "
        "smaller cell."
    )
    return [
        *lines,
        what,
        "",
        f"![{PARTS['grid']}]({name})",
        "",
        *_beyond(found),
    ]


# --- pictures -------------------------------------------------------------------------------------------


def pictures_of(record: dict) -> dict[str, list[str]]:
    """The pictures that there is something for, by part."""
    found: dict[str, list[str]] = {}
    for part in ("published", "large", "function", "memory"):
        for backend in LIBRARIES:
            if len(cells(record, part, backend, dtype="float64")) > 1:
                found.setdefault(part, []).append(f"performance-{part}-{backend}.svg")
    if cells(record, "grid", "torch"):
        found["grid"] = ["performance-grid.svg"]
    return found


def curves(found: list[dict], what: str) -> dict[str, tuple]:
    """By contestant its cost over the order, in ms or MB, with its quartiles."""
    points: dict[str, list[tuple]] = {}
    for cell in sorted(found, key=lambda c: c["workload"]["order"]):
        for row in cell["contestants"]:
            middle = figure(row, what)
            if middle is None or middle <= 0:  # a difference may be lost in what disturbs both
                continue
            low = high = middle
            if isinstance(row.get(what), dict):
                low, high = row[what]["low"], row[what]["high"]
            scale = 1e-6 if what == "bytes" else 1e3
            point = (cell["workload"]["order"], *(scale * max(v, 0) for v in (middle, low, high)))
            points.setdefault(f"{row['name']}, {row['mode']}", []).append(point)
    return {name: tuple(zip(*rows, strict=True)) for name, rows in points.items()}


def draw(record: dict) -> None:
    for part, names in pictures_of(record).items():
        for name in names:
            if part == "grid":
                _draw_grid(record, PICTURES / name)
                continue
            backend = name.removesuffix(".svg").rpartition("-")[2]
            found = cells(record, part, backend, dtype="float64")
            title = f"{backend}: {workload_of(found[0]).label}, float64"
            if part == "published":
                panels = [(head, curves(found, head)) for head in ("forward", "backward")]
                cost_picture(PICTURES / name, [*panels, ("total", curves(found, "step"))], title, "ms")
            elif part == "memory":
                cost_picture(PICTURES / name, [("peak memory of a step", curves(found, "bytes"))], title, "MB", "xy")
            else:
                panels = [("forward", curves(found, "forward")), ("step", curves(found, "step"))]
                cost_picture(PICTURES / name, panels, title, "ms", "xy")


def _draw_grid(record: dict, path: Path) -> None:
    found = {
        tuple(c["workload"][k] for k in ("order", "depth", "width", "batch")): c for c in cells(record, "grid", "torch")
    }
    orders, depths, widths, batches = (sorted({key[i] for key in found}) for i in range(4))
    panels = {}
    for row, depth in enumerate(depths):
        for column, n in enumerate(orders):
            ratios = np.full((len(batches), len(widths)), np.nan)
            words = [["not run"] * len(widths) for _ in batches]
            for i, batch in enumerate(batches):
                for j, width in enumerate(widths):
                    cell = found.get((n, depth, width, batch))
                    nested, ours = row_of(cell, *NESTED), row_of(cell, *OURS)
                    a, b = figure(nested), figure(ours)
                    if a is not None and b:
                        ratios[i, j], words[i][j] = a / b, f"{a / b:.3g}"
                    elif nested is not None:
                        words[i][j] = WORDS[nested["verdict"]].replace(" ", "\n")
            panels[row, column] = (ratios, words)
    heat_map_picture(
        path,
        panels,
        [f"depth {d}" for d in depths],
        [f"n = {n}" for n in orders],
        ("width", widths),
        ("batch", batches),
        "nested torch.autograd by ntaylor, a step, eager, float64",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page-only", action="store_true", help="measure nothing: make the page of what is there")
    options, rest = parser.parse_known_args()
    if not options.page_only:
        command = [sys.executable, "-m", "ntaylor", "bench", "--full", "--json", str(RESULTS), *rest]
        done = subprocess.run(command, check=False, cwd=ROOT)
        if done.returncode not in (0, 1):
            sys.exit(done.returncode)
    record = json.loads(RESULTS.read_text(encoding="utf-8"))
    draw(record)
    write_atomic(ROOT / "docs" / "performance.md", page(record).encode())


if __name__ == "__main__":
    main()
