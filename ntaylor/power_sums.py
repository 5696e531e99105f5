"""Polynomials as sums of powers of linear forms, in exact rationals: mixed partials from directional derivatives.

Floor 2: knows nothing of arrays. A homogeneous polynomial p(ξ) = Σ_α c_α ξ^α of degree m becomes
Σ_r ω_r (v_r·ξ)^m with integer vectors v_r and rational ω_r; by equation (9.1) then
Σ_α c_α ∂^α f = Σ_r ω_r D^m_{v_r} f, where D^m_v f is the m-th *derivative* of f(x + t v) at t = 0,
m! times the coefficient. No identity leaves this file before it has been expanded and compared
coefficient by coefficient. Equation numbers refer to ``docs/theory.md``.
"""

from __future__ import annotations

import math
import operator
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import product
from numbers import Integral, Rational
from typing import NamedTuple

from ntaylor.linear_forms import Direction, Monomial, Terms, Weights, expand, is_identity, primitive, solved_on
from ntaylor.partitions import multi_indices, multinomial

__all__ = ["PowerSum", "condition", "family", "power_sum"]

_ONE = Fraction(1)
_AXIS: tuple[Direction, Fraction] = (((0, 1),), _ONE)

_NEARLY_ONE = Fraction(11, 10)
"""Two variables: conditions between 1, the least there is, and this one are taken for equal."""

_LARGE = 130
"""Up to so many directions, a family is spread over the sphere."""

_HUGE = 1000
"""Beyond so many monomials the lattice is not made: what polarisation gives is kept."""

_SMALL = 200
"""Up to so many directions, fewer are looked for."""

_ELIMINATION = 2_500_000
"""Up to so many multiplications an elimination is tried, about a second; three times as many where one is due."""


class PowerSum(NamedTuple):
    """Σ_r ω_r (v_r·ξ)^degree, exact."""

    degree: int
    directions: tuple[Direction, ...]
    """The v_r, sorted, no two parallel. Of degree 0 the one direction is (), for 0⁰ = 1."""
    weights: tuple[Fraction, ...]
    """The ω_r, none zero."""


def power_sum(polynomial: Mapping[Monomial, Fraction | int], degree: int) -> PowerSum:
    """Integer directions and rational weights with Σ_r ω_r (v_r·ξ)^degree = Σ_α c_α ξ^α.

    Keys are sorted tuples of ``degree`` coordinate indices, values integers or fractions. Weights
    come from polarisation, equation (9.3), and from elimination where that finds fewer directions;
    a sum of pure powers takes linear time. The result is verified and cached. ``ValueError`` for
    a malformed monomial or degree, ``TypeError`` for a coefficient that is not rational.

    >>> power_sum({(0, 1): 1}, 2)  # ∂_0 ∂_1 = (D²_{e0+e1} − D²_{e0−e1}) / 4
    PowerSum(degree=2, directions=(((0, 1), (1, -1)), ((0, 1), (1, 1))), weights=(Fraction(-1, 4), Fraction(1, 4)))
    """
    degree = _whole("degree", degree)
    terms = []
    for monomial, coefficient in polynomial.items():
        _check_monomial(monomial, degree)
        if not _is_rational(coefficient):
            raise TypeError(
                f"the coefficient of {monomial!r} must be an int or a fractions.Fraction, got {coefficient!r}: "
                f"directions are found in exact arithmetic; pass Fraction(1, 3) for a third, or "
                f"Fraction(value).limit_denominator() for a float, or factor the float out of the operator"
            )
        if coefficient:
            terms.append((tuple(map(int, monomial)), _exact(coefficient)))
    return _power_sum(tuple(sorted(terms)), degree)


def family(dimension: int, degree: int) -> tuple[tuple[Direction, ...], dict[Monomial, tuple[Fraction, ...]]]:
    """C(d+m−1, m) directions that serve every monomial of degree m in d variables, and the weights of each.

    All derivatives of order m are these directional ones times a matrix, equation (9.4): as few
    directions as there are derivatives. They are spread over the sphere, so that little cancels;
    where elimination would take too long they are the lattice of non-negative vectors with
    entries summing to m (Griewank, Utke & Walther 2000), whose weights (9.5) gives in closed form.
    """
    directions, rows = _family(_whole("dimension", dimension), _whole("degree", degree))
    return directions, dict(rows)


