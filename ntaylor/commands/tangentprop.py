"""``ntaylor tangentprop``: what derivatives at a few samples are worth.

Floor 16: arguments, progress, files and words; the training is ``tangent_prop``'s.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

from ntaylor.commands.arguments import REPORT, RefusedError, positive, whole

__all__ = ["add_tangentprop"]

_PICTURE = "tangentprop.png"
_HIGHEST_ORDER = 6
_PLANE_SHARE = 4
"""Samples in the plane for one on the line."""


def add_tangentprop(commands: Any) -> None:
    """Let the parser's ``commands`` know ``tangentprop``."""
    tangentprop = commands.add_parser(
        "tangentprop",
        help="fit functions from few samples, with and without derivatives: the figure of TangentProp",
        description="TangentProp (Simard, Victorri, LeCun, Denker 1991): a network trained on the values of a function "
        "at few samples, and on its derivatives there. Two functions: a curve, whose slopes and higher derivatives are "
        "given; and rings in the plane, of which it is known that no rotation changes them: derivatives along it are "
        "zero. Prints the root mean square of the error for every order, as median and range over the seeds; "
        "writes report.json and tangentprop.png into --out. Exit status: 0 done, 2 refused, 130 interrupted.",
    )
    tangentprop.add_argument(
        "--points",
        type=positive,
        default=5,
        metavar="N",
        help=f"samples of the curve (default: 5); of the rings there are {_PLANE_SHARE} N",
    )
    tangentprop.add_argument(
        "--order", type=_order, default=3, metavar="N", help=f"highest derivative, 0 to {_HIGHEST_ORDER} (default: 3)"
    )
    tangentprop.add_argument(
        "--seed", type=whole, default=0, metavar="N", help="of the first network's weights (default: 0)"
    )
    tangentprop.add_argument("--seeds", type=positive, default=9, metavar="N", help="how many networks (default: 9)")
    tangentprop.add_argument(
        "--out", type=Path, default=Path("tangentprop"), metavar="DIR", help="(default: %(default)s)"
    )
    tangentprop.add_argument("--overwrite", action="store_true", help="although DIR holds results")
    tangentprop.add_argument("--no-plot", action="store_true", help=f"do not draw {_PICTURE}")
    tangentprop.set_defaults(run=_tangentprop)


def _order(text: str) -> int:
    value = whole(text)
    if value > _HIGHEST_ORDER:
        raise argparse.ArgumentTypeError(
            f"order {value} is more than this network of 20 × 20 learns from few samples: 0 to {_HIGHEST_ORDER}"
        )
    return value


def _tangentprop(options: argparse.Namespace) -> int:
    from rich.console import Console

    from ntaylor import storage
    from ntaylor.progress_bar import bar_on
    from ntaylor.tangent_prop import CURVE, RINGS

    folder = options.out
    _prepare(folder, options.overwrite)
    # Paths are a user's text: brackets in them are no markup.
    console = Console(markup=False, highlight=False)
    tasks = [(CURVE, options.points), (RINGS, _PLANE_SHARE * options.points)]
    found: list[list[list[Any]]] = []
    bar = bar_on(console)
    with bar:
        shown = bar.add_task("", total=len(tasks) * options.seeds * (options.order + 1))
        for task, points in tasks:
            found.append([])
            for seed in range(options.seed, options.seed + options.seeds):
                bar.update(shown, description=f"{task.name}, seed {seed}")
                found[-1].append([])
                for fitted in task.fits(points, options.order, seed):
                    found[-1][-1].append(fitted)
                    bar.advance(shown)
    parts = [_figures(task, points, fits) for (task, points), fits in zip(tasks, found, strict=True)]
    for part in parts:
        _print(part, console)
    if not options.no_plot:
        _draw(folder / _PICTURE, tasks, found, console)
    content = {"seed": options.seed, "seeds": options.seeds, "functions": parts, "made_with": storage.made_with()}
    storage.write_json(folder / REPORT, content)
    console.print(f"see {folder}{os.sep}", soft_wrap=True)
    return 0


