"""``ntaylor burgers``: the self-similar Burgers profiles.

Floor 16: arguments, progress, files; the search is ``profile_search``'s.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ntaylor.commands.arguments import CHECKPOINT, REPORT, RefusedError, prepare_folder, whole

__all__ = ["add_burgers", "solve_profile"]

_NETWORK = "network.safetensors"
_PICTURE = "profile.png"
_HIGHEST_PROFILE = 9


def add_burgers(commands: Any) -> None:
    """Let the parser's ``commands`` know ``burgers``."""
    burgers = commands.add_parser(
        "burgers",
        help="solve for a self-similar Burgers profile and its exponent",
        description="Solve −λU + ((1+λ)X + U)U′ = 0 on [−2, 2], U(∓2) = ±1, for the network U and λ together, "
        "in float64 on NumPy and SciPy. Writes report.json, network.safetensors and profile.png into --out. "
        "Exit status: 0 converged, 1 not converged, 2 refused, 130 interrupted (then --resume goes on).",
    )
    which = burgers.add_mutually_exclusive_group(required=True)
    which.add_argument("--profile", type=_profile, metavar="K", help="profile K = 0, 1, 2, …: λ near 1/(2K+2)")
    which.add_argument("--all", action="store_true", help="profiles 0 to 3, each into a folder of its own")
    burgers.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: burgers-K, or burgers)")
    burgers.add_argument("--seed", type=whole, default=0, metavar="N", help="of the random weights (default: 0)")
    burgers.add_argument("--resume", action="store_true", help="go on from the checkpoint of an interrupted run")
    burgers.add_argument("--overwrite", action="store_true", help="start anew although DIR holds results")
    burgers.add_argument("--no-plot", action="store_true", help="do not draw profile.png")
    burgers.set_defaults(run=_burgers)


def _profile(text: str) -> int:
    value = whole(text)
    if value > _HIGHEST_PROFILE:
        raise argparse.ArgumentTypeError(
            f"profile {value} needs derivatives of order {2 * value + 4}; this search is tried up to profile "
            f"{_HIGHEST_PROFILE}, and known to find 0 to 4"
        )
    return value


def _burgers(options: argparse.Namespace) -> int:
    from rich.console import Console

    # Paths and reasons are a user's text: brackets in them are no markup.
    console = Console(markup=False, highlight=False)
    if options.all:
        folder = options.out or Path("burgers")
        jobs = [(k, folder / f"profile-{k}") for k in range(4)]
    else:
        jobs = [(options.profile, options.out or Path(f"burgers-{options.profile}"))]
    if options.resume and options.overwrite:
        raise RefusedError("--resume and --overwrite exclude each other: give one")
    for _, folder in jobs:
        prepare_folder(folder, "--out", resume=options.resume, overwrite=options.overwrite)

    return _solve_all(jobs, options, console)


def solve_profile(k: int, folder: Path, options: argparse.Namespace, console: Any) -> int:
    """Profile k by its search, with the options seed, resume, overwrite and no_plot; the exit status."""
    prepare_folder(folder, "--out", resume=options.resume, overwrite=options.overwrite)
    return _solve_all([(k, folder)], options, console)


def _solve_all(jobs: Sequence[tuple[int, Path]], options: argparse.Namespace, console: Any) -> int:
    reports = [_solve_profile(k, folder, options, console) for k, folder in jobs]
    _print_summary(reports, console)
    for report, (_, folder) in zip(reports, jobs, strict=True):
        for reason in report["against"]:
            console.print(f"profile {report['profile']} is not found: {reason}")
        console.print(f"profile {report['profile']}: see {folder}{os.sep}", soft_wrap=True)
    return 0 if all(report["converged"] for report in reports) else 1


