"""What a benchmark's record says, as ratios: tables by order, and what was wanted beside what was measured.

Floor 9. A ratio is of two medians of one cell, which were timed in turn in one process. It is the other's time by
ours: above 1 we are faster; only against the floor it is ours by the floor's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ntaylor.workloads import Workload

__all__ = [
    "WORDS",
    "Measured",
    "Target",
    "cells",
    "figure",
    "number",
    "ratio",
    "ratio_table",
    "row_of",
    "targets",
    "workload_of",
]

Cell = dict[str, Any]
Row = dict[str, Any]
Record = dict[str, Any]

WORDS = {"not installed": "–", "over budget": "over budget", "wrong": "WRONG", "failed": "failed"}
"""A verdict, where there is no figure, in a table's cell."""


def workload_of(cell: Cell) -> Workload:
    """The workload of a cell."""
    return Workload(**cell["workload"])


def cells(record: Record, part: str, backend: str | None = None, **about: Any) -> list[Cell]:
    """The cells of a part, of a backend and of workloads with these fields."""
    return [
        cell
        for cell in record["cells"].values()
        if cell["part"] == part
        and backend in (None, cell["backend"])
        and all(cell["workload"][key] == value for key, value in about.items())
    ]


def row_of(cell: Cell | None, name: str, mode: str) -> Row | None:
    """The contestant's row."""
    rows = cell["contestants"] if cell else []
    return next((row for row in rows if (row["name"], row["mode"]) == (name, mode)), None)


def figure(row: Row | None, what: str = "step") -> float | None:
    """Median seconds of "forward", "step" or "backward", their difference; "bytes"; seconds of the "first_step"."""
    if row is None or row["verdict"] not in ("timed", "weighed"):
        return None
    found = row.get(what)
    return found["median"] if isinstance(found, dict) else found


def ratio(above: Row | None, below: Row | None, what: str = "step") -> float | None:
    """The quotient of two contestants' figures, None where one is missing."""
    a, b = figure(above, what), figure(below, what)
    return None if a is None or not b else a / b


def ratio_table(of: Iterable[Cell], what: str = "step") -> tuple[list[str], list[list[str]], list[list[bool]]]:
    """Heads, cells and which of them say that we lose: a row an order (or D) and contestant of ours.

    Columns: ours, its median in ms (or MB), by the floor in the same mode, and every rival by ours.
    """
    found = sorted(of, key=lambda c: (c["workload"]["order"], c["workload"]["inputs"]))
    rivals: list[tuple[str, str]] = []
    for cell in found:
        for row in cell["contestants"]:
            if row["role"] == "rival" and (row["name"], row["mode"]) not in rivals:
                rivals.append((row["name"], row["mode"]))
    modes = {name: sum(name == other for other, _ in rivals) for name, _ in rivals}
    heads = ["n", "ours", "mode", "MB" if what == "bytes" else "ms", "of the floor"]
    heads += [name if modes[name] == 1 else f"{name}, {mode}" for name, mode in rivals]
    several = len({c["workload"]["inputs"] for c in found}) > 1
    lines, losses = [], []
    for cell in found:
        floors = [row for row in cell["contestants"] if row["role"] == "floor"]
        for row in cell["contestants"]:
            if row["role"] != "ours":
                continue
            floor = next((f for f in floors if f["mode"] == row["mode"]), floors[0] if floors else None)
            mine = figure(row, what)
            size = f"{cell['workload']['order']}" + (f", D = {cell['workload']['inputs']:,}" if several else "")
            line = [size, _short(row["name"]), row["mode"]]
            line.append(WORDS[row["verdict"]] if mine is None else number(mine * (1e-6 if what == "bytes" else 1e3)))
            line.append(_words(row, floor, ratio(row, floor, what)))
            lost = [False] * 5
            for rival in rivals:
                other = row_of(cell, *rival)
                by = ratio(other, row, what)
                line.append(_words(other, row, by))
                lost.append(by is not None and by < 1)
            lines.append(line)
            losses.append(lost)
    kept = [i for i in range(len(heads)) if i != 4 or any(line[4] for line in lines)]
    return [heads[i] for i in kept], [[r[i] for i in kept] for r in lines], [[r[i] for i in kept] for r in losses]


