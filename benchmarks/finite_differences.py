"""What finite differences reach beside the exact engine: errors at the chosen step, and against the step.

Usage: python benchmarks/finite_differences.py

Takes seconds. Writes ``benchmarks/results/finite_differences.json``, the tables in ``docs/finite_differences.md``
between their markers, and ``docs/finite_differences.png``. Exact values are mpmath's at 50 digits.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import mpmath
import numpy as np

import ntaylor as nt
from ntaylor import finite_differences as fd
from ntaylor.storage import made_with, write_atomic, write_json

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "finite_differences.md"
RESULTS = ROOT / "benchmarks" / "results" / "finite_differences.json"

ORDERS = range(1, 9)
ACCURACIES = (2, 4, 6)
X = np.linspace(-2, 2, 201)
DRAWN = ((1, 2), (2, 2), (4, 2), (4, 6))
FUNCTIONS = {"sin": (np.sin, mpmath.sin), "tanh": (np.tanh, mpmath.tanh)}


def exact_derivatives(name: str, points: np.ndarray) -> np.ndarray:
    """(orders, points): derivatives 0..8 from mpmath's Taylor series at 50 digits, rounded once."""
    rows = []
    with mpmath.workdps(50):
        for x in points:
            taylor = mpmath.taylor(FUNCTIONS[name][1], mpmath.mpf(float(x)), max(ORDERS))
            rows.append([float(c * mpmath.factorial(k)) for k, c in enumerate(taylor)])
    return np.asarray(rows).T


def differences(name: str, order: int, points: np.ndarray, **how: object) -> np.ndarray:
    return nt.partial(lambda x: FUNCTIONS[name][0](x[:, 0]), points[:, None], (order,), method="fd", **how)


def relative(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.max(np.abs(found - exact)) / np.max(np.abs(exact)))


def one_variable(name: str, dtype: str) -> list[dict]:
    points = X.astype(dtype)
    exact = exact_derivatives(name, points)
    jets = nt.derivatives(FUNCTIONS[name][0], points, max(ORDERS))
    rows = []
    for order in ORDERS:
        row = {"function": name, "dtype": dtype, "order": order, "exact_engine": relative(jets[order], exact[order])}
        for p in ACCURACIES:
            step = fd.step_for(order, p, dtype)
            error = relative(differences(name, order, points, accuracy=p), exact[order])
            best, at = min(
                (relative(differences(name, order, points, accuracy=p, step=2.0**e), exact[order]), 2.0**e)
                for e in range(-20 if order < 3 else -12, 2)
            )
            row[str(p)] = {"best": best, "best_step": at} | {
                "step": step,
                "error": error,
                "model": fd.error_model(order, p, step, dtype).total,
            }
        rows.append(row)
    return rows


def two_variables() -> list[dict]:
    """Δ and Δ² of sin x_0 cos x_1, whose derivatives of all orders are at most 1."""
    axis = np.linspace(-2, 2, 21)
    x = np.stack([np.repeat(axis, 21), np.tile(axis, 21)], axis=-1)

    def f(x: np.ndarray) -> np.ndarray:
        return np.sin(x[:, 0]) * np.cos(x[:, 1])

    rows = []
    for power in (1, 2):
        L, exact = nt.operators.polyharmonic(power), (-2.0) ** power * f(x)
        row = {"operator": "Δ" if power == 1 else "Δ²", "exact_engine": relative(L(f, x), exact)}
        for p in ACCURACIES:
            stencil = L.stencil(2, accuracy=p)
            step = float(min(abs(h) for point in stencil.points for h in point if h))
            model = stencil.error_model().total / 2**power
            error = relative(L(f, x, method="fd", accuracy=p), exact)
            row[str(p)] = {"points": len(stencil.points), "step": step, "error": error, "model": model}
        rows.append(row)
    return rows


def against_the_step() -> list[dict]:
    """Errors of derivatives of sin for steps of all sizes, powers of two and others."""
    exact = exact_derivatives("sin", X)
    rows = []
    for order, p in DRAWN:
        for exponent in np.arange(-20, 1.01, 0.25):
            h = float(2.0**exponent)
            error = float(np.max(np.abs(differences("sin", order, X, accuracy=p, step=h) - exact[order])))
            rows.append({"order": order, "accuracy": p, "step": h, "error": error})
    return rows


def power(step: float) -> str:
    return f"2^{round(np.log2(step))}"


