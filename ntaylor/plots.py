"""Pictures. Floor 13: arrays in, a file out; matplotlib is imported when the first one is drawn."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ntaylor.storage import write_atomic

__all__ = ["error_picture", "profile_picture"]

Array = Any

_NETWORK: dict[str, Any] = {"color": "#1f5fa8", "linewidth": 2.0, "label": "network"}
_EXACT: dict[str, Any] = {"color": "#e07b00", "linewidth": 1.2, "linestyle": (0, (4, 3)), "label": "exact"}


def profile_picture(path: Path, x: Array, found: Array, exact: Array, title: str) -> None:
    """U with its error, and below them U′, U″, … to the highest order.

    ``found`` and ``exact`` hold derivatives (not Taylor coefficients) on ``x``, shape (order+1, len(x)). Raises
    ImportError, saying what to install, without matplotlib.
    """
    order = len(found) - 1
    columns = 4
    rows = math.ceil(order / columns)
    figure = _figure((12, 3.4 + 2.3 * rows))
    figure.suptitle(title, fontsize=13)
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[1.45] + [1] * rows)

    axes = figure.add_subplot(grid[0, :2])
    axes.plot(x, found[0], **_NETWORK)
    axes.plot(x, exact[0], **_EXACT)
    axes.set(xlabel="X", title="U")
    axes.legend(frameon=False)

    axes = figure.add_subplot(grid[0, 2:])
    for k, label in _labelled_orders(order):
        scale = np.max(np.abs(exact[k]))
        # A zero error has no logarithm; it is drawn at the rounding unit, below which nothing is known.
        error = np.maximum(np.abs(found[k] - exact[k]) / scale, np.finfo(float).eps / 2)
        axes.semilogy(x, error, linewidth=0.9, label=label)
    axes.set(xlabel="X", title="error / max |exact|", ylim=(1e-17, 10))
    axes.legend(frameon=False, ncols=5, fontsize=9, loc="upper center")

    for k in range(1, order + 1):
        axes = figure.add_subplot(grid[1 + (k - 1) // columns, (k - 1) % columns])
        axes.plot(x, found[k], **_NETWORK)
        axes.plot(x, exact[k], **_EXACT)
        worst = np.max(np.abs(found[k] - exact[k])) / np.max(np.abs(exact[k]))
        axes.set_title(f"{_name(k)}   (max error {worst:.0e})", fontsize=10)
        if k > order - columns:
            axes.set_xlabel("X", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        axes.yaxis.get_offset_text().set_fontsize(8)
    _save(path, figure)


def error_picture(
    path: Path,
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    baseline: float | None,
    title: str,
    label: str,
) -> None:
    """Errors over steps, a curve a name as (steps, errors), and the baseline's as a line across.

    Raises ImportError, saying what to install, without matplotlib.
    """
    figure = _figure((7, 4.2))
    axes = figure.add_subplot()
    for name, (steps, errors) in curves.items():
        axes.semilogy(steps, errors, linewidth=1.2, label=name)
    if baseline is not None:
        axes.axhline(baseline, color="0.45", linewidth=1.0, linestyle=(0, (4, 3)), label="baseline")
    axes.set(xlabel="steps", ylabel=label)
    axes.set_title(title, fontsize=11)
    axes.legend(frameon=False)
    _save(path, figure)


def _figure(size: tuple[float, float]) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise ImportError("drawing needs matplotlib: pip install 'ntaylor[plot]'") from missing
    return Figure(figsize=size, layout="constrained")


def _save(path: Path, figure: Any) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_atomic(path, content.getvalue())


def _labelled_orders(order: int) -> Sequence[tuple[int, str]]:
    """U itself and a few of its derivatives up to the highest, so that the error panel stays readable."""
    chosen = sorted({0, 1, 2, order // 2, order})
    return [(k, _name(k)) for k in chosen]


def _name(k: int) -> str:
    return "U" + ("′" * k if k <= 3 else f"$^{{({k})}}$")
