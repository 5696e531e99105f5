"""Pictures. Floor 12: arrays in, a file out; matplotlib is imported when the first one is drawn."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ntaylor.storage import write_atomic

__all__ = [
    "Curve",
    "cost_picture",
    "error_picture",
    "heat_map_picture",
    "profile_picture",
    "training_picture",
    "written_figure",
]

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


def training_picture(
    path: Path | None,
    steps: Sequence[int],
    curves: Mapping[str, Sequence[float]],
    errors: Sequence[tuple[int, float]],
    unknowns: Mapping[str, Sequence[float]],
) -> Any:
    """Losses over steps, and beside them the error and the unknowns where there are any; the figure.

    It is written if there is a path. Raises ImportError, saying what to install, without matplotlib.
    """
    panels = 1 + bool(errors) + bool(unknowns)
    figure = _figure((1.0 + 4.6 * panels, 3.8))
    axes = figure.add_subplot(1, panels, 1)
    for name, values in curves.items():
        strong = name == "loss"
        axes.semilogy(steps, values, linewidth=2.0 if strong else 1.1, color="0.2" if strong else None, label=name)
    axes.set(xlabel="steps", title="loss and mean squares")
    axes.legend(frameon=False, fontsize=8)
    if errors:
        axes = figure.add_subplot(1, panels, 2)
        axes.semilogy(*zip(*errors, strict=True), color="#1f5fa8")
        axes.set(xlabel="steps", title="relative L2 error")
    if unknowns:
        axes = figure.add_subplot(1, panels, panels)
        for name, values in unknowns.items():
            axes.plot(steps, values, linewidth=1.2, label=f"{name} → {values[-1]:.6g}" if values else name)
        axes.set(xlabel="steps", title="unknowns")
        axes.legend(frameon=False, fontsize=8)
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=8)
    if path is not None:
        _save(path, figure)
    return figure


Curve = tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float]]
"""(orders, medians, lower quartiles, upper quartiles)."""

_MARKERS = "os^Dv<>PX*"


def cost_picture(
    path: Path, panels: Sequence[tuple[str, Mapping[str, Curve]]], title: str, label: str, logarithmic: str = "both"
) -> None:
    """Cost over the order: a column a panel, with quartiles as bands; a name has one colour in all panels.

    ``logarithmic`` is "both" for a row of linear axes, cut where the second slowest ends, above one of logarithmic
    ones; "y" for one row, logarithmic in y; "xy" for one logarithmic in both. Raises ImportError, saying what to
    install, without matplotlib.
    """
    names = list(dict.fromkeys(name for _, curves in panels for name in curves))
    scales = ["linear", "log"] if logarithmic == "both" else ["log"]
    figure = _figure((2.4 + 3.4 * len(panels), 3.1 * len(scales) + 0.9))
    figure.suptitle(title, fontsize=12)
    for row, scale in enumerate(scales):
        for column, (head, curves) in enumerate(panels):
            axes = figure.add_subplot(len(scales), len(panels), row * len(panels) + column + 1)
            for name, (orders, medians, low, high) in curves.items():
                i = names.index(name)
                ours = name.startswith("ntaylor")
                style = {"marker": _MARKERS[i % len(_MARKERS)], "linewidth": 2.0 if ours else 1.1}
                style |= {"markersize": 4, "linestyle": "--" if name.startswith("floor") else "-"}
                axes.plot(orders, medians, color=f"C{i % 10}", label=name, **style)
                axes.fill_between(orders, low, high, color=f"C{i % 10}", alpha=0.15, linewidth=0)
            axes.set_yscale(scale)
            if scale == "log":
                _plain_ticks(axes.yaxis)
            if logarithmic == "xy":
                axes.set_xscale("log")
                ticks = sorted({n for orders, *_ in curves.values() for n in orders})
                axes.set_xticks(ticks, [f"{n:g}" for n in ticks], minor=False)
                axes.minorticks_off()
            if scale == "linear" and len(curves) > 1:
                # An exponential cost would leave nothing to be seen of the others.
                ends = sorted(max(medians) for _, medians, *_ in curves.values())
                axes.set_ylim(0, 1.1 * ends[-2])
            axes.set_xlabel("order n", fontsize=9)
            axes.set_ylabel(label, fontsize=9)
            axes.set_title(head, fontsize=10)
            axes.grid(alpha=0.25)
            axes.tick_params(labelsize=8)
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=min(3, len(panels) + 1),
        frameon=False,
        fontsize=8,
    )
    _save(path, figure)


def _plain_ticks(axis: Any) -> None:
    """1, 2, 5, 10, … instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def heat_map_picture(
    path: Path,
    panels: Mapping[tuple[int, int], tuple[Array, Sequence[Sequence[str]]]],
    rows: Sequence[str],
    columns: Sequence[str],
    x: tuple[str, Sequence[int]],
    y: tuple[str, Sequence[int]],
    title: str,
) -> None:
    """Ratios as colours on a logarithmic scale about 1, with their words: panel (row, column) -> (ratios, words).

    ``x`` and ``y`` are the axes' names and values; ratios have the shape (len(y), len(x)), NaN where there is none.
    Raises ImportError, saying what to install, without matplotlib.
    """
    figure = _figure((1.5 + 2.6 * len(columns), 1.2 + 1.9 * len(rows)))
    figure.suptitle(title, fontsize=12)
    finite = [v for ratios, _ in panels.values() for v in np.log10(ratios[np.isfinite(ratios)])]
    limit = max(map(abs, finite), default=1.0) or 1.0
    image = None
    for (row, column), (ratios, words) in panels.items():
        axes = figure.add_subplot(len(rows), len(columns), row * len(columns) + column + 1)
        image = axes.imshow(np.log10(ratios), cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto", origin="lower")
        axes.set_facecolor("0.9")
        for i, line in enumerate(words):
            for j, word in enumerate(line):
                dark = abs(np.nan_to_num(np.log10(ratios[i, j]))) > 0.6 * limit
                axes.text(j, i, word, ha="center", va="center", fontsize=7, color="white" if dark else "black")
        axes.set_xticks(range(len(x[1])), [str(v) for v in x[1]], fontsize=7)
        axes.set_yticks(range(len(y[1])), [str(v) for v in y[1]], fontsize=7)
        axes.set_title(f"{rows[row]}, {columns[column]}", fontsize=9)
        if row == len(rows) - 1:
            axes.set_xlabel(x[0], fontsize=8)
        if column == 0:
            axes.set_ylabel(y[0], fontsize=8)
    if image is not None:
        bar = figure.colorbar(image, ax=figure.axes, shrink=0.6)
        bar.set_label("log₁₀ of the ratio", fontsize=8)
    _save(path, figure)


def _figure(size: tuple[float, float]) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise ImportError("drawing needs matplotlib: pip install 'ntaylor[plot]'") from missing
    return Figure(figsize=size, layout="constrained")


@contextlib.contextmanager
def written_figure(path: Path, size: tuple[float, float]) -> Iterator[Any]:
    """An empty figure that is written to ``path`` once it has been drawn on; ImportError without matplotlib."""
    figure = _figure(size)
    yield figure
    _save(path, figure)


def _save(path: Path, figure: Any) -> None:
    import matplotlib

    content = io.BytesIO()
    vector = path.suffix == ".svg"
    with matplotlib.rc_context({"svg.hashsalt": path.stem}):  # the same figures shall be the same file
        figure.savefig(content, format=path.suffix[1:], dpi=110, **({"metadata": {"Date": None}} if vector else {}))
    write_atomic(path, content.getvalue())


def _labelled_orders(order: int) -> Sequence[tuple[int, str]]:
    """U itself and a few of its derivatives up to the highest, so that the error panel stays readable."""
    chosen = sorted({0, 1, 2, order // 2, order})
    return [(k, _name(k)) for k in chosen]


def _name(k: int) -> str:
    return "U" + ("′" * k if k <= 3 else f"$^{{({k})}}$")
