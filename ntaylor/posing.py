"""What a problem is: an equation, the box it holds on, conditions, and what is known of the solution.

Floor 14. Here it is said and checked which points there are and which residuals belong to them; how the residuals are
brought to zero is ``training``'s. Points are made with SciPy's ``qmc`` and are NumPy's; a library comes in with the
network that is differentiated at them.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ntaylor.equation_signatures import parameters_of
from ntaylor.fields import residual
from ntaylor.namespace import describe, is_number, near_names
from ntaylor.sampling import unit_points

__all__ = ["Condition", "Problem"]

Array = Any
EQUATION = "equation"


@dataclass(frozen=True)
class Condition:
    """What holds beside the equation: on a face of the domain, or at given points.

    Parameters
    ----------
    residual: an equation like a problem's, with the same fields and inputs; what is to vanish, one or a tuple.
    where: the inputs that are held, such as ``{"t": 0.0}``; a tuple of values, ``{"x": (-1.0, 1.0)}``, is a face each.
    weight: of its mean square in a loss.
    points: given points (n, d), instead of ``where``; or a function of unit points (n, d) in [0, 1]^d that gives them.
    values: what was measured there (n,) or (n, m): handed to the residual as its keyword-only argument ``values``.
    name: what it is called in tables; made of ``where`` unless given.
    """

    residual: Callable[..., Any]
    where: Mapping[str, float | Sequence[float]] | None = None
    weight: float = 1.0
    points: Any = None
    values: Any = None
    name: str = ""

    def __post_init__(self) -> None:
        if not callable(self.residual):
            raise TypeError(
                f"a Condition takes a function of fields and inputs, such as lambda u, x, t: u - np.sin(x); got "
                f"{describe(self.residual)}"
            )
        if (self.where is None) == (self.points is None):
            raise ValueError(
                "a Condition takes where={...}, a face of the domain, or points=..., one of the two; got "
                + ("both" if self.points is not None else "neither")
            )
        if self.where is not None:
            _check_where(self.where)
        if not isinstance(self.name, str) or _TAKEN.search(self.name):
            raise ValueError(
                f"a name is words, not beginning with 'weight ' nor ending with ' values' or [0]; got {self.name!r}"
            )
        if self.values is not None and (self.points is None or callable(self.points)):
            raise ValueError("values= belong to given points: pass points=array of shape (n, d) beside them")
        if not (is_number(self.weight) and 0 <= self.weight < math.inf):
            raise ValueError(f"weight is a finite number >= 0, got {self.weight!r}")

    @property
    def label(self) -> str:
        """``name``, or ``t=0``, ``x=-1,1``, ``data``, ``points``."""
        if self.name:
            return self.name
        if self.where is None:
            return "points" if self.values is None else "data"
        return " ".join(f"{k}={','.join(f'{v:g}' for v in _held(held))}" for k, held in self.where.items())


_TAKEN = re.compile(r"^weight | values$|\[\d+\]$")
"""Names that a trainer's data have for weights and values, and a system for its residuals."""


def _held(value: float | Sequence[float]) -> tuple[float, ...]:
    return tuple(float(v) for v in np.atleast_1d(np.asarray(value)))


def _check_where(where: Any) -> None:
    given = list(where.values()) if isinstance(where, Mapping) else []
    if not given or any(np.asarray(v).dtype.kind not in "iuf" or not np.size(v) for v in given):
        raise ValueError(
            "where= takes numbers, or tuples of them, by input, such as {'x': (-1.0, 1.0)}; got " + repr(where)
        )


@dataclass(frozen=True)
class _Signature:
    """The names of an equation's arguments: fields, inputs, and what is keyword-only."""

    fields: tuple[str, ...]
    inputs: tuple[str, ...]
    known: tuple[str, ...]
    """Keyword-only, with or without a default."""
    needed: tuple[str, ...]
    """Keyword-only without a default."""


def _read(f: Callable[..., Any], dimension: int, what: str) -> _Signature:
    try:
        positional, optional, needed, any_name = parameters_of(f)
    except TypeError as error:
        raise TypeError(f"{what}: {error}") from None
    if any_name:
        raise TypeError(f"{what} takes **keywords: name its fields, its inputs and its coefficients one by one")
    if len(positional) <= dimension:
        raise ValueError(
            f"{what} takes ({', '.join(positional)}); with {dimension} inputs it needs at least one field before them, "
            "such as u"
        )
    cut = len(positional) - dimension
    known = tuple(sorted(optional | needed))
    return _Signature(positional[:cut], positional[cut:], known, tuple(sorted(needed)))