def _print_summary(reports: Sequence[dict[str, Any]], console: Any) -> None:
    """A table, or where it would be cut, a line a figure."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    rows = [
        {
            "profile": str(report["profile"]),
            "λ found": f"{report['lambda']:.12f}" if report["converged"] else "not found",
            "λ error": f"{report['lambda_error']:.1e}",
            "U error": f"{report['max_error']:.1e}",
            "steps": str(report["steps"]),
            "tries": str(report["attempts"]),
            "seconds": f"{report['seconds']:.1f}",
            "verdict": "converged" if report["converged"] else "NOT FOUND",
        }
        for report in reports
    ]
    if console.width < 78:
        for row in rows:
            print("\n".join(f"{name:8} {value}" for name, value in row.items()))
        return
    caption = "errors: |λ − λ*| and max |U − U*|"
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, caption=caption, caption_justify="left")
    for heading in rows[0]:
        table.add_column(heading, justify="left" if heading == "verdict" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row.values())
    console.print(table)


def _solve_profile(k: int, folder: Path, options: argparse.Namespace, console: Any) -> dict[str, Any]:
    """Search, write the three files, return the report. A finished run is read, not repeated, on --resume."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from ntaylor import profile_search
    from ntaylor.problems.self_similar_burgers import SelfSimilarBurgers
    from ntaylor.storage import write_json

    if options.resume and (folder / REPORT).exists() and not (folder / CHECKPOINT).exists():
        finished = _read_report(folder / REPORT)
        if (finished["profile"], finished["seed"]) != (k, options.seed):
            raise RefusedError(
                f"{folder} holds profile {finished['profile']}, seed {finished['seed']}; asked for profile {k}, seed "
                f"{options.seed}: give another --out, or --overwrite without --resume"
            )
        return finished
    bar = Progress(
        TextColumn("profile {task.fields[profile]}"),
        TextColumn("{task.description:8}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("residual² {task.fields[cost]:7.1e}  λ {task.fields[lam]:.10f}"),
        TimeElapsedColumn(),
        console=console,
    )
    problem, checkpoint = SelfSimilarBurgers(k), folder / CHECKPOINT
    try:
        with bar:
            task = bar.add_task("start", total=None, profile=k, cost=float("nan"), lam=problem.middle)

            def show(at: profile_search.Progress) -> None:
                name = at.stage if at.attempt == 0 else f"{at.stage} #{at.attempt + 1}"
                bar.update(task, description=name, completed=at.step, total=at.steps, cost=at.cost, lam=at.lam)

            result = profile_search.search(
                problem, options.seed, on_step=show, checkpoint=checkpoint, resume=options.resume
            )
            verdict = "found" if result.converged else "failed"
            bar.update(task, description=verdict, completed=result.steps, total=result.steps)
        content = profile_search.report(result)
        profile_search.save_network(folder / _NETWORK, result)
        if not options.no_plot:
            _draw(folder / _PICTURE, result, console)
        write_json(folder / REPORT, content)
        # Only now is nothing lost with it.
        checkpoint.unlink(missing_ok=True)
    except KeyboardInterrupt:
        where = f"the position is in {checkpoint}: the same command with --resume goes on"
        console.print(f"interrupted; {where if checkpoint.exists() else 'nothing was begun'}", soft_wrap=True)
        raise
    return content


def _read_report(path: Path) -> dict[str, Any]:
    import json

    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not {"profile", "seed", "converged"} <= set(report):
            raise ValueError("it lacks the keys of a report")
    except ValueError as error:
        raise RefusedError(f"{path} is damaged ({error}): give --overwrite to start anew") from error
    return report


def _draw(path: Path, result: Any, console: Any) -> None:
    from ntaylor.plots import profile_picture
    from ntaylor.profile_search import derivatives_beside_exact

    verdict = "" if result.converged else "  — NOT converged"
    title = f"Self-similar Burgers profile {result.problem.profile}:  λ = {result.lam:.12f}{verdict}"
    try:
        profile_picture(path, *derivatives_beside_exact(result), title)
    except ImportError as error:
        console.print(f"no picture: {error}")
