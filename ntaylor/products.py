"""Products of arrays that are made of simpler ones: einsum, cross and Kronecker products, powers, norms, traces.

Floor 2: a table name → function of array objects, as in ``composed``. None asks the library for more than ``@`` and
``*``, so that they are there for every library; a product of m jets of order n costs m − 1 of (2.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from string import ascii_letters
from typing import Any

from ntaylor.array_object import apply, innermost, whole_number
from ntaylor.namespace import MissingRule, array_namespace, device, is_array

__all__ = ["PRODUCTS", "matmul"]

Array = Any


def _reshape(a: Any, shape: Any) -> Any:
    return apply("reshape", (a, tuple(shape)), {})


def _permute(a: Any, axes: Any) -> Any:
    axes = tuple(axes)
    return a if axes == tuple(range(a.ndim)) else apply("permute_dims", (a, axes), {})


def matmul(a: Any, b: Any) -> Any:
    """a @ b, written so that torch follows it, compiled or not, where b alone is an object of ours."""
    return apply("matmul", (a, b), {})


def _prod(a: Any, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """By halves: log₂ of the length products of arrays, and none of them divides."""
    a = a if dtype is None else apply("astype", (a, dtype), {})
    axes = range(a.ndim) if axis is None else [i % a.ndim for i in ((axis,) if isinstance(axis, int) else axis)]
    kept = [i for i in range(a.ndim) if i not in axes]
    shape = tuple(1 if i in axes else n for i, n in enumerate(a.shape)) if keepdims else [a.shape[i] for i in kept]
    a = _reshape(_permute(a, (*axes, *kept)), (math.prod([a.shape[i] for i in axes]), *(a.shape[i] for i in kept)))
    if not a.shape[0]:
        return _reshape(apply("sum", (a,), {"axis": 0}) + 1, shape)
    alone = []  # what an odd length leaves over, joined to none: it has fewer coefficients than products have
    while (length := a.shape[0]) > 1:
        half = length // 2
        if length % 2:
            alone.append(a[2 * half :, ...])
        a = a[:half, ...] * a[half : 2 * half, ...]
    for rest in alone:
        a = a * rest
    return _reshape(a, shape)


def _cumulative_prod(a: Any, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Any:
    """After steps of 1, 2, 4, … every entry holds the product of as many before it."""
    if axis is None and a.ndim != 1:
        raise ValueError(f"cumulative_prod of an array of shape {a.shape} needs axis=…")
    a = a if dtype is None else apply("astype", (a, dtype), {})
    along = 0 if axis is None else axis % a.ndim
    before = (slice(None),) * along
    step = 1
    while step < a.shape[along]:
        later = a[(*before, slice(step, None), ...)] * a[(*before, slice(None, -step), ...)]
        a = apply("concat", ([a[(*before, slice(None, step), ...)], later],), {"axis": along})
        step *= 2
    if not include_initial:
        return a
    shape = tuple(1 if i == along else n for i, n in enumerate(a.shape))
    like = innermost(a)
    ones = array_namespace(like).ones(shape, dtype=like.dtype, device=device(like))
    return apply("concat", ([ones, a],), {"axis": along})


def _diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """NumPy's; a slice with a step of the matrix in one row."""
    pair = (axis1 % a.ndim, axis2 % a.ndim)
    a = _permute(a, (*(i for i in range(a.ndim) if i not in pair), *pair))
    rows, columns = a.shape[-2:]
    start = offset if offset >= 0 else -offset * columns
    count = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    flat = _reshape(a, (*a.shape[:-2], rows * columns))
    return flat[..., start : start + max(count - 1, 0) * (columns + 1) + 1 : columns + 1] if count else flat[..., :0]


def _trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Any:
    options = {"axis": -1} if dtype is None else {"axis": -1, "dtype": dtype}
    return apply("sum", (_diagonal(a, offset, axis1, axis2),), options)


