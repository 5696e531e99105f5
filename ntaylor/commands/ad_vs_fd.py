"""``ntaylor ad-vs-fd``: automatic against finite differences, fitted and trained, in tables and pictures.

Floor 15.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ntaylor.commands.arguments import RefusedError, positive

__all__ = ["add_ad_vs_fd"]

RECORD = "record.json"
"""All that was measured, a line a cell; the pictures are made of it."""

_DESCRIPTION = """\
Solves Δᵖu = f (u″, u⁗, u⁽⁶⁾ in one dimension) on [−1, 1]ᵈ by random features and by two-layer networks, with exact
derivatives and with central differences of several steps h, and compares: singular values, truncated entropy H(a) and
H/log N_a, residual, error, loss after equal steps, time. Says which published findings (arXiv 2405.14099) hold here.

Writes to --output: record.json, written after every fit and training, and pictures of spectra, steps, losses and
training kernels. Exit status: 0 done, 2 refused, 130 interrupted; then the same command with --resume goes on."""


def add_ad_vs_fd(commands: Any) -> None:
    """The command's arguments."""
    parser = commands.add_parser(
        "ad-vs-fd",
        help="automatic against finite differences: spectra, errors, training",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a small study, of some minutes on two cores")
    parser.add_argument("--orders", type=int, nargs="+", choices=(2, 4, 6), help="(default: 2 4 6)")
    parser.add_argument("--dims", type=int, nargs="+", choices=(1, 2), help="(default: 1 2)")
    parser.add_argument(
        "--activations",
        nargs="+",
        metavar="NAME",
        help="names of nt.activations, or reluP with a power P (default: tanh sin relu3); where a power of ReLU is too "
        "rough for the order, one that is smooth enough is taken beside it",
    )
    parser.add_argument("--optimisers", nargs="+", choices=("gd", "adam"), help="(default: gd adam)")
    parser.add_argument("--seeds", type=positive, metavar="N", help="of random features (default: 5; quick 2)")
    parser.add_argument("--training-seeds", type=positive, metavar="N", help="of trainings (default: 3; quick 1)")
    parser.add_argument("--training-steps", type=positive, metavar="N", help="(default: 1000 in 1-D, 400 in 2-D)")
    parser.add_argument("--long-steps", type=positive, metavar="N", help="of the long trainings (default: 10000)")
    parser.add_argument("--h", type=float, nargs="+", metavar="STEP", help="steps of differences, for every order")
    parser.add_argument("--output", type=Path, default=Path("ad-vs-fd"), metavar="DIR", help="(default: ad-vs-fd)")
    parser.add_argument("--resume", action="store_true", help="go on with the record in DIR")
    parser.add_argument("--overwrite", action="store_true", help="start anew although DIR holds a record")
    parser.add_argument("--no-plot", action="store_true", help="draw nothing")
    parser.set_defaults(run=_ad_vs_fd)


def _ad_vs_fd(options: argparse.Namespace) -> int:
    from rich.console import Console

    from ntaylor.ad_vs_fd import cells, study
    from ntaylor.ad_vs_fd_page import advice
    from ntaylor.commands.progress import bar_on

    console = Console(markup=False, highlight=False)
    settings = _asked_for(options)
    record = options.output / RECORD
    _prepare(record, options)
    wanted = list(cells(settings))
    try:
        with bar_on(console) as bar:
            shown = bar.add_task("", total=len(wanted))

            def show(done: int, of: int, key: str) -> None:
                bar.update(shown, completed=done, description=key)

            content = study(settings, record, each=show)
    except KeyboardInterrupt:
        where = f"what is done is in {record}: the same command with --resume goes on"
        console.print(f"interrupted; {where if record.exists() else 'nothing was done'}", soft_wrap=True)
        raise
    _print_tables(content, console)
    for i, sentence in enumerate(advice(content), 1):
        console.print(f"{i}. {sentence}", soft_wrap=True)
    if not options.no_plot:
        _draw(content, options.output, console)
    console.print(f"see {options.output}{os.sep}", soft_wrap=True)
    return 0


def _asked_for(options: argparse.Namespace) -> Any:
    """The settings; RefusedError for names and steps that are none."""
    from ntaylor.ad_vs_fd import QUICK, Settings, activation_named

    settings = QUICK if options.quick else Settings()
    for name in options.activations or ():
        try:
            activation_named(name)
        except ValueError as error:
            raise RefusedError(f"--activations: {error}") from error
    if options.h is not None and not all(0 < h <= 1 for h in options.h):
        raise RefusedError(f"--h takes steps in (0, 1], such as 0.125 0.015625; got {' '.join(map(str, options.h))}")

    def unique(values: Sequence[Any] | None) -> tuple[Any, ...] | None:
        return None if values is None else tuple(dict.fromkeys(values))

    asked = {
        "orders": unique(options.orders),
        "dimensions": unique(options.dims),
        "activations": unique(options.activations),
        "optimisers": unique(options.optimisers),
        "seeds": options.seeds,
        "training_seeds": options.training_seeds,
        "long": options.long_steps,
        "training_steps": options.training_steps and dict.fromkeys(("1", "2"), options.training_steps),
    }
    if options.h is not None:
        steps = sorted(set(options.h), reverse=True)
        asked["steps"] = dict.fromkeys(settings.steps, steps)
        asked["training_fd"] = (0,) if len(steps) < 3 or options.quick else (0, len(steps) // 2)
    return replace(settings, **{name: value for name, value in asked.items() if value is not None})


def _prepare(record: Path, options: argparse.Namespace) -> None:
    """Refuse, before any work, to lose what is there."""
    if options.resume and options.overwrite:
        raise RefusedError("--resume and --overwrite exclude each other: give one")
    folder = record.parent
    if folder.exists() and not folder.is_dir():
        raise RefusedError(f"--output {folder} is a file: give a folder")
    if record.exists() and not (options.resume or options.overwrite):
        raise RefusedError(
            f"{folder} holds a record ({RECORD}): give --resume to go on with it, --overwrite to start anew, or "
            "another --output"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise RefusedError(f"{folder} cannot be written to: give another --output")
    if options.overwrite:
        record.unlink(missing_ok=True)


def _print_tables(content: dict[str, Any], console: Any) -> None:
    from ntaylor.ad_vs_fd_findings import FIT_HEAD, TRAINING_HEAD, findings, fit_rows, middle, training_rows

    console.print("random features: medians over the seeds, a = 1e-12 σ_1; * the exact rows are 0 almost everywhere")
    _print_aligned(FIT_HEAD, fit_rows(content, spread=middle), console)
    console.print("two-layer networks: medians over the seeds, after equally many steps; G is the training kernel")
    _print_aligned(TRAINING_HEAD, training_rows(content, spread=middle), console)
    for statement, verdict, evidence in findings(content):
        console.print(f"{statement}?\n    {verdict}\n    {evidence}", soft_wrap=True)
    console.print()


def _print_aligned(head: Sequence[str], rows: Sequence[Sequence[str]], console: Any) -> None:
    """Columns as wide as they need to be, whatever the terminal's width: a line a row."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    before: Sequence[str] = ()
    for row in (head, *rows):
        if before and row[:3] != before[:3] and before is not head:
            console.print()
        console.print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip(), soft_wrap=True)
        before = row
    console.print()


def _draw(content: dict[str, Any], folder: Path, console: Any) -> None:
    from ntaylor.ad_vs_fd_page import draw

    try:
        draw(content, folder, "ad-vs-fd")
    except ImportError as error:
        console.print(f"no pictures: {error}")
