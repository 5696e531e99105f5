"""``ntaylor solve``: a problem of the suite, trained, measured, written down.

Floor 16: arguments, files and words; the runs are ``solving``'s.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from ntaylor.commands.arguments import CHECKPOINT, REPORT, RefusedError, positive, prepare_folder, whole
from ntaylor.commands.profiles import solve_profile
from ntaylor.suite.catalogue import PROFILES, find

__all__ = ["add_solve"]

_NETWORK = "network.safetensors"
_PICTURE = "solution.png"


def add_solve(commands: Any) -> None:
    """Let the parser's ``commands`` know ``solve``."""
    solve = commands.add_parser(
        "solve",
        help="solve a problem of the suite and measure the error",
        description="Train a network to solve a problem that ntaylor problems lists, by the recipe that goes with it, "
        "in float64. Writes report.json, network.safetensors and solution.png into --out. Exit status: 0 done, "
        "1 no finite result or a profile not found, 2 refused, 130 interrupted (then --resume goes on).",
    )
    solve.add_argument("name", metavar="NAME", help="a problem, such as poisson-2d: see ntaylor problems")
    solve.add_argument("--backend", choices=("numpy", "torch", "jax"), default="numpy", help="(default: numpy)")
    solve.add_argument(
        "--optimizer", metavar="NAME", help="train the recipe's tanh network with this one alone: lm, adam, lbfgs, …"
    )
    solve.add_argument("--steps", type=positive, metavar="N", help="with that network, so many steps")
    solve.add_argument("--seconds", type=positive, metavar="S", help="stop after so many seconds of training")
    solve.add_argument("--seed", type=whole, default=0, metavar="N", help="of weights and points (default: 0)")
    solve.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: solve-NAME)")
    solve.add_argument("--resume", action="store_true", help="go on from the checkpoint of an interrupted run")
    solve.add_argument("--overwrite", action="store_true", help="start anew although DIR holds results")
    solve.add_argument("--no-plot", action="store_true", help="do not draw solution.png")
    solve.set_defaults(run=_solve)


def _solve(options: argparse.Namespace) -> int:
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    folder = options.out or Path(f"solve-{options.name}")
    if options.resume and options.overwrite:
        raise RefusedError("--resume and --overwrite exclude each other: give one")
    if options.name in PROFILES:
        given = [n for n in ("optimizer", "steps", "seconds") if getattr(options, n) is not None]
        if given or options.backend != "numpy":
            raise RefusedError(
                f"{options.name} has a search of its own, on NumPy: leave out "
                f"{', '.join('--' + n for n in (given or ['backend']))}"
            )
        return solve_profile(PROFILES.index(options.name), folder, options, console)
    entry = find(options.name)
    prepare_folder(folder, "--out", resume=options.resume, overwrite=options.overwrite)
    asked = {"problem": entry.name} | {n: getattr(options, n) for n in ("seed", "backend", "optimizer", "steps")}
    if options.resume and (folder / REPORT).exists() and not (folder / CHECKPOINT).exists():
        report = _finished(folder / REPORT, asked)
    else:
        report = _run(entry, folder, options, console, asked)
    _print(report, console)
    console.print(f"see {folder}{os.sep}", soft_wrap=True)
    return 0 if report["relative_l2"] is not None else 1


def _run(entry: Any, folder: Path, options: argparse.Namespace, console: Any, asked: dict[str, Any]) -> dict[str, Any]:
    from ntaylor.commands.solution_pictures import solution_picture
    from ntaylor.commands.solving import checkpoint_name, save_network, solve
    from ntaylor.storage import write_json

    checkpoints = [folder / checkpoint_name(i) for i in range(2 + len(entry.recipe.march))]
    if not options.resume:
        for path in checkpoints:
            path.unlink(missing_ok=True)
    try:
        solved = solve(
            entry, backend=options.backend, optimizer=options.optimizer, steps=options.steps, seed=options.seed,
            seconds=options.seconds, folder=folder, resume=options.resume, progress=True,
        )  # fmt: skip
        report = {**solved.report(), "asked": asked}
        save_network(folder / _NETWORK, solved)
        if not options.no_plot:
            try:
                solution_picture(folder / _PICTURE, solved)
            except ImportError as error:
                console.print(f"no picture: {error}")
        write_json(folder / REPORT, report)
        for path in checkpoints:  # only now is nothing lost with them
            path.unlink(missing_ok=True)
    except KeyboardInterrupt:
        there = any(path.exists() for path in checkpoints)
        where = f"the position is in {folder}: the same command with --resume goes on"
        console.print(f"interrupted; {where if there else 'nothing was begun'}", soft_wrap=True)
        raise
    return report


def _finished(path: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """The report of a run that is done; refused if it is another's."""
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = report["asked"]
    except (ValueError, KeyError) as error:
        raise RefusedError(f"{path} is damaged ({error}): give --overwrite to start anew") from error
    if found != asked:
        raise RefusedError(f"{path} is of {found}; asked for {asked}: give another --out, or --overwrite")
    return report


def _print(report: dict[str, Any], console: Any) -> None:
    rows = {
        "problem": report["problem"],
        "network": f"{report['network']}, {report['parameters']} parameters, {report['backend']}",
        "relative L2": _figure(report["relative_l2"]),
        "max error": _figure(report["max_error"]),
        "steps": f"{report['steps']} ({report['ended_by']})",
        "seconds": f"{report['seconds']:.1f}",
    }
    for name, value in report["unknowns"].items():
        true = report["true_unknowns"].get(name)
        limit = report.get("statistical_limit", {}).get(name)
        rows[name] = f"{value:.6g}" + ("" if true is None else f"  (true {true:g}, off by {abs(value - true):.1e}")
        rows[name] += "" if true is None else (")" if limit is None else f"; noise allows {limit:.1e})")
    for name, value in rows.items():
        console.print(f"{name:12} {value}")


def _figure(value: float | None) -> str:
    return "no number" if value is None else f"{value:.2e}"