@dataclass(frozen=True)
class Problem:
    """An equation on a box, with conditions, unknown parameters, and a solution to compare with where one is known.

    Parameters
    ----------
    equation: as :func:`ntaylor.residual` takes it: fields, then inputs, then keyword-only coefficients and unknowns.
    domain: (low, high) by input, in the order of the points' columns and of the equation's last arguments.
    conditions: the :class:`Condition` s.
    unknowns: start values of the parameters that are trained beside the network, by keyword of the equation.
    hard: network -> function that meets conditions by construction, such as an ``operators.HardConstraint``.
    solution: points (batch, d) -> exact or reference values (batch,) or (batch, m), NumPy float64.
    sample: unit points (n, d) in [0, 1]^d -> points of the domain, where that is not the box.

    Raises TypeError or ValueError for parts that do not fit together.
    """

    equation: Callable[..., Any]
    domain: Mapping[str, tuple[float, float]]
    conditions: Sequence[Condition] = ()
    unknowns: Mapping[str, float] = field(default_factory=dict)
    hard: Callable[[Any], Callable[[Any], Any]] | None = None
    solution: Callable[[Array], Array] | None = None
    sample: Callable[[Array], Array] | None = None

    def __post_init__(self) -> None:
        if not callable(self.equation):
            raise TypeError(f"equation must be a function such as def heat(u, x, t); got {describe(self.equation)}")
        if not isinstance(self.domain, Mapping) or not self.domain:
            raise TypeError(f"domain takes bounds by input, such as {{'x': (-1.0, 1.0)}}; got {describe(self.domain)}")
        for name, bounds in self.domain.items():
            if not (np.shape(bounds) == (2,) and -math.inf < bounds[0] < bounds[1] < math.inf):
                raise ValueError(f"domain[{name!r}] must be (low, high), finite, low < high; got {bounds!r}")
        for name in ("hard", "solution", "sample"):
            if not (getattr(self, name) is None or callable(getattr(self, name))):
                raise TypeError(f"{name} must be a function, got {describe(getattr(self, name))}")
        if not isinstance(self.unknowns, Mapping):
            raise TypeError(f"unknowns takes start values by name, such as {{'nu': 0.1}}; got {self.unknowns!r}")
        for name, value in self.unknowns.items():
            if np.shape(value) or np.asarray(value).dtype.kind not in "iuf" or not math.isfinite(value):
                raise ValueError(f"unknowns[{name!r}] starts at a finite number, got {value!r}")
        own = self._checked(self.equation, "the equation")
        for name in own.needed:
            if name not in self.unknowns:
                raise ValueError(
                    f"the equation's {name} has no value: give it a default, or a start in unknowns={{{name!r}: …}}"
                )
        if isinstance(self.conditions, Condition):
            raise TypeError("conditions is a list: put the one Condition into brackets")
        object.__setattr__(self, "conditions", tuple(self.conditions))
        for condition in self.conditions:
            self._check_condition(condition, own)
        known = [*own.known, *(n for c in self.conditions for n in self._read(c.residual, "a condition").known)]
        for name in self.unknowns:
            if name not in known:
                raise ValueError(f"unknowns: no equation takes {name!r}; keyword-only: {', '.join(known) or 'none'}")

    # --- names --------------------------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the points' columns."""
        return tuple(self.domain)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the network's outputs."""
        return self._read(self.equation, "the equation").fields

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """A name for every condition, no two alike."""
        taken: list[str] = []
        for condition in self.conditions:
            label, count = condition.label, 2
            while label in taken or label == EQUATION:
                label, count = f"{condition.label} #{count}", count + 1
            taken.append(label)
        return tuple(taken)

    def weight(self, term: str) -> float:
        """The weight of a term of :meth:`terms`: its condition's, 1 for the equation."""
        for label, condition in zip(self.labels, self.conditions, strict=True):
            if term == label or (term.startswith(f"{label}[") and term.endswith("]")):
                return condition.weight
        return 1.0

    @functools.cached_property
    def _known(self) -> dict[str, tuple[str, ...]]:
        """The coefficients that the equation and each condition take, by the name of its term."""
        terms = {EQUATION: self.equation} | {
            label: condition.residual for label, condition in zip(self.labels, self.conditions, strict=True)
        }
        return {name: self._read(f, name).known for name, f in terms.items()}

    def _read(self, f: Callable[..., Any], what: str) -> _Signature:
        return _read(f, len(self.domain), what)

    def _checked(self, f: Callable[..., Any], what: str) -> _Signature:
        signature = self._read(f, what)
        if signature.inputs != self.inputs:
            raise ValueError(
                f"{what} ends with the inputs ({', '.join(signature.inputs)}), the domain has "
                f"({', '.join(self.inputs)}): they must be the same, in the same order"
            )
        return signature

    def _check_condition(self, condition: Condition, own: _Signature) -> None:
        if not isinstance(condition, Condition):
            raise TypeError(f"conditions are nt.Condition(residual, where=…); got {describe(condition)}")
        what = f"the condition {condition.label!r}"
        signature = self._checked(condition.residual, what)
        if signature.fields != own.fields:
            raise ValueError(
                f"{what} takes the fields ({', '.join(signature.fields)}), the equation ({', '.join(own.fields)}): "
                "name the same in both"
            )
        for name in signature.needed:
            if name not in self.unknowns and not (name == "values" and condition.values is not None):
                raise ValueError(f"{what} takes {name!r}, which is no unknown of the problem: give it a default")
        if condition.values is not None and "values" not in signature.known:
            raise ValueError(f"{what} has values=, but its residual takes none: end its arguments with *, values")
        for name, held in (condition.where or {}).items():
            if name not in self.domain:
                raise ValueError(f"{what}: no input is called {name!r}; {near_names(name, self.inputs)}")
            low, high = self.domain[name]
            for value in _held(held):
                if not low <= value <= high:
                    raise ValueError(f"{what}: {name} = {value:g} lies outside the domain [{low:g}, {high:g}]")
        if condition.points is not None and not callable(condition.points):
            points = np.asarray(condition.points)
            if points.ndim != 2 or points.shape[1] != len(self.domain) or not len(points):
                raise ValueError(
                    f"{what}: points must be (n, {len(self.domain)}), columns {', '.join(self.inputs)}; got "
                    f"shape {points.shape}"
                )
            if condition.values is not None and np.shape(condition.values)[:1] != (len(points),):
                raise ValueError(
                    f"{what}: values must be one a point, ({len(points)},) or ({len(points)}, m); got shape "
                    f"{np.shape(condition.values)}"
                )

    # --- points -------------------------------------------------------------------------------------

    def points(self, count: int, seed: int = 0, kind: str = "sobol") -> Array:
        """``count`` points (count, d) inside the domain, NumPy; with ``kind="grid"`` at least as many, with the ends.

        Raises ValueError for another kind than "sobol", "latin", "uniform" or "grid".
        """
        return self._placed(unit_points(count, len(self.domain), seed, kind))

    def _placed(self, unit: Array) -> Array:
        if self.sample is not None:
            points = np.asarray(self.sample(unit), dtype=np.float64)
            if points.shape[1:] != unit.shape[1:] or points.ndim != 2:
                raise ValueError(f"sample must give points (n, {unit.shape[1]}), got shape {points.shape}")
            return points
        low, high = (np.asarray(bound, dtype=np.float64) for bound in zip(*self.domain.values(), strict=True))
        return low + (high - low) * unit

    def condition_points(self, condition: Condition, count: int, seed: int = 0, kind: str = "sobol") -> Array:
        """About ``count`` points of a condition, shared out among its faces; given points are what they are."""
        if condition.where is None:
            if not callable(condition.points):
                return np.asarray(condition.points, dtype=np.float64)
            return np.asarray(condition.points(unit_points(count, len(self.domain), seed, kind)), dtype=np.float64)
        faces = _faces(condition.where)
        free = [i for i, name in enumerate(self.inputs) if name not in condition.where]
        share = -(-count // len(faces)) if free or self.sample else 1
        parts = []
        for number, face in enumerate(faces):
            unit = np.zeros((1, len(self.domain)))
            if self.sample is not None:
                # Where the domain is no box its own map says which of the other inputs belong together.
                unit = unit_points(share, len(self.domain), seed + number, kind)
            elif free:
                some = unit_points(share, len(free), seed + number, kind)
                unit = np.zeros((len(some), len(self.domain)))
                unit[:, free] = some
            points = self._placed(unit)
            for name, value in face.items():
                points[:, self.inputs.index(name)] = value
            parts.append(points)
        return np.concatenate(parts)

    def arrays(
        self, count: int, seed: int = 0, kind: str = "sobol", condition_count: int | None = None
    ) -> dict[str, Array]:
        """All points by what they belong to, ``"equation"`` and :attr:`labels`; measured values as ``"… values"``.

        A condition has ``condition_count`` points, or one for ten of the interior, but at least 20. NumPy; a trainer
        turns them into its library's before it hands them to :meth:`terms`.
        """
        some = max(20, count // 10) if condition_count is None else condition_count
        arrays = {EQUATION: self.points(count, seed, kind)}
        for number, (label, condition) in enumerate(zip(self.labels, self.conditions, strict=True), 1):
            arrays[label] = self.condition_points(condition, some, seed + 1000 * number, kind)
            if condition.values is not None:
                arrays[f"{label} values"] = np.asarray(condition.values, dtype=np.float64)
        return arrays

    # --- residuals ----------------------------------------------------------------------------------

    def function(self, network: Any) -> Any:
        """What solves the problem: the network, or what ``hard`` makes of it."""
        return network if self.hard is None else self.hard(network)

    def terms(
        self, network: Any, arrays: Mapping[str, Array], unknowns: Mapping[str, Any] | None = None, sobolev: int = 0
    ) -> dict[str, Any]:
        """Residuals by name, unweighted, (batch,) each: ``"equation"`` and every condition of :meth:`arrays`.

        ``network`` is the network itself: ``hard`` is applied here. ``unknowns`` are numbers or arrays of the library,
        the start values unless given. A system's residuals are ``"equation[0]"``, ``"equation[1]"``, …; with
        ``sobolev`` the equation's are ``fields.Sobolev``. A name that ``arrays`` lacks is left out.
        """
        given = dict(self.unknowns) if unknowns is None else dict(unknowns)
        solves = self.function(network)
        found: dict[str, Any] = {}

        def add(name: str, f: Callable[..., Any], extra: Mapping[str, Any], order: int) -> None:
            keywords = {k: v for k, v in {**given, **extra}.items() if k in self._known[name]}
            result = residual(f, solves, arrays[name], sobolev=order, **keywords)
            if isinstance(result, tuple):
                found.update({f"{name}[{i}]": part for i, part in enumerate(result)})
            else:
                found[name] = result

        if EQUATION in arrays:
            add(EQUATION, self.equation, {}, sobolev)
        for label, condition in zip(self.labels, self.conditions, strict=True):
            if label in arrays:
                values = {} if condition.values is None else {"values": arrays[f"{label} values"]}
                add(label, condition.residual, values, 0)
        return found

    def errors(self, values: Array, points: Array) -> dict[str, float]:
        """``relative_l2`` and ``max_error`` of values (batch,) or (batch, m) at points, NumPy; ValueError without a
        solution. Of several fields both are taken together.
        """
        if self.solution is None:
            raise ValueError("this problem has no solution to compare with: pass solution=… to nt.Problem")
        exact = np.asarray(self.solution(np.asarray(points, dtype=np.float64)), dtype=np.float64)
        found, count = np.asarray(values, dtype=np.float64), len(points)
        if exact.shape[:1] != (count,) or exact.ndim > 2 or found.shape[:1] != (count,) or found.size != exact.size:
            raise ValueError(
                f"the solution gives shape {exact.shape} at {count} points where the network has {found.shape}: it "
                f"gives ({count},), or ({count}, m) for m fields"
            )
        found = found.reshape(exact.shape)
        size = float(np.linalg.norm(exact))
        apart = found - exact
        return {
            "relative_l2": float(np.linalg.norm(apart)) / size if size else math.inf,
            "max_error": float(np.max(np.abs(apart))),
        }


def _faces(where: Mapping[str, float | Sequence[float]]) -> list[dict[str, float]]:
    faces: list[dict[str, float]] = [{}]
    for name, held in where.items():
        faces = [{**face, name: value} for face in faces for value in _held(held)]
    return faces
