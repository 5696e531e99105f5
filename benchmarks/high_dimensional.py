"""The high-dimensional problems by every method: errors beside the baselines, speed and memory.

Usage: python benchmarks/high_dimensional.py [--dims 100 1000] [--methods compressed sparse full-ad] [--seeds 3] ...

Every run is one ``ntaylor highdim`` in a process of its own, so that its peak memory is its own, in a folder under
``--work``; what is there already is not run again, and what was interrupted goes on. Results of other runs that are on
record stay, unless ``--afresh`` is given. Writes
``benchmarks/results/high_dimensional.json``, ``docs/high_dimensional.md`` and ``docs/high_dimensional.png``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from rich.progress import track

from ntaylor.plots import error_picture
from ntaylor.problems.high_dimensional import SOLUTIONS, HighDimensional, baseline
from ntaylor.problems.semilinear import SEMILINEAR, Semilinear
from ntaylor.storage import made_with, write_atomic, write_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "high_dimensional.json"
PICTURE = ROOT / "docs" / "high_dimensional.png"
BASELINE_DIMENSIONS = (10, 100, 1_000, 10_000, 100_000)
BASELINE_SEEDS = 5
PUBLISHED_STEPS = 10_000
PUBLISHED_BETA2 = 0.999
MEASURED = ("error", "baseline", "published", "steps/s", "MB")
KEPT = ("problem", "settings", "errors", "steps", "diverged_at_step", "steps_per_second", "peak_bytes", "curve")


def baselines() -> list[dict]:
    """Relative L2 of one fitted constant times (1 − ‖x‖²), by solution, dimension and seed."""
    rows = []
    jobs = list(itertools.product(SOLUTIONS, BASELINE_DIMENSIONS))
    for solution, dimension in track(jobs, description="baselines"):
        count = min(20_000, 20_000_000 // dimension)
        found = []
        for seed in range(BASELINE_SEEDS):
            problem = HighDimensional("poisson", solution, dimension, seed)
            c, exact, squares = problem.coefficients().astype(np.float32), [], []
            for x in problem.test_points(count, "float32", 2**22):
                exact.append(problem.exact(x, c).astype(np.float64))
                squares.append(np.sum(x * x, axis=-1, dtype=np.float64))
            found.append(baseline(np.concatenate(squares), np.concatenate(exact))[0])
        rows.append({"solution": solution, "dimension": dimension, "points": count, "l2": found})
    return rows


def run(arguments: list[str], folder: Path) -> dict | None:
    """The report of one run; None if it could not be started."""
    command = [sys.executable, "-m", "ntaylor", "highdim", *arguments, "--output", str(folder), "--resume"]
    done = subprocess.run(command, check=False, cwd=ROOT)
    if done.returncode not in (0, 1):
        print(f"left out, exit status {done.returncode}: {' '.join(command)}", file=sys.stderr)
        return None
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    kept = {key: report[key] for key in KEPT}
    return {**kept, "published": report.get("published"), "made_with": report["made_with"]}


def jobs(options: argparse.Namespace) -> list[list[str]]:
    """The arguments of every run; those of nested differentiation only up to the dimension that it can do."""
    problems = [
        ["--equation", equation, "--solution", solution, "--dim", str(d)]
        for equation, solution, d in itertools.product(options.equations, options.solutions, options.dims)
    ] + [
        ["--equation", equation, "--semilinear", "--dim", str(d)]
        for equation, d in itertools.product(options.semilinear, options.dims)
    ]
    common = ["--steps", str(options.steps), "--test-points", str(options.test_points)]
    common += ["--backend", options.backend] if options.backend else []
    common += ["--beta2", str(options.beta2)] if options.beta2 != PUBLISHED_BETA2 else []
    return [
        [*problem, "--method", method, "--seed", str(seed), *common]
        for problem, method, seed in itertools.product(problems, options.methods, range(options.seeds))
        if method != "full-ad" or int(problem[-1]) <= options.full_ad_limit
    ]


def spread(values: list[float]) -> str:
    """The median, and if there are several what they lie between."""
    low, middle, high = min(values), float(np.median(values)), max(values)
    return f"{middle:.2g}" if len(values) == 1 else f"{middle:.2g} ({low:.2g} to {high:.2g})"


def grouped(runs: list[dict]) -> dict[tuple, list[dict]]:
    """Runs that differ by their seed only."""
    groups: dict[tuple, list[dict]] = {}
    for r in runs:
        p, s, m = r["problem"], r["settings"], r["made_with"]
        kind = p.get("solution", "semilinear")
        schedule = s["steps"], s.get("beta2", PUBLISHED_BETA2)
        key = (kind == "semilinear", p["equation"], kind, p["dimension"], s["method"], *schedule, m["library"])
        groups.setdefault((*key, m["device"]), []).append(r)
    return dict(sorted(groups.items()))


def page(content: dict) -> str:
    made = ", ".join(f"{k} {v}" for k, v in content["made_with"].items())
    lines = [
        "# Equations in many dimensions",
        "",
        "Made by `python benchmarks/high_dimensional.py`; every run is one `ntaylor highdim`, whose `--help` says what",
        "is solved. The error is that after the last step, the median over the seeds. The published is the least on",
        "the way (arXiv 2412.00088, sparse estimate with 16 samples). Steps a second and MB are of the machine named.",
        "",
        "## What there is to learn",
        "",
        f"Relative L2 error of one fitted constant times (1 − ‖x‖²), median and range of {BASELINE_SEEDS} seeds. The",
        "published solutions, two-body and three-body, come so close to it in high dimension that an error says",
        "something only far below it; the others are nowhere near it.",
        "",
        "| solution | " + " | ".join(f"D = {d:,}" for d in BASELINE_DIMENSIONS) + " |",
        "|---|" + "---:|" * len(BASELINE_DIMENSIONS),
    ]
    for solution in SOLUTIONS:
        cells = [spread(row["l2"]) for row in content["baselines"] if row["solution"] == solution]
        lines.append(f"| {solution} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "The semilinear equations are wanted at one point only. There one number with nothing learnt, E g(X) carried",
        "on by v′ = f(v), has the relative error",
        "",
        "| equation | D = 10 | D = 100 | D = 1,000 | D = 10,000 |",
        "|---|---:|---:|---:|---:|",
    ]
    for equation, about in SEMILINEAR.items():
        errors = [abs(Semilinear(equation, d).baseline() / value - 1) for d, value in about.published.items()]
        lines.append(f"| {equation} | " + " | ".join(f"{e:.2g}" for e in errors) + " |")
    lines += ["", "## Runs", ""]
    if any(r["settings"]["steps"] < PUBLISHED_STEPS for r in content["runs"]):
        lines += [f"Runs of fewer than {PUBLISHED_STEPS:,} steps are shorter than the published ones.", ""]
    if content["runs"]:
        lines += [
            "β₂ is Adam's; 0.999 is the published one. Where the baseline is already close, the first gradients are so",
            "much larger than all later ones that with it the error stays at the baseline until they are forgotten.",
            "",
            f"| equation | solution | D | method | steps | β₂ | seeds | {' | '.join(MEASURED)} | on |",
            "|---|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
        ]
    for key, rows in grouped(content["runs"]).items():
        semilinear, equation, kind, dimension, method, steps, beta2, library, device = key
        names = ("relative", "baseline_relative") if semilinear else ("l2", "baseline_l2")
        errors, of_baseline = ([r["errors"][n] for r in rows if r["errors"][n] is not None] for n in names)
        published = rows[0]["published"]
        speeds = [r["steps_per_second"] for r in rows if r["steps_per_second"] is not None]
        diverged = sum(r["diverged_at_step"] is not None for r in rows)
        lines.append(
            f"| {equation} | {kind} | {dimension:,} | {method} | {steps:,} | {beta2:g} "
            f"| {len(rows)}{f', {diverged} diverged' if diverged else ''} | {spread(errors) if errors else '–'} "
            f"| {spread(of_baseline) if of_baseline else '–'} | {format(published['l2'], '.1e') if published else '–'} "
            f"| {np.median(speeds):.3g} | {max(r['peak_bytes'] for r in rows) / 1e6:.0f} | {device}, {library} |"
        )
    if content["picture"]:
        lines += ["", f"![error over steps](high_dimensional.png) {content['picture']}"]
    return "\n".join([*lines, "", f"Made with: {made}.", ""])


def draw(runs: list[dict]) -> str:
    """The curves on the problem with most runs, of two the larger, seed 0; its name, or nothing.

    A run of a few steps, made for its speed, is none.
    """
    curves: dict[str, list[dict]] = {}
    longest = max((r["steps"] for r in runs), default=0)
    for r in runs:
        p = r["problem"]
        if r["settings"]["seed"] == 0 and "solution" in p and r["steps"] * 10 >= longest:
            name = f"{p['equation']}, {p['solution']}, D = {p['dimension']:,}"
            curves.setdefault(name, []).append(r)
    if not curves:
        return ""
    title = max(curves, key=lambda name: (len(curves[name]), curves[name][0]["problem"]["dimension"]))
    lines = {}
    for r in curves[title]:
        about = r["settings"]
        label = f"{about['method']}, β₂ = {about.get('beta2', PUBLISHED_BETA2):g}, {r['steps']:,} steps"
        lines[label] = ([q["step"] for q in r["curve"]], [q["error"] for q in r["curve"]])
    error_picture(PICTURE, lines, curves[title][0]["errors"]["baseline_l2"], title, "relative L2 error")
    return f"{title}, seed 0."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dims", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--equations", nargs="*", default=["allen-cahn", "sine-gordon"])
    parser.add_argument("--solutions", nargs="*", default=["two-body", "two-body-centred", "waves"])
    parser.add_argument("--semilinear", nargs="*", default=[])
    parser.add_argument("--methods", nargs="+", default=["compressed", "sparse", "full-ad"])
    parser.add_argument("--full-ad-limit", type=int, default=100, help="highest dimension of full-ad")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--beta2", type=float, default=PUBLISHED_BETA2)
    parser.add_argument("--test-points", type=int, default=20_000)
    parser.add_argument("--backend")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "high_dimensional", help="where the runs lie")
    parser.add_argument("--afresh", action="store_true", help="keep no results of earlier calls")
    parser.add_argument("--keep-baselines", action="store_true", help="do not measure the baselines again")
    options = parser.parse_args()
    old = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    of_baselines = old["baselines"] if options.keep_baselines and old else baselines()
    known = {} if options.afresh or not old else {r["name"]: r for r in old["runs"]}
    content = {"made_with": made_with(), "baselines": of_baselines, "runs": list(known.values()), "picture": ""}
    for arguments in jobs(options):
        name = "-".join(word.removeprefix("--") for word in arguments)
        found = run(arguments, options.work / name)
        if found is not None:
            known[name] = {"name": name, **found}
            content["runs"] = [known[key] for key in sorted(known)]
            write_json(RESULTS, content)  # all that is known so far, should this be interrupted
    content["picture"] = draw(content["runs"])
    write_json(RESULTS, content)
    write_atomic(ROOT / "docs" / "high_dimensional.md", page(content).encode())
    print(page(content))


if __name__ == "__main__":
    main()
