"""What ``ntaylor verify`` prints: a row a backend, device and dtype, where the worst was, and what failed.

Floor 16. On a wide terminal a row is a line, on a narrow one two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ntaylor.verification import Row, tolerance, ulp

__all__ = ["label", "print_rows"]

_WIDE = 104
_SHOWN = 5
_KINDS = {"derivatives": ("values",), "gradients": ("gradients",), "apart": ("apart", "gradients_apart")}


def label(row: Row) -> str:
    """``torch cuda:0 float32``."""
    return " ".join(part for part in (row.backend, row.device, row.dtype) if part)


def print_rows(rows: Sequence[Row], console: Any) -> None:
    """The table, the places of the worst errors, reasons and failures, and the verdict."""
    measured = [row for row in rows if row.reason is None]
    console.print(_figures(rows, console.width >= _WIDE))
    if measured:
        console.print(_places(measured))
    for row in rows:
        if row.reason is not None:
            console.print(f"{label(row)}: {row.reason}")
    for row in measured:
        for problem, names in _problems(row).items():
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            console.print(f"{label(row)}: {problem}: {', '.join(names[:_SHOWN])}{more}")
    bad = [label(row) for row in rows if not row.agrees]
    if bad:
        console.print(f"DISAGREES: {', '.join(bad)}")
    elif measured:
        backends = list(dict.fromkeys(row.backend for row in measured))
        dtypes = list(dict.fromkeys(row.dtype for row in measured))
        limits = " and ".join(f"{tolerance(dtype):.1e} in {dtype}" for dtype in dtypes)
        console.print(f"{', '.join(backends)} agree with mpmath{' and each other' if backends[1:] else ''} to {limits}")


def _table(caption: str) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    # Of a padding of 1 on the right alone two columns of figures can be told apart.
    return Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, caption=caption or None, caption_justify="left")


def _figures(rows: Sequence[Row], wide: bool) -> Any:
    cases = max([len(row.results) for row in rows], default=0)
    table = _table(f"{cases} cases a row; errors by the largest exact value of the order; 1 ulp is the dtype's eps")
    for head in ["backend", "version", "device", "dtype"] if wide else ["backend", "device"]:
        table.add_column(head, no_wrap=True)
    for kind in _KINDS:
        table.add_column(kind, justify="right", no_wrap=True)
        if wide:
            table.add_column("ulp", justify="right", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        words = [row.backend, row.version, row.device, row.dtype]
        cells = words if wide else [_lines(*words[:2]), _lines(*words[2:])]
        for kinds in _KINDS.values():
            pair = _pair(row.worst(*kinds), row.dtype)
            cells += pair if wide else [_lines(pair[0], f"{pair[1]} ulp" if pair[1] else "")]
        table.add_row(*cells, f"{row.seconds:.1f}" if row.reason is None else "", row.verdict)
    return table


def _lines(*words: str) -> str:
    return "\n".join(filter(None, words))


def _pair(worst: tuple[float, str, int] | None, dtype: str) -> tuple[str, str]:
    """The error and how many units of rounding it is; nothing where nothing was compared."""
    if worst is None:
        return "", ""
    error, units = worst[0], worst[0] / ulp(dtype)
    return f"{error:.1e}", f"{units:.0f}" if units < 1e5 else f"{units:.0e}"


def _places(rows: Sequence[Row]) -> Any:
    table = _table("")
    table.add_column("worst, at order", no_wrap=True)
    for kind in _KINDS:
        table.add_column(kind)
    for row in rows:
        worst = [row.worst(*kinds) for kinds in _KINDS.values()]
        table.add_row(label(row), *("" if found is None else f"{found[1]}, {found[2]}" for found in worst))
    return table


def _problems(row: Row) -> dict[str, list[str]]:
    """What went wrong, in words → the cases where it did, with their worst figure."""
    found: dict[str, list[str]] = {}
    for result in row.results:
        if result.problem is not None:
            found.setdefault(result.problem, []).append(result.case)
        for words, (error, order) in result.over(row.dtype).items():
            beyond = f"{words} beyond {tolerance(row.dtype):.1e}"
            found.setdefault(beyond, []).append(f"{result.case} ({error:.1e} at order {order})")
    return found
