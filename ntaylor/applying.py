"""A plan applied to a function at points: which steps are one pass, which are compressed, which are pushed one by one.

Floor 9. That a step is exact, collapsed or compressed is a choice here, not another code. Of a network, all steps that
are not compressed and of few directions are one push that shares f(x), to which each direction goes only as far as it
is wanted: never more arrays than the steps one by one. Another function is pushed step by step, two of them as one
where that costs no more (``Plan.together``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy

from ntaylor import pushing
from ntaylor.array_object import unwrapped_namespace
from ntaylor.directions import Directions, of_integers
from ntaylor.namespace import array_namespace, broadcast_shapes, device, hides_values, is_array
from ntaylor.plans import Plan, Step, Sum, Taken, make_plan
from ntaylor.terms import Factor, Term

__all__ = ["METHODS", "apply", "factor_value", "scaled"]

Array = Any

METHODS = ("auto", "plain", "collapsed", "compressed")


def apply(
    plan: Plan, f: Callable[..., Any], x: Array, method: str = "auto", max_directions: int | None = None
) -> list[Array]:
    """Each operator of the plan, of the shape of f(x). ``x`` is (\\*batch, d)."""
    primal: Any = None
    totals: list[Any] = [None] * plan.outputs
    given = f
    if plan.steps:
        f = pushing.traced(f, x)
    if method == "compressed":
        _check_compressible(plan, f, x, type(given).__name__)

    def add(share: Sum, result: Any) -> None:
        value = result if not share.factors else factor_value(share.factors, x, result) * result
        totals[share.output] = value if totals[share.output] is None else totals[share.output] + value

    taken = _taken(plan, f, x, method, max_directions)
    if any(taken):
        results, one = plan.one_pass(taken, method != "plain")
        coefficients = pushing.fanned(f, x, one.directions, one.fan)
        assert coefficients is not None  # as takes_fans says
        primal = coefficients[0]
        for (output, factors), value in zip(results, one.combined(coefficients), strict=True):
            if value is not None:
                add(Sum(output, 0, factors, ()), value)
    for step in _left(plan, taken, f, x, method, max_directions):
        directions, signs = step.at(x)
        tops = [s for s in step.sums if s.degree == step.order]
        lower = [s for s in step.sums if s.degree < step.order]
        if _is_compressed(step, f, x, directions, method):
            for top in tops:
                scale, relative = scaled(top.weights, signs)
                primal, result = pushing.quadratic(f, x, directions, relative, max_directions)
                add(top, result * scale)
            if lower:  # first derivatives, along those directions only that they need
                kept = [r for r in range(directions.count) if any(s.weights[r] for s in lower)]
                directions = of_integers([step.integers[r] for r in kept], x.shape[-1])
                lower = [s._replace(weights=tuple(s.weights[r] for r in kept)) for s in lower]
            step_sums, order = lower, 1
        else:
            step_sums, order = list(step.sums), step.order
        if step_sums:
            primal = _push_and_sum(f, x, directions, signs, order, step_sums, method, max_directions, add)
    for output, factors, number in () if any(taken) else plan.values:
        primal = f(x) if primal is None else primal
        add(Sum(output, 0, factors, ()), primal * float(number))
    if any(t is None for t in totals):
        primal = f(x) if primal is None else primal
        totals = [primal * 0 if t is None else t for t in totals]
    return totals


def _taken(plan: Plan, f: Any, x: Array, method: str, max_directions: int | None) -> Taken:
    """Of a network, the steps of known directions that are not compressed, the small ones first, up to a size."""
    taken = [False] * len(plan.steps)
    if max_directions is not None or x.shape[-1] > pushing.WRITTEN_OUT or not pushing.takes_fans(f, x):
        return tuple(taken)
    left = pushing.MOST - 1
    for cost, i in sorted((s.arrays(method != "plain"), i) for i, s in enumerate(plan.steps) if s.integers):
        if cost <= left:
            step = plan.steps[i]
            taken[i] = not _is_compressed(step, f, x, step.at(x)[0], method)
            left -= cost if taken[i] else 0
    return tuple(taken)


def _left(plan: Plan, taken: Taken, f: Any, x: Array, method: str, max_directions: int | None) -> Sequence[Step]:
    """The other steps; those of known directions that are not compressed as few as is cheap."""
    left = [step for step, done in zip(plan.steps, taken, strict=True) if not done]
    if max_directions is not None or len(left) < 2:
        return left
    plain = tuple(
        not done and bool(step.integers) and not _is_compressed(step, f, x, step.at(x)[0], method)
        for step, done in zip(plan.steps, taken, strict=True)
    )
    others = [s for s, done, alone in zip(plan.steps, taken, plain, strict=True) if not (done or alone)]
    return [*plan.together(plain, method != "plain"), *others]


def _is_compressed(step: Step, f: Any, x: Array, directions: Directions, method: str) -> bool:
    if method in ("plain", "collapsed") or step.order != 2 or not directions.shared:
        return False
    if method == "auto" and not hasattr(unwrapped_namespace([x]), "linalg"):  # an extension, which a library may lack
        return False
    width = pushing.width_of_compression(f, x)
    # Of several sums over the same directions each is compressed alone.
    tops = sum(s.degree == step.order for s in step.sums)
    return width is not None and (directions.count > width * tops or method == "compressed")


def _check_compressible(plan: Plan, f: Any, x: Array, kind: str) -> None:
    if not any(s.order == 2 and not (s.form and s.form.varies) for s in plan.steps):
        raise ValueError(
            'method="compressed" is for operators of second order whose directions all points share, this one has no '
            'such part: pass method="collapsed", or leave it out'
        )
    if pushing.width_of_compression(f, x) is None:
        raise ValueError(
            'method="compressed" needs an nt.MLP whose first layer is dense, a JAX function that does x @ weight and '
            "nothing else with x, or a HardConstraint of one, and points (batch, d); "
            f'f is a {kind}, x has shape {tuple(x.shape)}: pass "collapsed"'
        )


def scaled(weights: Sequence[Fraction], signs: Sequence[float] | None = None) -> tuple[float, list[float] | None]:
    """A number, and the weights of every direction relative to it: None if all are 1.

    One weight is that of all, so that a million equal ones are never written out.
    """
    if signs is None and len(weights) == 1:
        return float(weights[0]), None
    numbers = [float(w) for w in weights]
    if signs is not None:
        numbers = [w * s for w, s in zip(numbers * len(signs) if len(numbers) == 1 else numbers, signs, strict=True)]
    first = next((w for w in numbers if w), 1.0)
    return (first, None) if all(w == first for w in numbers) else (1.0, numbers)


def _push_and_sum(
    f: Any,
    x: Array,
    directions: Directions,
    signs: Sequence[float] | None,
    order: int,
    sums: Sequence[Sum],
    method: str,
    max_directions: int | None,
    add: Callable[[Sum, Any], None],
) -> Any:
    xp = unwrapped_namespace([x])
    count = directions.count
    tops = [s for s in sums if s.degree == order]
    collapse = len(tops) == 1 and method != "plain" and count > 1
    primal = None
    weighted = [(s, *scaled(s.weights, signs)) for s in sums]
    size = max_directions or count

    def array(weights: list[float]) -> Array:
        return xp.asarray(weights, dtype=x.dtype, device=None if hides_values(x) else device(x))

    for start in range(0, count, size):
        stop = min(start + size, count)
        part = directions if (start, stop) == (0, count) else directions.part(start, stop)
        here = [(s, scale, None if every is None else every[start:stop]) for s, scale, every in weighted]
        weights, total = None, None
        if collapse:
            of_top = next(relative for s, _, relative in here if s is tops[0])
            weights = None if of_top is None else array(of_top)
            total = float(stop - start) if of_top is None else sum(of_top)
        c = pushing.along(f, x, part, order, weights, total)
        primal = c[0]
        for s, scale, relative in here:
            found = c[s.degree]
            if found is None:
                continue
            if not (collapse and s is tops[0]):
                if relative is not None:
                    found = found * xp.reshape(array(relative), (-1, *(1,) * (found.ndim - 1)))
                found = xp.sum(found, axis=0)
            add(s, found * (scale * math.factorial(s.degree)))
    return primal


def factor_value(factors: Sequence[Factor], x: Array, like: Array) -> Any:
    """The product of the factors at x, to multiply by ``like``, which is of f's shape."""
    product: Any = 1.0
    for function, monomial in factors:
        value = function(x)
        if not is_array(value):
            if isinstance(value, bool) or not isinstance(value, (int, float, complex)):
                raise TypeError(
                    f"a function that an operator is multiplied by must return an array or a number, it returned a "
                    f"{type(value).__name__}"
                )
            value = 0.0 if monomial else value  # a constant
        elif monomial:
            (value,) = apply(make_plan([{Term(monomial): Fraction(1)}], x.shape[-1]), function, x)
        product = product * _beside(value, x, like)
    return product


def _beside(value: Any, x: Array, like: Array) -> Any:
    """A factor's value, to multiply ``like``: (\\*batch,), (\\*batch, 1), of like's shape or a number."""
    if not is_array(value):
        return value
    shape, batch, whole = tuple(value.shape), tuple(x.shape[:-1]), tuple(like.shape)
    if not shape:
        # A NumPy number would decide the dtype of a product.
        return value.item() if isinstance(value, numpy.generic) else value
    if shape in ((*batch, 1), batch):  # one number a point, whatever f has a point
        return array_namespace(value).reshape(value, (*batch, *(1,) * (len(whole) - len(batch))))
    try:
        fits = broadcast_shapes(shape, whole) == whole
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"a function that an operator is multiplied by returned shape {shape}, f(x) has shape {whole}: it must "
            f"return one number a point, shape {batch} or {(*batch, 1)}, or broadcast to f(x)"
        )
    return value
