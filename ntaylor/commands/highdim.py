"""``ntaylor highdim``: partial differential equations in many dimensions.

Floor 16: arguments, progress, files and words; the run is ``high_dimensional_training``'s.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ntaylor.commands.arguments import CHECKPOINT, REPORT, RefusedError, positive, prepare_folder, whole

__all__ = ["add_highdim"]

_NETWORK = "network.safetensors"
_PICTURE = "error.png"

_EQUATIONS = ("poisson", "allen-cahn", "sine-gordon", "heat")
_SOLUTIONS = ("two-body", "three-body", "two-body-centred", "three-body-centred", "waves")
_METHODS = ("compressed", "sparse", "rademacher", "gaussian", "full-ad")


def add_highdim(commands: Any) -> None:
    """Let the parser's ``commands`` know ``highdim``."""
    highdim = commands.add_parser(
        "highdim",
        help="train a network on an equation in up to a million dimensions",
        description="The benchmark of STDE (arXiv 2412.00088). Without --semilinear: Δu + f(u) = g in the unit ball of "
        "D dimensions, u = 0 on the sphere, u known; poisson, allen-cahn (f = u − u³) and sine-gordon (f = sin u). "
        "With it: u_t = Δu + f(u) from u(0, ·) = g, for u at (t, x) = (0.3, 0); heat (f = (1 − u²)/(1 + u²)), "
        "allen-cahn and sine-gordon. A tanh network of 4 × 128, Adam. Writes report.json, network.safetensors and, "
        "with --plot, error.png into --output. The error in the report is that after the last step, beside the "
        "baseline: what one fitted constant times (1 − ‖x‖²) reaches, or one number with nothing learnt. Exit status: "
        "0 done, 1 the loss was no number any more, 2 refused, 130 interrupted (then --resume goes on).",
    )
    highdim.add_argument("--equation", choices=_EQUATIONS, required=True, help="which f")
    highdim.add_argument(
        "--solution",
        choices=_SOLUTIONS,
        help="which u (default: two-body). two-body and three-body are the published ones, and nearly solved by the "
        "baseline in high dimension; with the others it fails, its error is near 1",
    )
    highdim.add_argument("--semilinear", action="store_true", help="the equation in time, on the whole space")
    highdim.add_argument("--dim", type=positive, required=True, metavar="D", help="dimension of x")
    highdim.add_argument(
        "--method",
        choices=_METHODS,
        default="compressed",
        help="how the Laplacian is had (default: compressed). compressed: exactly, by as many directions as the first "
        "layer is wide; sparse, rademacher, gaussian: estimated from --samples random directions; full-ad: exactly, "
        "by the library's nested automatic differentiation",
    )
    highdim.add_argument("--samples", type=positive, default=16, metavar="N", help="directions a step (default: 16)")
    highdim.add_argument(
        "--unbiased", action="store_true", help="two independent sets of samples; as published one residual is squared"
    )
    highdim.add_argument(
        "--initial",
        choices=("hard", "soft"),
        help="with --semilinear: u = g + t net, or ten times (u − g)² at t = 0 in the loss (default: hard; soft for "
        "allen-cahn, whose g has kinks)",
    )
    highdim.add_argument("--steps", type=positive, default=10_000, metavar="N", help="(default: 10000)")
    highdim.add_argument("--batch", type=positive, default=100, metavar="N", help="points a step (default: 100)")
    highdim.add_argument("--rate", type=float, default=1e-3, help="of Adam, falling linearly to 0 (default: 1e-3)")
    highdim.add_argument(
        "--beta2",
        type=float,
        default=0.999,
        help="of Adam (default: 0.999, as published; 0.99 leaves the baseline thousands of steps earlier)",
    )
    highdim.add_argument("--test-points", type=positive, default=20_000, metavar="N", help="(default: 20000)")
    highdim.add_argument(
        "--seed", type=whole, default=0, metavar="N", help="of solution, test points, weights and steps (default: 0)"
    )
    highdim.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="(default: float32)")
    highdim.add_argument("--backend", choices=("jax", "torch"), help="(default: the first that is installed)")
    highdim.add_argument(
        "--output", type=Path, metavar="DIR", help="where to write (default: highdim-EQUATION-SOLUTION-D-METHOD)"
    )
    highdim.add_argument("--resume", action="store_true", help="go on from the checkpoint of an interrupted run")
    highdim.add_argument("--overwrite", action="store_true", help="start anew although DIR holds results")
    highdim.add_argument("--plot", action="store_true", help="draw the error over the steps")
    highdim.set_defaults(run=_highdim)


