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

__all__ = ["WORDS", "Target", "cells", "figure", "ratio", "ratio_table", "row_of", "targets", "workload_of"]

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
    """Median seconds of "forward", "step" or "backward"; "bytes" or seconds of the "first_step". None if there is none."""
    if row is None or row["verdict"] not in ("timed", "weighed"):
        return None
    if what == "backward":
        return max(0.0, float(row["step"]["median"] - row["forward"]["median"]))
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
    heads = ["n", "ours", "MB" if what == "bytes" else "ms", "of the floor"]
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
            line = [size, f"{row['name'].removeprefix('ntaylor, ')}, {row['mode']}"]
            line.append(WORDS[row["verdict"]] if mine is None else _number(mine * (1e-6 if what == "bytes" else 1e3)))
            line.append(_words(row, floor, ratio(row, floor, what)))
            lost = [False] * 4
            for rival in rivals:
                other = row_of(cell, *rival)
                by = ratio(other, row, what)
                line.append(_words(other, row, by))
                lost.append(by is not None and by < 1)
            lines.append(line)
            losses.append(lost)
    kept = [i for i in range(len(heads)) if i != 3 or any(line[3] for line in lines)]
    return [heads[i] for i in kept], [[r[i] for i in kept] for r in lines], [[r[i] for i in kept] for r in losses]


def _words(row: Row | None, other: Row | None, value: float | None) -> str:
    """A ratio, or why there is none."""
    if value is not None:
        return _number(value)
    for r in (row, other):
        if r is not None and r["verdict"] in WORDS:
            return WORDS[r["verdict"]]
    return ""


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


# --- what was wanted ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A row: against whom, what was wanted, and what was measured: (words, whether as wanted or None)."""

    against: str
    wanted: str
    measured: list[tuple[str, bool | None]]


_EAGER, _COMPILED, _JITTED = "eager", "compiled", "jitted"
_MLP, _MODULE, _FUNCTION = "ntaylor, nt.MLP", "ntaylor, nn.Sequential", "ntaylor, function"


def targets(record: Record) -> list[Target]:
    """The targets, in float64 on the processor, each from the record; what it has not is "not measured"."""

    def cell(part: str, backend: str, **about: Any) -> Cell | None:
        found = cells(record, part, backend, dtype="float64", **about)
        return next((c for c in found if c["device"] == "cpu"), None)

    def said(words: str, value: float | None, wanted: Callable[[float], bool]) -> tuple[str, bool | None]:
        if value is None:
            return f"{words}: not measured", None
        return f"{words}: {_number(value)}", wanted(value)

    def of_floor(backend: str, mode: str, names: list[str], limits: dict[str, float]) -> list[tuple[str, bool | None]]:
        return [
            said(f"{_short(name)}, {size}, n = {n}", ratio(row_of(c, name, mode), row_of(c, "floor", mode)), _most(most))
            for (part, size), most in zip((("published", "3×24"), ("large", "5×128")), limits.values(), strict=False)
            for name in names
            for n in (4, 8, 10)
            for c in [cell(part, backend, order=n)]
        ]

    def by_ours(
        n: int, rival: str, theirs: str, name: str, mode: str, least: float, backend: str = "torch", what: str = "step"
    ) -> tuple[str, bool | None]:
        c = cell("published", backend, order=n)
        words = f"n = {n}, {mode}{', first step' if what == 'first_step' else ''}"
        return said(words, ratio(row_of(c, rival, theirs), row_of(c, name, mode), what), _least(least))

    def slowest(rival: str, theirs: str, name: str, mode: str, backend: str) -> tuple[str, bool | None]:
        found = [
            (value, c["workload"]["order"])
            for c in cells(record, "published", backend, dtype="float64")
            if (value := ratio(row_of(c, rival, theirs), row_of(c, name, mode))) is not None
        ]
        if not found:
            return f"least, {mode}: not measured", None
        value, n = min(found)
        return said(f"least, {mode}, at n = {n}", value, _least(1))

    both = {"small": 1.2, "large": 1.05}
    eager = {"small": 2.0, "large": 1.2}
    nested, jet, jax_jet = "nested torch.autograd", "torch-jet", "jax.experimental.jet"
    return [
        Target(
            "floor, torch compiled, 3×24/256 and 5×128/1024, n = 4, 8, 10",
            "≤ 1.2 and ≤ 1.05",
            of_floor("torch", _COMPILED, [_MLP, _MODULE], both),
        ),
        Target("floor, torch eager, the same", "≤ 2 and ≤ 1.2", of_floor("torch", _EAGER, [_MLP, _MODULE], eager)),
        Target(
            "floor, JAX jitted, 3×24/256 (JAX's own floor)",
            "≤ 1.1",
            of_floor("jax", _JITTED, [_MLP, _FUNCTION], {"small": 1.1}),
        ),
        Target(
            "nested torch.autograd",
            "never slower at n = 1 and 2 (eager), ≥ 30× at n = 6, ≥ 1000× at n = 8 (compiled)",
            [
                *(by_ours(n, nested, _EAGER, name, _EAGER, 1) for n in (1, 2) for name in (_MLP,)),
                *(by_ours(n, nested, _EAGER, _MLP, _COMPILED, least) for n, least in ((6, 30), (8, 1000))),
            ],
        ),
        Target(
            "torch-jet",
            "≥ 1 at every n ≥ 1 (eager), ≥ 15× at n = 10 eager, ≥ 25× compiled",
            [
                slowest(jet, _EAGER, _MLP, _EAGER, "torch"),
                by_ours(10, jet, _EAGER, _MLP, _EAGER, 15),
                by_ours(10, jet, _EAGER, _MLP, _COMPILED, 25),
            ],
        ),
        Target(
            "jax.experimental.jet",
            "≥ 1 at every n, ≥ 1.8× at n = 8 and 10, compile ≥ 2× faster at n = 10",
            [
                slowest(jax_jet, _JITTED, _MLP, _JITTED, "jax"),
                *(by_ours(n, jax_jet, _JITTED, _MLP, _JITTED, 1.8, "jax") for n in (8, 10)),
                by_ours(10, jax_jet, _JITTED, _MLP, _JITTED, 2, "jax", "first_step"),
            ],
        ),
        Target(
            "folx, Laplacian, forward + gradient",
            "≥ 1 at D = 10, ≥ 1.5× at 100, ≥ 5× at 1000; flat in D beyond the width",
            _folx(cell, said),
        ),
        Target(
            "n-TangentProp as published (our `faa_di_bruno`, autograd for the backward pass)",
            "≥ 3× at n = 3, ≥ 30× at n = 10",
            [
                by_ours(3, "n-TangentProp", _EAGER, _MLP, _EAGER, 3),
                by_ours(10, "n-TangentProp", _EAGER, _MLP, _EAGER, 30),
                by_ours(10, "n-TangentProp", _EAGER, _MLP, _COMPILED, 30),
            ],
        ),
        Target("growth of time with n, 4 to 16, as a power", "≤ 1.3", _growth(cell, said)),
        Target(
            "peak memory of a step", "linear in n; at n = 7 below 1/20 of nested AD", _memory(cell, said)
        ),
    ]


