"""The ``ntaylor`` command. Floor 17: finds the command that was typed and turns what it raises into a message."""

from __future__ import annotations

import argparse
import io
import signal
import sys
from collections.abc import Sequence

from ntaylor.commands.agreement import add_check, add_verify
from ntaylor.commands.arguments import RefusedError
from ntaylor.commands.bench import add_bench
from ntaylor.commands.highdim import add_highdim
from ntaylor.commands.problems import add_problems
from ntaylor.commands.profiles import add_burgers
from ntaylor.commands.solve import add_solve

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (0 done, 1 not so, 2 refused, 130 interrupted)."""
    for stream in (sys.stdout, sys.stderr):
        # A console that has no λ shall show a ? and not lose the run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
    # A batch system that ends a job says SIGTERM: that is an interruption like any other.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(options.run(options))
    except (RefusedError, ValueError, OSError) as error:
        print(f"ntaylor: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # Whatever said where the checkpoint lies has said it already.
        return 130


def _parser() -> argparse.ArgumentParser:
    import ntaylor

    parser = argparse.ArgumentParser(
        prog="ntaylor", description="High-order derivatives of networks and array functions, and what they are for."
    )
    parser.add_argument("--version", action="version", version=f"ntaylor {ntaylor.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_verify, add_check, add_bench, add_burgers, add_highdim, add_problems, add_solve):
        add(commands)
    return parser