def _highdim(options: argparse.Namespace) -> int:
    # JAX would otherwise take three quarters of a GPU at once, and its peak would tell nothing.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    from rich.console import Console

    # Paths and reasons are a user's text: brackets in them are no markup.
    console = Console(markup=False, highlight=False)
    task, settings = _asked_for(options)
    folder = options.output or Path("-".join(["highdim", *map(str, _labels(task)), options.method]))
    if options.resume and options.overwrite:
        raise RefusedError("--resume and --overwrite exclude each other: give one")
    prepare_folder(folder, "--output", resume=options.resume, overwrite=options.overwrite)
    if options.resume and (folder / REPORT).exists() and not (folder / CHECKPOINT).exists():
        content = _finished(folder, task, settings)
    else:
        content = _run(task, settings, folder, options, console)
    _print_summary(content, console)
    console.print(f"see {folder}{os.sep}", soft_wrap=True)
    if content["diverged_at_step"] is None:
        return 0
    console.print(
        f"the loss was no finite number at step {content['diverged_at_step']}: errors and network are those of step "
        f"{content['steps']}. Try a smaller --rate, or --dtype float64",
        soft_wrap=True,
    )
    return 1


def _asked_for(options: argparse.Namespace) -> tuple[Any, Any]:
    """The task and the settings; RefusedError where the arguments do not go together."""
    from ntaylor.high_dimensional_tasks import Elliptic, Parabolic, Settings
    from ntaylor.problems.high_dimensional import HighDimensional
    from ntaylor.problems.semilinear import Semilinear

    settings = Settings(
        backend=options.backend or _first_installed(),
        method=options.method,
        samples=options.samples,
        unbiased=options.unbiased,
        steps=options.steps,
        batch=options.batch,
        rate=options.rate,
        beta2=options.beta2,
        seed=options.seed,
        dtype=options.dtype,
        test_points=options.test_points,
    )
    if options.semilinear:
        if options.equation == "poisson":
            raise RefusedError("--semilinear takes --equation heat, allen-cahn or sine-gordon; got poisson")
        if options.solution is not None:
            raise RefusedError("--solution is for equations in the ball: leave it out with --semilinear")
        problem = Semilinear(options.equation, options.dim)
        return Parabolic(problem, options.initial or ("hard" if problem.smooth else "soft")), settings
    if options.equation == "heat":
        raise RefusedError("--equation heat is an equation in time: add --semilinear")
    if options.initial is not None:
        raise RefusedError("--initial is for equations in time: add --semilinear, or leave it out")
    return Elliptic(
        HighDimensional(options.equation, options.solution or "two-body", options.dim, options.seed)
    ), settings


def _first_installed() -> str:
    import importlib.util

    from ntaylor.high_dimensional_training import LIBRARIES

    for name in LIBRARIES:
        if importlib.util.find_spec(name) is not None:
            return name
    raise RefusedError(
        "training needs JAX or PyTorch: pip install 'ntaylor[jax]' optax, or pip install 'ntaylor[torch]'"
    )


def _labels(task: Any) -> list[Any]:
    about = task.describe()
    return [about["equation"], about.get("solution", "semilinear"), about["dimension"]]