def condition(power_sum: PowerSum) -> float:
    """Σ_r |ω_r| |v_r|^m / max_α |c_α|: by how much cancellation can multiply rounding errors.

    Its decimal logarithm is the number of digits that can be lost, where f's derivatives of order
    m are of one size in all directions. 1 for a pure power; at least 1 for a monomial of two
    variables, less is possible with more of them; 0 for the empty sum.
    """
    if not power_sum.weights:
        return 0.0
    m = power_sum.degree
    polynomial = expand(zip(power_sum.directions, power_sum.weights, strict=True), m)
    return float(_size(zip(power_sum.directions, power_sum.weights, strict=True), m) / _largest(polynomial.values()))


def _size(terms: Iterable[tuple[Direction, Fraction]], m: int) -> Fraction:
    """Σ |ω| |v|^m, the root of |v|² to twelve digits, in fractions so that nothing overflows."""
    total = Fraction(0)
    for v, weight in terms:
        square = sum(entry * entry for _, entry in v)
        norm = Fraction(square ** (m // 2))
        if m % 2:
            norm *= Fraction(math.isqrt(square * 10**24), 10**12)
        total += abs(weight) * norm
    return total


def _largest(values: Iterable[Fraction]) -> Fraction:
    return max(map(abs, values))


# --- what comes in -------------------------------------------------------------------------------


def _is_whole(value: object) -> bool:
    return type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))


def _is_rational(value: object) -> bool:
    return type(value) in (int, Fraction) or (isinstance(value, Rational) and not isinstance(value, bool))


def _whole(name: str, value: int) -> int:
    if not _is_whole(value) or value < 0:
        raise ValueError(f"{name} must be an integer >= 0, got {value!r}")
    return int(value)


def _exact(coefficient: Rational | int) -> Fraction:
    """A Fraction of Python's own integers, whatever library's the coefficient was."""
    if type(coefficient) is Fraction:
        return coefficient
    return Fraction(int(coefficient.numerator), int(coefficient.denominator))


def _check_monomial(monomial: Monomial, degree: int) -> None:
    if not isinstance(monomial, tuple):
        raise ValueError(f"a monomial must be a tuple of coordinate indices such as (0, 0, 1), got {monomial!r}")
    for index in monomial:
        if not _is_whole(index) or index < 0:
            raise ValueError(f"the coordinate indices of {monomial!r} must be integers >= 0, got {index!r}")
    if len(monomial) != degree:
        raise ValueError(
            f"the monomial {monomial!r} is of degree {len(monomial)}, expected {degree}: give an index once for "
            f"every power, and split a polynomial into its homogeneous parts"
        )
    if any(map(operator.gt, monomial, monomial[1:])):
        raise ValueError(f"the monomial {monomial!r} must be sorted: {tuple(sorted(monomial))!r}")


# --- the identities ------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _polarised(alpha: tuple[int, ...]) -> tuple[tuple[Direction, Fraction], ...]:
    """ξ^α by equation (9.3); every entry of α is positive. One of k and α − k is enough."""
    m = sum(alpha)
    scale = Fraction(1, 2**m * math.factorial(m))
    weights: Weights = defaultdict(Fraction)
    for k in product(*(range(a + 1) for a in alpha)):
        vector = [a - 2 * kept for a, kept in zip(alpha, k, strict=True)]
        leading = next((entry for entry in vector if entry), 0)
        if leading > 0:
            v, c = primitive(list(enumerate(vector)))
            count = math.prod(map(math.comb, alpha, k))
            weights[v] += 2 * (-1) ** sum(k) * count * c**m * scale
    return tuple(sorted((v, weight) for v, weight in weights.items() if weight))


def _lines(total: int, offset: int, height: int) -> list[Direction]:
    """``total`` lines of the plane near the angles (i + offset/2) π/total, entries up to ``height``, symmetric.

    Symmetric: with (a, b) there is (a, −b). By (9.6) that is all that two variables need.
    """
    fractions = [(math.atan2(b, a), a, b) for a, b in _slopes(height)]
    found: list[Direction] = []
    for i in range(total):
        angle = (i + offset / 2) * math.pi / total
        if 2 * i + offset == 0:
            found.append(((0, 1),))
        elif 2 * i + offset == total:
            found.append(((1, 1),))
        elif 2 * i + offset < total:
            _, a, b = nearest = min(fractions, key=lambda f: (round(abs(f[0] - angle), 9), f[1] + f[2]))
            fractions.remove(nearest)
            found += [((0, a), (1, b)), ((0, a), (1, -b))]
    return found


# --- polynomials ---------------------------------------------------------------------------------