def _cross(a: Any, b: Any, *, axis: int = -1) -> Any:
    if any(not is_array(c) or not c.ndim or c.shape[axis] != 3 for c in (a, b)):
        raise MissingRule(f"no rule for cross but of vectors of 3 along axis={axis}: write those of 2 as u0*v1 - u1*v0")
    (a0, a1, a2), (b0, b1, b2) = ([apply("moveaxis", (c, axis, -1), {})[..., i] for i in range(3)] for c in (a, b))
    parts = [a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0]
    return apply("moveaxis", (apply("stack", (parts,), {"axis": -1}), -1, axis), {})


def _kron(a: Any, b: Any) -> Any:
    ndim = max(a.ndim, b.ndim)
    of_a, of_b = ((1,) * (ndim - c.ndim) + tuple(c.shape) for c in (a, b))
    apart = _reshape(a, [m for n in of_a for m in (n, 1)]) * _reshape(b, [m for n in of_b for m in (1, n)])
    return _reshape(apart, [m * n for m, n in zip(of_a, of_b, strict=True)])


def _inner(a: Any, b: Any) -> Any:
    if 0 in (getattr(a, "ndim", 0), getattr(b, "ndim", 0)):
        return a * b
    return apply("tensordot", (a, b), {"axes": ([-1], [-1])})


def _matrix_power(a: Any, n: Any) -> Any:
    n = whole_number(n)
    if n == 0:
        like = innermost(a)
        eye = array_namespace(like).eye(a.shape[-1], dtype=like.dtype, device=device(like))
        return apply("broadcast_to", (eye, a.shape), {})
    if n < 0:
        a, n = apply("linalg.inv", (a,), {}), -n
    result = None
    while True:  # by squares, the lowest bit of n first
        if n % 2:
            result = a if result is None else matmul(result, a)
        n //= 2
        if not n:
            return result
        a = matmul(a, a)


def _matrix_norm(a: Any, *, keepdims: bool = False, ord: Any = "fro") -> Any:  # noqa: A002 the standard's name
    if ord in ("fro", None):
        return apply("vector_norm", (a,), {"axis": (-2, -1), "keepdims": keepdims})
    if ord not in (1, math.inf):
        raise MissingRule(
            f"no rule for matrix_norm(ord={ord!r}), only for 'fro', 1 and inf: of a real matrix ord=2 is "
            "xp.sqrt(xp.max(xp.linalg.eigvalsh(a.mT @ a), axis=-1))"
        )
    along = -2 if ord == 1 else -1
    sums = apply("sum", (apply("abs", (a,), {}),), {"axis": along, "keepdims": True})
    largest = apply("max", (sums,), {"axis": -3 - along, "keepdims": True})
    return largest if keepdims else largest[..., 0, 0]


# --- einsum -------------------------------------------------------------------------------------


def _einsum(subscripts: Any, *operands: Any, optimize: Any = None) -> Any:
    """Operands are taken in pairs from left to right, each pair as one product of matrices."""
    if not isinstance(subscripts, str):
        raise MissingRule("no rule for einsum of sublists: write the subscripts as one string, such as 'ij,jk->ik'")
    terms, out = _explicit(subscripts, [a.ndim for a in operands])
    a, of_a = _reduced(operands[0], terms[0], {*out, *"".join(terms[1:])})
    for i, operand in enumerate(operands[1:], 1):
        later = {*out, *"".join(terms[i + 1 :])}
        b, of_b = _reduced(operand, terms[i], {*later, *of_a})
        a, of_a = _reduced(a, of_a, {*later, *of_b})
        a, of_a = _pair(a, of_a, b, of_b, later)
    a, of_a = _reduced(a, of_a, set(out))
    return _permute(a, (of_a.index(letter) for letter in out))