def _finished(folder: Path, task: Any, settings: Any) -> dict[str, Any]:
    """The report of a run that has ended already, if it is the one asked for."""
    import json
    from dataclasses import asdict

    try:
        content: dict[str, Any] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        same = (content["problem"], content["settings"]) == (task.describe(), asdict(settings))
        content["errors"], content["diverged_at_step"], content["steps"]
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(f"{folder / REPORT} is damaged ({error}): give --overwrite to start anew") from error
    if not same:
        raise RefusedError(f"{folder} holds a run with other arguments: give another --output, or --overwrite")
    return content


def _run(task: Any, settings: Any, folder: Path, options: argparse.Namespace, console: Any) -> dict[str, Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from ntaylor import high_dimensional_training as training
    from ntaylor.storage import write_json

    bar = Progress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}  error {task.fields[error]}"),
        TimeElapsedColumn(),
        console=console,
    )
    checkpoint = folder / CHECKPOINT
    try:
        with bar:
            shown = bar.add_task("steps", total=settings.steps, loss="–", error="–")

            def show(at: training.Progress) -> None:
                error = "–" if at.error is None else f"{at.error:.2e}"
                bar.update(shown, completed=at.step, loss=f"{at.loss:.2e}", error=error)

            result = training.train(task, settings, on_step=show, checkpoint=checkpoint, resume=options.resume)
        content = training.report(result)
        training.save_network(folder / _NETWORK, result)
        if options.plot:
            _draw(folder / _PICTURE, content, _labels(task), console)
        write_json(folder / REPORT, content)
        # Only now is nothing lost with it.
        checkpoint.unlink(missing_ok=True)
    except ImportError as error:
        raise RefusedError(str(error)) from error
    except KeyboardInterrupt:
        where = f"the position is in {checkpoint}: the same command with --resume goes on"
        console.print(f"interrupted; {where if checkpoint.exists() else 'nothing was begun'}", soft_wrap=True)
        raise
    return content


def _draw(path: Path, content: dict[str, Any], labels: list[Any], console: Any) -> None:
    from ntaylor.plots import error_picture

    points = [point for point in content["curve"] if point["error"] is not None]
    if not points:
        console.print("no picture: no error is known on the way")
        return
    errors = content["errors"]
    relative = "l2" in errors
    method = content["settings"]["method"]
    try:
        error_picture(
            path,
            {method: ([point["step"] for point in points], [point["error"] for point in points])},
            errors["baseline_l2" if relative else "baseline_relative"],
            f"{labels[0]}, {labels[1]}, D = {labels[2]}",
            "relative L2 error" if relative else "relative error at (0.3, 0)",
        )
    except ImportError as error:
        console.print(f"no picture: {error}")


def _print_summary(content: dict[str, Any], console: Any) -> None:
    """A line a figure: what was reached, what the baseline reaches, what was published, what it cost."""
    errors, published = content["errors"], content.get("published", {})

    def number(value: Any, shape: str = ".3e") -> str:
        return "–" if value is None else format(value, shape)

    if "l2" in errors:
        rows = [
            ("relative L2 error", number(errors["l2"])),
            ("of the baseline", number(errors["baseline_l2"])),
            ("published", f"{published['l2']:.3e} ({published['source']})" if published else "–"),
            ("relative L1 error", number(errors["l1"])),
            ("of the baseline", number(errors["baseline_l1"])),
        ]
    else:
        rows = [
            ("u(0.3, 0)", number(errors["value"], ".7g")),
            ("published", number(errors["published_value"], ".7g")),
            ("of the baseline", number(errors["baseline_value"], ".7g")),
            ("relative error", number(errors["relative"])),
            ("of the baseline", number(errors["baseline_relative"])),
        ]
    made = content["made_with"]
    rows += [
        ("steps", f"{content['steps']} of {content['settings']['steps']}"),
        ("steps a second", number(content["steps_per_second"], ".3g")),
        ("peak memory", f"{content['peak_bytes'] / 1e6:.0f} MB"),
        ("on", f"{made.get('device')} with {made.get('library')}"),
    ]
    for name, value in rows:
        console.print(f"{name:18} {value}", soft_wrap=True)
