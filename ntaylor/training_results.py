"""What a training run ends with: the network, the unknowns, how it went.

Floor 13.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ntaylor.plots import training_picture
from ntaylor.storage import made_with, save_arrays

__all__ = ["Point", "TrainingResult"]

_FORMAT = 1


@dataclass(frozen=True)
class Point:
    """Where a run was after a step."""

    step: int
    """Of all stages together."""
    stage: int
    loss: float
    """Of least squares after the step, of other methods before it, as they know it."""
    terms: dict[str, float]
    """Mean squares, unweighted."""
    error: float | None
    """Relative L2 against the problem's solution, where there is one."""
    unknowns: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """What :func:`ntaylor.train` gives back."""

    network: Any
    """Of the kind that came: an ``nt.MLP`` or Equinox module is a new one, a torch module is that very one."""
    function: Any
    """What solves the problem: the network, or what the problem's ``hard`` makes of it."""
    unknowns: dict[str, float]
    history: list[Point]
    error: float | None
    """Relative L2 of this network on points it was not trained on."""
    errors: dict[str, float]
    """All that the problem measures: ``relative_l2``, ``max_error``."""
    steps: int
    reason: str
    """Why it ended: "steps", "converged", what of ``stop`` was met, or what was no number, and at which step."""
    diverged: bool
    """Whether a term became no finite number; the network is then the last that was good."""
    seconds: float
    settings: dict[str, Any]
    parameters: Mapping[str, Any] = field(repr=False)

    @property
    def loss(self) -> float:
        """The last that was good."""
        return next((p.loss for p in reversed(self.history) if math.isfinite(p.loss)), math.nan)

    def __repr__(self) -> str:
        error = "" if self.error is None else f", error={self.error:.3g}"
        unknowns = "".join(f", {name}={value:.6g}" for name, value in self.unknowns.items())
        return (
            f"TrainingResult(loss={self.loss:.3g}{error}{unknowns}, steps={self.steps}, seconds={self.seconds:.1f}, "
            f"reason={self.reason!r})"
        )

    def to_dict(self) -> dict[str, Any]:
        """All but the network, ready for JSON: what is no finite number is None."""
        return {
            "loss": _finite(self.loss),
            "error": _finite(self.error),
            "errors": {name: _finite(e) for name, e in self.errors.items()},
            "unknowns": {name: _finite(v) for name, v in self.unknowns.items()},
            "steps": self.steps,
            "reason": self.reason,
            "diverged": self.diverged,
            "seconds": self.seconds,
            "settings": self.settings,
            "history": [point_as_dict(p) for p in self.history],
            "made_with": made_with(),
        }

    def save(self, path: str | Path) -> None:
        """Parameters and unknowns as safetensors, with :meth:`to_dict` as metadata; whole or not at all."""
        save_arrays(Path(path), dict(self.parameters), {"format": _FORMAT, **self.to_dict()})

    def plot(self, path: str | Path | None = None) -> Any:
        """Loss, terms, error and unknowns over the steps: a matplotlib figure, written to ``path`` if given."""
        points = self.history
        steps = [p.step for p in points]
        names = list(points[-1].terms) if points else []
        curves = {"loss": [p.loss for p in points], **{name: [p.terms[name] for p in points] for name in names}}
        errors = [(p.step, p.error) for p in points if p.error is not None]
        unknowns = {name: [p.unknowns[name] for p in points] for name in self.unknowns}
        return training_picture(None if path is None else Path(path), steps, curves, errors, unknowns)


def point_as_dict(p: Point) -> dict[str, Any]:
    """A point, ready for JSON."""
    return {
        "step": p.step,
        "stage": p.stage,
        "loss": _finite(p.loss),
        "terms": {name: _finite(v) for name, v in p.terms.items()},
        "error": _finite(p.error),
        "unknowns": {name: _finite(v) for name, v in p.unknowns.items()},
        "seconds": p.seconds,
    }


def point_of_dict(content: Mapping[str, Any]) -> Point:
    """What :func:`point_as_dict` gave."""

    def number(value: float | None) -> float:
        return math.nan if value is None else value

    return Point(
        content["step"],
        content["stage"],
        number(content["loss"]),
        {name: number(v) for name, v in content["terms"].items()},
        content["error"],
        {name: number(v) for name, v in content["unknowns"].items()},
        content["seconds"],
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