def _explicit(subscripts: str, dimensions: list[int]) -> tuple[list[str], str]:
    """The subscripts of the operands and of the result, with letters in place of dots."""
    left, arrow, out = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(dimensions):
        raise ValueError(f"einsum({subscripts!r}) names {len(terms)} arrays, got {len(dimensions)}")
    spare = [c for c in ascii_letters if c not in subscripts]
    widths = [n - len(term.replace("...", "")) for n, term in zip(dimensions, terms, strict=True)]
    if any(w < 0 or (w and "..." not in term) for w, term in zip(widths, terms, strict=True)):
        raise ValueError(f"einsum({subscripts!r}) does not fit arrays of {dimensions} axes")
    dots = "".join(spare[: max(widths)])
    if not arrow:
        out = "..." * ("..." in left) + "".join(sorted(c for c in set(left) - {".", ","} if left.count(c) == 1))
    terms = [term.replace("...", dots[len(dots) - w :]) for term, w in zip(terms, widths, strict=True)]
    out = out.replace("...", dots)
    if len(set(out)) < len(out) or not set(out) <= set("".join(terms)):
        raise ValueError(f"einsum({subscripts!r}): each letter after -> must be one of the arrays' and come once")
    return terms, out


def _reduced(a: Any, of_a: str, wanted: set[str]) -> tuple[Any, str]:
    """Diagonals of letters that come twice, sums over those that nobody wants."""
    while twice := [c for c in of_a if of_a.count(c) > 1]:
        first = of_a.index(twice[0])
        second = of_a.index(twice[0], first + 1)
        if a.shape[first] != a.shape[second]:
            raise ValueError(f"einsum: axes of {a.shape[first]} and {a.shape[second]} share the letter {twice[0]!r}")
        a, of_a = _diagonal(a, 0, first, second), of_a.replace(twice[0], "", 2) + twice[0]
    summed = tuple(i for i, c in enumerate(of_a) if c not in wanted)
    if summed:
        a, of_a = apply("sum", (a,), {"axis": summed}), "".join(c for c in of_a if c in wanted)
    return a, of_a


def _pair(a: Any, of_a: str, b: Any, of_b: str, later: set[str]) -> tuple[Any, str]:
    """The product of two arrays over the letters that they share and that are not wanted later."""
    both = [c for c in of_a if c in of_b]
    batch, inner = [c for c in both if c in later], [c for c in both if c not in later]
    own_a, own_b = [c for c in of_a if c not in of_b], [c for c in of_b if c not in of_a]
    sizes = dict(zip(of_a, a.shape, strict=True))
    for c, n in zip(of_b, b.shape, strict=True):
        if sizes.setdefault(c, n) != n:
            if 1 not in (n, sizes[c]):
                raise ValueError(f"einsum: axes of {sizes[c]} and {n} share the letter {c!r}")
            sizes[c] = max(n, sizes[c])
    a, b = (
        apply("broadcast_to", (array, shape), {}) if tuple(array.shape) != shape else array
        for array, shape in ((a, tuple(sizes[c] for c in of_a)), (b, tuple(sizes[c] for c in of_b)))
    )
    a = _permute(a, (of_a.index(c) for c in (*batch, *own_a, *inner)))
    b = _permute(b, (of_b.index(c) for c in (*batch, *inner, *own_b)))

    def size(letters: list[str]) -> int:
        return math.prod([sizes[c] for c in letters])  # a list, which torch.compile can follow

    lead = (size(batch),) if batch else ()
    a, b = _reshape(a, (*lead, size(own_a), size(inner))), _reshape(b, (*lead, size(inner), size(own_b)))
    together = matmul(a, b) if inner else a * b  # (…, p, 1) times (…, 1, q)
    letters = [*batch, *own_a, *own_b]
    return _reshape(together, (sizes[c] for c in letters)), "".join(letters)


PRODUCTS: dict[str, Callable[..., Any]] = {
    "cumulative_prod": _cumulative_prod,
    "diagonal": _diagonal,
    "einsum": _einsum,
    "inner": _inner,
    "kron": _kron,
    "linalg.cross": _cross,
    "linalg.diagonal": lambda a, *, offset=0: _diagonal(a, offset, -2, -1),
    "linalg.matrix_norm": _matrix_norm,
    "linalg.matrix_power": _matrix_power,
    "linalg.trace": lambda a, *, offset=0, dtype=None: _trace(a, offset, -2, -1, dtype),
    "prod": _prod,
    "trace": _trace,
}
"""Name in the array namespace → function of arrays and array objects."""