def _merged(parts: Iterable[tuple[Iterable[tuple[Direction, Fraction]], Monomial, Fraction]]) -> Weights:
    """Σ c · part, each part's local coordinates 0, 1, … put at its ``support``."""
    weights: Weights = {}
    for part, support, c in parts:
        for local, weight in part:
            v = tuple((support[i], entry) for i, entry in local)
            value = c if weight is _ONE else c * weight
            weights[v] = weights[v] + value if v in weights else value
    return {v: weight for v, weight in weights.items() if weight}


def _polarisation(terms: Iterable[tuple[Monomial, Fraction]]) -> Weights:
    counted = ((Counter(monomial), c) for monomial, c in terms)
    return _merged((_polarised(tuple(counts.values())), tuple(counts), c) for counts, c in counted)


@lru_cache(maxsize=256)
def _power_sum(terms: Terms, m: int) -> PowerSum:
    weights = _weights(terms, m)
    if not is_identity(weights, terms, m):
        raise ArithmeticError(f"the power sum of degree {m} does not expand to its polynomial")
    directions = tuple(sorted(weights))
    return PowerSum(m, directions, tuple(weights[v] for v in directions))


def _weights(terms: Terms, m: int) -> Weights:
    """Monomials of the same variables together, then all groups merged, then fewer if few."""
    if m == 0:
        return {(): terms[0][1]} if terms else {}
    groups: dict[Monomial, list[tuple[Monomial, Fraction]]] = defaultdict(list)
    for monomial, c in terms:
        groups[tuple(sorted(set(monomial)))].append((monomial, c))
    parts: list[tuple[Sequence[tuple[Direction, Fraction]], Monomial, Fraction]] = []
    for support, members in groups.items():
        if len(support) == 1:
            parts.append(((_AXIS,), support, members[0][1]))
            continue
        local = {i: place for place, i in enumerate(support)}
        unit = members[0][1]  # so that multiples of one polynomial are one entry of the cache
        part = tuple((tuple(local[i] for i in monomial), c / unit) for monomial, c in members)
        parts.append((_part(part, m), support, unit))
    weights = _merged(parts)
    if len(groups) == 1:
        return weights
    if any(len(support) > 1 for support in groups):
        weights = _best([weights, _polarisation(terms)], m)
    variables = tuple(sorted({i for support in groups for i in support}))
    place = {i: at for at, i in enumerate(variables)}
    if all(len(v) == 1 for v in weights):
        return weights  # pure powers, as few as the rank of their matrix of second derivatives
    of_simplex = _of_simplex(terms, variables, m)
    if len(weights) > _SMALL and len(weights) <= math.comb(len(variables) + m - 1, m):
        return _best([weights, *of_simplex], m)
    moved = {tuple((place[i], entry) for i, entry in v): weight for v, weight in weights.items()}
    fewer = _fewer(tuple((tuple(place[i] for i in monomial), c) for monomial, c in terms), moved, len(variables), m)
    return _best([_merged([(fewer.items(), variables, Fraction(1))]), *of_simplex], m)


@lru_cache(maxsize=4096)
def _part(terms: Terms, m: int) -> tuple[tuple[Direction, Fraction], ...]:
    """The best found for monomials that all have the variables 0, 1, … and no others."""
    dimension = terms[0][0][-1] + 1
    weights = _polarisation(terms)
    if dimension == 2 and len(terms) == 1:
        a = terms[0][0].count(0)
        found = [weights]
        for height in range(1, max(6, m + 1)):
            if len(found[-1]) == m and _size(found[-1].items(), m) < _NEARLY_ONE:
                break  # as few as can be, and as little cancellation: entries stay small
            if 2 * len(_slopes(height)) < m:
                continue
            # By (9.6): no axis if both exponents are odd, both if both are even, that of the odd one else.
            lines = _lines(m, a % 2 if m % 2 == 0 else 0, height)
            if m % 2 and a % 2 == 0:
                lines = [primitive(sorted((1 - i, entry) for i, entry in v))[0] for v in lines]
            found += solved_on(lines, [terms], m) or []
        weights = _best(found, m)
    elif dimension > 1:
        weights = _fewer(terms, weights, dimension, m)
    return tuple(sorted(weights.items()))