HEADS = {
    ("sin", "float64"): "sin, float64: step chosen, error measured (the model)",
    ("sin", "float32"): "sin, float32: step chosen, error measured (the model)",
    ("tanh", "float64"): "tanh, float64: step chosen, error measured (the best power of two, its error)",
}


def tables(content: dict) -> str:
    lines = []
    for (name, dtype), head in HEADS.items():
        lines += [
            f"**{head}**",
            "",
            "| order | accuracy 2 | accuracy 4 | accuracy 6 | exact engine |",
            "|---:|---|---|---|---:|",
        ]
        for row in content["one"]:
            if (row["function"], row["dtype"]) != (name, dtype):
                continue
            texts = []
            for cell in (row[str(p)] for p in ACCURACIES):
                beside = f"{power(cell['best_step'])}, {cell['best']:.0e}" if name == "tanh" else f"{cell['model']:.0e}"
                texts.append(f"{power(cell['step'])}, {cell['error']:.0e} ({beside})")
            lines.append(f"| {row['order']} | {' | '.join(texts)} | {row['exact_engine']:.0e} |")
        lines.append("")
    lines += [
        "**sin x_0 cos x_1, float64: points, step chosen, error measured (the model)**",
        "",
        "| L | accuracy 2 | accuracy 4 | accuracy 6 | exact engine |",
        "|---|---|---|---|---:|",
    ]
    for row in content["two"]:
        cells = [row[str(p)] for p in ACCURACIES]
        texts = [f"{c['points']}, {power(c['step'])}, {c['error']:.0e} ({c['model']:.0e})" for c in cells]
        exact = "0" if row["exact_engine"] == 0 else f"{row['exact_engine']:.0e}"
        lines.append(f"| {row['operator']} | {' | '.join(texts)} | {exact} |")
    made = ", ".join(f"{k} {v}" for k, v in content["made_with"].items())
    return "\n".join([*lines, "", f"Made by `python benchmarks/finite_differences.py` with: {made}."])


def page(content: dict, text: str) -> str:
    """``text`` with the tables put between their markers."""
    return re.sub(
        r"(<!-- tables -->\n).*?(<!-- end of tables -->)",
        lambda found: f"{found[1]}{tables(content)}\n{found[2]}",
        text,
        flags=re.DOTALL,
    )


def picture(rows: list[dict]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.2), layout="constrained", dpi=130)
    axes = figure.subplots(1, 2, sharey=True)
    colours = ("#1f5fa8", "#e07b00", "#2a8c4a", "#9b3fb5")
    for (order, p), colour in zip(DRAWN, colours, strict=True):
        panel = axes[0] if p == 2 and order != 4 else axes[1]
        own = [row for row in rows if (row["order"], row["accuracy"]) == (order, p)]
        steps = np.asarray([row["step"] for row in own])
        models = [fd.error_model(order, p, h) for h in steps]
        label = f"order {order}, accuracy {p}"
        panel.loglog(steps, [row["error"] for row in own], ".", color=colour, markersize=4, label=f"{label}: measured")
        panel.loglog(steps, [m.truncation for m in models], "--", color=colour, linewidth=0.9)
        panel.loglog(steps, [m.rounding for m in models], ":", color=colour, linewidth=1.2)
        chosen = fd.step_for(order, p)
        at = fd.error_model(order, p, chosen).total
        panel.loglog([chosen], [at], "o", color=colour, fillstyle="none", markersize=9)
    for panel in axes:
        panel.set(xlabel="step h", ylim=(1e-14, 1e3))
        panel.legend(frameon=False, loc="upper right")
        panel.grid(alpha=0.25)
    axes[0].set_ylabel("max error of a derivative of sin on [−2, 2]")
    figure.suptitle("dashed: truncation |C| hᵖ;  dotted: rounding ε Σ|w| / hⁿ;  circle: the step that is chosen")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def main() -> None:
    one = [row for name, dtype in HEADS for row in one_variable(name, dtype)]
    content = {"made_with": made_with(), "one": one, "two": two_variables(), "curves": against_the_step()}
    write_json(RESULTS, content)
    write_atomic(PAGE, page(json.loads(RESULTS.read_text(encoding="utf-8")), PAGE.read_text(encoding="utf-8")).encode())
    write_atomic(ROOT / "docs" / "finite_differences.png", picture(content["curves"]))
    print(tables(content))


if __name__ == "__main__":
    main()