def _short(name: str) -> str:
    return name.removeprefix("ntaylor, ")


def _most(limit: float) -> Callable[[float], bool]:
    return lambda value: value <= limit


def _least(limit: float) -> Callable[[float], bool]:
    return lambda value: value >= limit


def _folx(cell: Any, said: Any) -> list[tuple[str, bool | None]]:
    of = {d: cell("operators", "jax", inputs=d, task="laplacian") for d in (10, 100, 1000)}
    found = [
        said(f"D = {d}", ratio(row_of(of[d], "folx", _JITTED), row_of(of[d], _MLP, _JITTED)), _least(least))
        for d, least in ((10, 1), (100, 1.5), (1000, 5))
    ]
    ours = [figure(row_of(of[d], _MLP, _JITTED)) for d in (100, 1000)]
    grown = None if None in ours else ours[1] / ours[0]
    words, _ = said("ours, D = 1000 by D = 100", grown, _most(math.inf))
    return [*found, (words, None)]


def _power(of: dict[int, float | None], shift: int = 0) -> float | None:
    """p of a growth as (n + shift)^p between the least and the largest n."""
    (low, first), *_, (high, last) = sorted(of.items())
    return None if not first or not last else math.log(last / first) / math.log((high + shift) / (low + shift))


_SIDES = (("torch", _MLP, _EAGER), ("jax", _MLP, _JITTED), ("numpy", _MLP, "Numba"))


def _growth(cell: Any, said: Any) -> list[tuple[str, bool | None]]:
    return [
        said(
            f"{backend} {mode}, 5×128",
            _power({n: figure(row_of(cell("large", backend, order=n), name, mode)) for n in (4, 16)}),
            _most(1.3),
        )
        for backend, name, mode in _SIDES
    ]


def _memory(cell: Any, said: Any) -> list[tuple[str, bool | None]]:
    found = []
    for backend, name, mode in _SIDES:
        of = {n: figure(row_of(cell("memory", backend, order=n), name, mode), "bytes") for n in (4, 16)}
        # Linear in the n+1 coefficients; a tenth is allowed for what a process takes besides.
        found.append(said(f"{backend} {mode}, as a power of n + 1, 4 to 16", _power(of, 1), _most(1.1)))
    for backend, name, mode in _SIDES[:2]:
        c = cell("memory", backend, order=7)
        rival = row_of(c, {"torch": "nested torch.autograd", "jax": "nested jax.grad"}[backend], mode)
        if rival is not None and rival["verdict"] == "over budget":
            found.append((f"{backend}, n = 7: nested AD over budget ({rival['reason']})", None))
        else:
            found.append(said(f"{backend}, n = 7, nested AD by ours", ratio(rival, row_of(c, name, mode), "bytes"), _least(20)))
    return found