def _of_simplex(terms: Terms, variables: Monomial, m: int) -> list[Weights]:
    """a Σ ξ_i⁴ + b Σ_{i<j} ξ_i² ξ_j², as the biharmonic's, on (d+1)(d+2)/2 directions by (9.9); [] of all else."""
    d = len(variables)
    # To expand them, for the comparison, takes time as d^5.
    if m != 4 or 2 * d * math.comb(d + 3, 4) > _ELIMINATION:
        return []
    coefficients = {tuple(sorted(Counter(monomial).values())): c for monomial, c in terms}
    a, b = coefficients.get((4,), Fraction(0)), coefficients.get((2, 2), Fraction(0))
    pairs = [(i, j) for at, i in enumerate(variables) for j in variables[at + 1 :]]
    whole = {(i,) * 4: a for i in variables if a} | {(i, i, j, j): b for i, j in pairs}
    if not b or whole != dict(terms):
        return []
    of_pairs = b / 6
    of_axes = a - b / 2 - (d - 8) * of_pairs
    best: tuple[Fraction, list[tuple[Fraction, Fraction]], Fraction] | None = None
    for k in range(1, 2 * d):
        for s in (Fraction(1, k), Fraction(-1, k)):
            if of_axes * s + of_pairs == 0:
                continue
            t = -of_pairs * s / (of_axes * s + of_pairs)
            if s == t:
                continue
            of_s = (-of_pairs - t * of_axes) / (s - t)
            orbits = [(s, of_s), (t, of_axes - of_s)]
            of_all = -sum((w * (4 * c**3 + d * c**4) for c, w in orbits), Fraction(0))
            size = abs(of_all) * d**2 + sum(d * abs(w) * (1 + 2 * c + d * c**2) ** 2 for c, w in orbits)
            if best is None or size < best[0]:
                best = size, orbits, of_all
    if best is None:
        return []
    _, orbits, of_all = best
    parts = [([(((0, 1), (1, 1)), of_pairs)], pair, Fraction(1)) for pair in pairs]
    weights = defaultdict(Fraction, _merged(parts))
    weights[tuple((i, 1) for i in variables)] += of_all
    for shift, weight in orbits:
        for i in variables:
            v, c = primitive([(j, shift.denominator * (i == j) + shift.numerator) for j in variables])
            weights[v] += weight * Fraction(c, shift.denominator) ** 4
    return [{v: weight for v, weight in weights.items() if weight}]


def _best(candidates: Iterable[Weights], m: int) -> Weights:
    """The fewest directions; of those, the least cancellation."""
    few = sorted(candidates, key=len)
    few = [weights for weights in few if len(weights) == len(few[0])]
    return few[0] if len(few) == 1 else min(few, key=lambda weights: _size(weights.items(), m))


def _fewer(terms: Terms, weights: Weights, dimension: int, m: int) -> Weights:
    """The fewest directions among ``weights`` and what elimination finds, in several orders of preference."""
    full = math.comb(dimension + m - 1, m)
    own = sorted(weights, key=lambda v: (len(v), _square(v), v))
    axes = [v for v in own if len(v) == 1]
    pools = [own, sorted(own, key=lambda v: (-len(v), _square(v), v))]
    if dimension <= 7:
        # Every sign of (1, ±1, …, ±1): one power of each gives what all pairs of variables need.
        diagonals = [tuple(enumerate((1, *signs))) for signs in product((1, -1), repeat=dimension - 1)]
        pools.append([*diagonals, *axes, *own])
    if dimension <= 4:
        pools.append([*_pool(dimension, full), *own])
    if dimension == 2:
        height = next(h for h in range(2, m + 3) if 2 * len(_slopes(h)) > m)
        pools += [_lines(m + 1, offset, height) for offset in (0, 1)]
    candidates = [weights]
    affordable = _ELIMINATION * (3 if len(weights) > full else 1)
    for pool in pools:
        pool = list(dict.fromkeys(pool))
        if len(pool) * sum(math.comb(len(v) + m - 1, m) for v in pool) <= affordable:
            candidates += solved_on(pool, [terms], m) or []
    best = _best(candidates, m)
    return best if len(best) <= full or full > _HUGE else _on_lattice(terms, dimension, m)


def _square(v: Direction) -> int:
    return sum(entry * entry for _, entry in v)


# --- all monomials of a degree -------------------------------------------------------------------


@lru_cache(maxsize=64)
def _slopes(height: int) -> tuple[tuple[int, int], ...]:
    whole = range(1, height + 1)
    return tuple((a, b) for a in whole for b in whole if math.gcd(a, b) == 1)


