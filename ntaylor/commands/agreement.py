"""``ntaylor verify`` and ``ntaylor check``: do the backends agree, and does my own model?

Floor 16: arguments, progress, files and words; the measuring is done by ``verification`` and ``checking``.
"""

from __future__ import annotations

import argparse
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ntaylor.commands.arguments import RefusedError, whole

__all__ = ["add_check", "add_verify"]


def add_verify(commands: Any) -> None:
    """Let the parser's ``commands`` know ``verify``."""
    verify = commands.add_parser(
        "verify",
        help="prove on this machine that every installed backend gives the right derivatives and gradients",
        description="Run networks, activations and functions on every installed backend, device and dtype; compare "
        "derivatives and gradients with mpmath at 50 digits, and with the first backend. A backend that is not "
        "installed, or has no device, is a row that says so. Exit status: 0 all agree, 1 something disagrees or "
        "fails, 2 refused.",
    )
    verify.add_argument("--backend", metavar="A,B", help="of numpy, torch, jax, cupy (default: all)")
    verify.add_argument("--order", type=whole, metavar="N", help="highest derivative, 1 to 12 (default: 12; quick: 8)")
    verify.add_argument(
        "--quick", action="store_true", help="fewer networks and orders: to see in a minute that nothing is broken"
    )
    verify.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every case there")
    verify.set_defaults(run=_verify)


def add_check(commands: Any) -> None:
    """Let the parser's ``commands`` know ``check``."""
    check = commands.add_parser(
        "check",
        help="compare the derivatives of your own model with an independent oracle",
        description="SOURCE is file.py:factory or package.module:factory. factory() returns the model, (model, x) or "
        "(model, x, direction). PyTorch and JAX models are compared with nested reverse mode, networks of ntaylor and "
        "other functions with what follows from values alone. An operation or layer without a rule is named. Exit "
        "status: 0 agrees, 1 disagrees, could not be compared or has no rule, 2 refused.",
    )
    check.add_argument("source", metavar="SOURCE", help="such as model.py:make")
    check.add_argument("--order", type=whole, default=4, metavar="N", help="highest derivative (default: 4)")
    check.add_argument(
        "--limit", type=whole, metavar="N", help="highest order compared; nested reverse mode stops at 4"
    )
    check.add_argument("--dtype", choices=("float64", "float32"), help="of x (default: the model's, else float64)")
    check.add_argument("--backend", metavar="NAME", help="of x (default: the model's, else numpy)")
    check.add_argument("--points", type=whole, metavar="N", help="random points, if factory gives no x (default: 8)")
    check.add_argument("--inputs", type=whole, metavar="D", help="features of x, if factory gives no x (default: 1)")
    check.set_defaults(run=_check)


def _verify(options: argparse.Namespace) -> int:
    # JAX would otherwise take three quarters of a GPU for itself, and leave the others too little.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    from rich.console import Console

    from ntaylor import storage, verification
    from ntaylor.commands import tables
    from ntaylor.progress_bar import bar_on

    names = verification.chosen(options.backend.split(",") if options.backend is not None else None)
    plan = verification.planned(options.order, options.quick)
    if options.json is not None:
        _check_writable(options.json)
    console = Console(markup=False, highlight=False)
    bar = bar_on(console)
    with bar:
        task = bar.add_task("mpmath", total=len(plan))

        def show(row: verification.Row, done: int, total: int) -> None:
            bar.update(task, description=tables.label(row), completed=done, total=total)

        rows = list(verification.rows(names, plan, show))
    tables.print_rows(rows, console)
    measured = [row for row in rows if row.reason is None]
    agree = all(row.agrees for row in rows)
    if options.json is not None:
        content = {
            "made_with": {**storage.made_with(), "mpmath": version("mpmath")},
            "order": max(orders[-1] for _, orders in plan),
            "quick": options.quick,
            "tolerance": {dtype: verification.tolerance(dtype) for dtype in verification.DTYPES},
            "agrees": agree and bool(measured),
            "rows": [row.as_json() for row in rows],
        }
        storage.write_json(options.json, content)
        console.print(f"every figure is in {options.json}", soft_wrap=True)
    if not measured:
        raise RefusedError("nothing was verified: none of these backends could be run. Give others to --backend")
    return 0 if agree else 1


def _check_writable(path: Path) -> None:
    """Refuse before minutes of work what could not be written after them."""
    if path.is_dir():
        raise RefusedError(f"--json {path} is a folder: give a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise RefusedError(f"{path.parent} cannot be written to: give another --json")


def _check(options: argparse.Namespace) -> int:
    from rich.console import Console

    from ntaylor import checking
    from ntaylor.commands import loading
    from ntaylor.namespace import describe

    model, x, direction = loading.loaded(options)
    try:
        model(x)
    except Exception as error:
        raise RefusedError(
            f"the model itself fails at x, {describe(x)}: {type(error).__name__}: {error}{loading.at(error)}. If it "
            "takes another x, let the factory return (model, x)"
        ) from error
    try:
        report = checking.check(model, x, options.order, direction, limit=options.limit)
    except (TypeError, ValueError) as error:
        raise RefusedError(str(error)) from error
    console = Console(markup=False, highlight=False)
    console.print(f"{options.source}: {report}")
    return 0 if report.ok else 1