def _words(row: Row | None, other: Row | None, value: float | None) -> str:
    """A ratio, or why there is none."""
    if value is not None:
        return number(value)
    for r in (row, other):
        if r is not None and r["verdict"] in WORDS:
            return WORDS[r["verdict"]]
    return ""


def number(value: float) -> str:
    """A ratio or a time, in three digits or fewer."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


# --- what was wanted ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Figures of one kind: what they are, and (at what, ratio or None, whether it is as wanted or None)."""

    what: str
    figures: list[tuple[str, float | None, bool | None]]


@dataclass(frozen=True)
class Target:
    """A row: against whom, what was wanted, and what was measured."""

    against: str
    wanted: str
    measured: list[Measured]


_EAGER, _COMPILED, _JITTED = "eager", "compiled", "jitted"
_MLP, _MODULE, _FUNCTION = "ntaylor, nt.MLP", "ntaylor, nn.Sequential", "ntaylor, function"
_SIDES = (("torch", _EAGER), ("jax", _JITTED), ("numpy", "Numba"))
_SIZES: dict[str, dict[str, Any]] = {
    "published": {"depth": 3, "width": 24, "batch": 256},
    "large": {"depth": 5, "width": 128, "batch": 1024},
    "operators": {"depth": 4, "width": 128, "batch": 100, "task": "laplacian"},
    "memory": {"depth": 3, "width": 24, "batch": 4096},
}


def targets(record: Record) -> list[Target]:
    """The targets, in float64 on the processor, each from the record; a ratio that it has not is None."""
    find = _Find(record)
    eager = find.by_ours("torch", _EAGER)
    compiled = find.by_ours("torch", _COMPILED)
    jitted = find.by_ours("jax", _JITTED)
    nested, published = ("nested torch.autograd", _EAGER), ("n-TangentProp", _EAGER)
    torch_jet, jax_jet = ("torch-jet", _EAGER), ("jax.experimental.jet", _JITTED)
    return [
        Target(
            "floor, torch compiled, 3×24/256 and 5×128/1024, n = 4, 8, 10",
            "≤ 1.2 and ≤ 1.05",
            find.of_floor("torch", _COMPILED, (_MLP, _MODULE), {"published": 1.2, "large": 1.05}),
        ),
        Target(
            "floor, torch eager, the same",
            "≤ 2 and ≤ 1.2",
            find.of_floor("torch", _EAGER, (_MLP, _MODULE), {"published": 2, "large": 1.2}),
        ),
        Target(
            "floor, JAX jitted, 3×24/256 (JAX's own floor)",
            "≤ 1.1",
            find.of_floor("jax", _JITTED, (_MLP, _FUNCTION), {"published": 1.1}),
        ),
        Target(
            "nested torch.autograd",
            "never slower at n = 1 and 2 (eager), ≥ 30× at n = 6, ≥ 1000× at n = 8 (compiled)",
            [eager(nested, {1: 1, 2: 1}), compiled(nested, {6: 30, 8: 1000})],
        ),
        Target(
            "torch-jet 1.0.0",
            "≥ 1 at every n ≥ 1 (eager), ≥ 15× at n = 10 eager, ≥ 25× compiled",
            [eager(torch_jet, {**dict.fromkeys(range(1, 13), 1), 10: 15}), compiled(torch_jet, {10: 25})],
        ),
        Target(
            "jax.experimental.jet",
            "≥ 1 at every n, ≥ 1.8× at n = 8 and 10, compile ≥ 2× faster at n = 10",
            [
                jitted(jax_jet, {**dict.fromkeys(range(1, 13), 1), 8: 1.8, 10: 1.8}),
                jitted(jax_jet, {10: 2}, "first_step"),
            ],
        ),
        Target(
            "folx, Laplacian, forward + gradient",
            "≥ 1 at D = 10, ≥ 1.5× at 100, ≥ 5× at 1000; flat in D beyond the width",
            find.folx({10: 1, 100: 1.5, 1000: 5}),
        ),
        Target(
            "n-TangentProp as published (our `faa_di_bruno`, autograd for the backward pass)",
            "≥ 3× at n = 3, ≥ 30× at n = 10",
            [eager(published, {3: 3, 10: 30}), compiled(published, {10: 30})],
        ),
        Target("growth of time with n, 4 to 16, as a power", "≤ 1.3", find.growth(1.3)),
        Target("peak memory of a step", "linear in n; at n = 7 below 1/20 of nested AD", find.memory(20)),
    ]