def _prepare(folder: Path, overwrite: bool) -> None:
    """Refuse before the work what could not be written after it, or would write over what is there."""
    if folder.exists() and not folder.is_dir():
        raise RefusedError(f"--out {folder} is a file: give a folder")
    there = [name for name in (REPORT, _PICTURE) if (folder / name).exists()]
    if there and not overwrite:
        raise RefusedError(f"{folder} holds results ({there[0]}): give --overwrite, or another --out")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise RefusedError(f"{folder} cannot be written to: give another --out")
    for name in there:  # or an interrupted run would leave the old ones looking like its results
        (folder / name).unlink()


def _figures(task: Any, points: int, fits: list[list[Any]]) -> dict[str, Any]:
    """What one function's fits, [seed][order], come to."""
    rows = []
    for order, of_order in enumerate(zip(*fits, strict=True)):
        errors = [task.error(fitted.network) for fitted in of_order]
        rows.append(
            {
                "order": order,
                "median": float(np.median(errors)),
                "least": min(errors),
                "largest": max(errors),
                "largest_loss": max(fitted.loss for fitted in of_order),
                "errors": errors,
            }
        )
    return {
        "function": task.name,
        "points": points,
        "grid_points": len(task.grid),
        "error_is": "root mean square of network − function on the grid, a seed each",
        "orders": rows,
    }


def _print(part: dict[str, Any], console: Any) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    rows = part["orders"]
    table = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("derivatives to order", "RMS error: median", "least", "largest", "largest loss"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        figures = [f"{row[key]:.1e}" for key in ("median", "least", "largest", "largest_loss")]
        table.add_row(str(row["order"]), *figures)
    count = len(rows[0]["errors"])
    console.print(f"{part['function']}: {part['points']} samples, {count} {'seeds' if count > 1 else 'seed'}")
    console.print(table)


def _draw(path: Path, tasks: list[Any], found: list[list[list[Any]]], console: Any) -> None:
    """For each function the fit from values alone and that with all derivatives, of the seed in the middle."""
    from ntaylor.plots import tangent_picture

    (curve, points), (rings, many) = tasks
    samples = curve.samples(points, 1)
    middles = [_middle(task, fits) for (task, _), fits in zip(tasks, found, strict=True)]
    top = len(middles[0]) - 1
    words = ["values alone", "values and slopes" if top == 1 else f"values and derivatives to order {top}"]
    orders = [0, top] if top else [0]
    x = curve.grid[:, 0]
    axis = np.linspace(-1, 1, 201)
    plane = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    outside = np.sum(plane**2, axis=1) > 1

    def on_plane(values: Any) -> Any:
        return np.where(outside, np.nan, values).reshape(len(axis), len(axis))

    along = ["values alone", "unchanged by rotations, " + ("order 1" if top == 1 else f"orders 1 to {top}")]
    try:
        tangent_picture(
            path,
            (x, curve.f(curve.grid), samples.curve[0][:, 0], samples.targets[0], samples.targets[1]),
            [(words[i], middles[0][order].network(curve.grid)[:, 0]) for i, order in enumerate(orders)],
            (axis, rings.samples(many, 0).curve[0]),
            [
                ("function", on_plane(rings.f(plane))),
                *((along[i], on_plane(middles[1][order].network(plane)[:, 0])) for i, order in enumerate(orders)),
            ],
        )
    except ImportError as error:
        console.print(f"no picture: {error}")


def _middle(task: Any, fits: list[list[Any]]) -> list[Any]:
    """The seed whose error with all derivatives is the median, or next below it: not the best."""
    errors = [task.error(of_seed[-1].network) for of_seed in fits]
    return fits[int(np.argsort(errors)[(len(errors) - 1) // 2])]