def _pool(dimension: int, count: int) -> list[Direction]:
    """At least ``count`` directions of the smallest entries, short ones first."""
    for height in range(1, count + 2):
        vectors = product(range(-height, height + 1), repeat=dimension)
        found = {primitive(list(enumerate(vector)))[0] for vector in vectors if any(vector)}
        if len(found) >= count or dimension == 1:
            break
    return sorted(found, key=lambda v: (_square(v), len(v), v))


def _spread(pool: Sequence[Direction], count: int, m: int) -> list[Direction]:
    """``count`` of ``pool`` whose powers (v·ξ)^m are far from dependent: pivoted Cholesky of (9.7).

    Floats choose only; what they choose is solved exactly.
    """
    dense = [dict(v) for v in pool]
    length = [math.sqrt(_square(v)) for v in pool]
    left = [1.0] * len(pool)
    factors: list[list[float]] = [[] for _ in pool]
    chosen: list[int] = []
    for _ in range(count):
        at = max(range(len(pool)), key=lambda r: (round(left[r], 9), -r))
        if left[at] < 1e-9:
            break
        chosen.append(at)
        root, own, v = math.sqrt(left[at]), list(factors[at]), dense[at]
        for r, w in enumerate(dense):
            cosine = sum(entry * w.get(i, 0) for i, entry in v.items()) / (length[at] * length[r])
            kernel = math.prod([cosine] * m)
            factor = (kernel - sum(map(operator.mul, own, factors[r]))) / root
            factors[r].append(factor)
            left[r] -= factor * factor
        left[at] = 0.0
    return [pool[at] for at in chosen]


@lru_cache(maxsize=64)
def _family(dimension: int, m: int) -> tuple[tuple[Direction, ...], tuple[tuple[Monomial, tuple[Fraction, ...]], ...]]:
    alphas = list(multi_indices(dimension, m))
    monomials = [tuple(i for i, e in enumerate(alpha) for _ in range(e)) for alpha in alphas]
    targets: list[Terms] = [((monomial, Fraction(1)),) for monomial in monomials]
    full = len(monomials)
    found: list[list[Weights]] = [[_on_lattice(target, dimension, m) for target in targets]]
    sets: list[list[Direction]] = []
    if dimension == 2 and m:
        sets = [_lines(m + 1, 0, max(5, m))]
    elif dimension > 2 and m and full <= _LARGE:
        sets = [_spread(_pool(dimension, times * full), full, m) for times in (2, 4)]
    for chosen in sets:
        solved = solved_on(chosen, targets, m)
        if solved:
            found.append(solved)
    best = min(found, key=lambda solved: max((_size(weights.items(), m) for weights in solved), default=0))
    for target, weights in zip(targets, best, strict=True):
        if not is_identity(weights, target, m):
            raise ArithmeticError(f"the weights of {target[0][0]} do not expand to it")
    directions = tuple(sorted({v for weights in best for v in weights}))
    zero = Fraction(0)
    rows = (tuple(weights.get(v, zero) for v in directions) for weights in best)
    return directions, tuple(zip(monomials, rows, strict=True))


def _on_lattice(terms: Terms, dimension: int, m: int) -> Weights:
    """The weights (9.5) on the vectors j ≥ 0 with entries summing to m."""
    wanted = []
    for monomial, coefficient in terms:
        alpha = tuple(map(monomial.count, range(dimension)))
        wanted.append((alpha, coefficient / (m**m * multinomial(alpha))))
    weights: Weights = {}
    for j, polynomial in _lagrange(dimension, m):
        total = sum((c * polynomial.get(alpha, 0) for alpha, c in wanted), Fraction(0))
        if total:
            v, c = primitive(list(enumerate(j))) if m else ((), 1)
            weights[v] = total * c**m / math.prod(map(math.factorial, j))
    return weights


@lru_cache(maxsize=4)
def _lagrange(dimension: int, m: int) -> tuple[tuple[tuple[int, ...], dict[tuple[int, ...], int]], ...]:
    """m^m j! ℓ_j of (9.5) for every j, as exponents → coefficient."""
    result = []
    for j in multi_indices(dimension, m):
        polynomial = {(0,) * dimension: 1}
        for i, count in enumerate(j):
            for s in range(count):
                following: dict[tuple[int, ...], int] = defaultdict(int)
                for alpha, c in polynomial.items():
                    for axis in range(dimension):
                        factor = m * (axis == i) - s
                        if factor:
                            following[(*alpha[:axis], alpha[axis] + 1, *alpha[axis + 1 :])] += factor * c
                polynomial = following
        result.append((j, {alpha: c for alpha, c in polynomial.items() if c}))
    return tuple(result)