@dataclass(frozen=True)
class _Find:
    record: Record

    def cell(self, part: str, backend: str, **about: Any) -> Cell | None:
        found = cells(self.record, part, backend, dtype="float64", **_SIZES[part], **about)
        return next((c for c in found if c["device"] == "cpu"), None)

    def of_floor(self, backend: str, mode: str, names: Iterable[str], limits: dict[str, float]) -> list[Measured]:
        found = []
        for part, most in limits.items():
            for name in names:
                figures = []
                for n in (4, 8, 10):
                    c = self.cell(part, backend, order=n)
                    figures.append((f"n = {n}", *_judged(ratio(row_of(c, name, mode), row_of(c, "floor", mode)), most)))
                size = _SIZES[part]
                found.append(Measured(f"{_short(name)}, {size['depth']}×{size['width']}", figures))
        return found

    def by_ours(self, backend: str, mode: str) -> Callable[..., Measured]:
        def measured(rival: tuple[str, str], least: dict[int, float], what: str = "step") -> Measured:
            figures = []
            for n, wanted in sorted(least.items()):
                c = self.cell("published", backend, order=n)
                value = ratio(row_of(c, *rival), row_of(c, _MLP, mode), what)
                figures.append((f"n = {n}", *_judged(value, wanted, least=True)))
            return Measured("first step, compiling included" if what == "first_step" else f"ours {mode}", figures)

        return measured

    def folx(self, least: dict[int, float]) -> list[Measured]:
        of = {d: self.cell("operators", "jax", inputs=d) for d in least}
        figures = []
        for d, wanted in least.items():
            value = ratio(row_of(of[d], "folx", _JITTED), row_of(of[d], _MLP, _JITTED))
            figures.append((f"D = {d}", *_judged(value, wanted, least=True)))
        short, long = (figure(row_of(of[d], _MLP, _JITTED)) for d in (100, 1000))
        grown = long / short if long and short else None
        return [Measured("ours jitted", figures), Measured("ours at D = 1000 by D = 100", [("", grown, None)])]

    def growth(self, most: float) -> list[Measured]:
        return [
            Measured(f"{backend} {mode}, 5×128", [("", *_judged(self._power("large", backend, mode, "step", 0), most))])
            for backend, mode in _SIDES
        ]

    def memory(self, least: float) -> list[Measured]:
        found = []
        for backend, mode in _SIDES:
            # Linear in the n+1 coefficients; a tenth is allowed for what a step takes besides.
            value = self._power("memory", backend, mode, "bytes", 1)
            found.append(Measured(f"{backend} {mode}, as a power of n + 1, 4 to 16", [("", *_judged(value, 1.1))]))
        for backend, rival in (("torch", "nested torch.autograd"), ("jax", "nested jax.grad")):
            mode = dict(_SIDES)[backend]
            c = self.cell("memory", backend, order=7)
            other = row_of(c, rival, mode)
            value = ratio(other, row_of(c, _MLP, mode), "bytes")
            beyond = f" ({rival} over budget, {other['reason']})" if other and other["verdict"] == "over budget" else ""
            found.append(Measured(f"{rival} by ours{beyond}", [("n = 7", *_judged(value, least, least=True))]))
        return found

    def _power(self, part: str, backend: str, mode: str, what: str, shift: int) -> float | None:
        """p of a growth as (n + shift)^p from n = 4 to 16."""
        first, last = (figure(row_of(self.cell(part, backend, order=n), _MLP, mode), what) for n in (4, 16))
        return math.log(last / first) / math.log((16 + shift) / (4 + shift)) if first and last else None


def _judged(value: float | None, limit: float, least: bool = False) -> tuple[float | None, bool | None]:
    return value, None if value is None else value >= limit if least else value <= limit


def _short(name: str) -> str:
    return name.removeprefix("ntaylor, ")
