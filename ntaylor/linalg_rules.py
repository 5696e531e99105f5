"""Linear algebra and Fourier transforms on jets, from the equations that define them.

Floor 3: a table name → ``rule(xp, order, *args)``, which ``jet_rules`` takes over. Matrices of series are Series whose
coefficients are matrices. Differentiating A(t) x(t) = b(t) leaves, at every order, the same matrix A_0 to be solved
with: it is factored once a call, whatever the order. Equation numbers are those of ``docs/theory.md``, section 8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ntaylor.array_object import function_of, without_options
from ntaylor.namespace import MissingRule, any_true, broadcast_shapes, device, is_complex
from ntaylor.products import matmul
from ntaylor.series import Series, add, as_series, integrate, leibniz, mapped, recur, solve, subtract

__all__ = ["LINALG", "EighResult", "QRResult", "SlogdetResult", "bird", "check_reduced", "solved"]

Array = Any

DIVISION_FREE = 16
"""Determinants up to this size are made without dividing; of larger matrices that loses more than dividing does."""


class SlogdetResult(NamedTuple):
    """What ``slogdet`` gives."""

    sign: Any
    logabsdet: Any


class QRResult(NamedTuple):
    """What ``qr`` gives."""

    Q: Any
    R: Any


class EighResult(NamedTuple):
    """What ``eigh`` gives."""

    eigenvalues: Any
    eigenvectors: Any


def _adjoint(xp: Any, a: Array) -> Array:
    return xp.matrix_transpose(xp.conj(a) if is_complex(a) else a)


def _products(u: Series, v: Series, k: int, first: int) -> Array:
    """Σ u_j @ v_{k−j} over j ≥ first."""
    total = None
    for j in range(first, k + 1):
        if u[j] is not None and v[k - j] is not None:
            total = add(total, matmul(u[j], v[k - j]))
    return total


def _is_constant(u: Series, order: int) -> bool:
    return len(u.truncated(order)) == 1


def _eye(xp: Any, a: Array) -> Array:
    return xp.eye(a.shape[-1], dtype=a.dtype, device=device(a))


def solved(
    inverse: Callable[[Array], Array],
    product: Callable[[Any, Array], Array],
    a: Series,
    b: Series,
    known: Sequence[Array] = (),
) -> Series:
    """The x with product(a, x) = b: x_k = inverse(b_k − Σ_{j≥1} product(a_j, x_{k−j})), equation (8.1).

    ``inverse`` solves with a_0, a product being linear in each of its two; ``known`` are the first coefficients of x.
    """

    def rule(x: Series, k: int) -> Array:
        rest = b[k]
        for j in range(1, k + 1):
            if a[j] is not None and x[k - j] is not None:
                rest = subtract(rest, product(a[j], x[k - j]))
        return None if rest is None else inverse(rest)

    return recur(known, rule)


def _solve(xp: Any, order: int, a: Any, b: Any) -> Series:
    """A x = b: x_k = A_0⁻¹ (b_k − Σ_{j≥1} A_j x_{k−j}), equation (8.1)."""
    a, b = as_series(a), as_series(b)
    if _is_constant(a, order):
        return _solve_constant(xp, order, a[0], b)
    vector = b[0].ndim == 1
    columns = mapped(lambda c: c[:, None], b) if vector else b
    # The inverse comes out of the same factorisation as x_0.
    size, width = a[0].shape[-1], columns[0].shape[-1]
    batch = broadcast_shapes(tuple(a[0].shape[:-2]), tuple(columns[0].shape[:-2]))
    sides = [xp.broadcast_to(columns[0], (*batch, size, width)), xp.broadcast_to(_eye(xp, a[0]), (*batch, size, size))]
    both = xp.linalg.solve(a[0], xp.concat(sides, axis=-1))
    inverse = both[..., width:]
    x = solved(lambda rest: matmul(inverse, rest), matmul, a, columns, [both[..., :width]])
    return mapped(lambda c: c[..., 0], x) if vector else x


def _solve_constant(xp: Any, order: int, a: Array, b: Series) -> Series:
    """All coefficients are columns of one right-hand side."""
    known = b.truncated(order)
    there = [c for c in known if c is not None]
    if len(there) == 1:
        return Series([xp.linalg.solve(a, there[0])])
    if there[0].ndim == 1:
        solved = xp.linalg.solve(a, xp.stack(there, axis=-1))
        found = iter([solved[..., i] for i in range(len(there))])
    else:
        width = there[0].shape[-1]
        solved = xp.linalg.solve(a, xp.concat(there, axis=-1))
        found = iter([solved[..., i * width : (i + 1) * width] for i in range(len(there))])
    return Series([None if c is None else next(found) for c in known])


def _inv(xp: Any, order: int, a: Series) -> Series:
    """A X = 1: X_k = −X_0 Σ_{j≥1} A_j X_{k−j}, equation (8.2)."""
    inverse = xp.linalg.inv(a[0])

    def rule(x: Series, k: int) -> Array:
        rest = _products(a, x, k, 1)
        return None if rest is None else -matmul(inverse, rest)

    return recur([inverse], rule)


def _logarithmic(xp: Any, order: int, a: Series) -> Series:
    """tr(A⁻¹ A′), the derivative of log det A, equation (8.3)."""
    return leibniz(lambda x, b: xp.sum(xp.matrix_transpose(x) * b, axis=(-2, -1)), _inv(xp, order, a), a.derivative())


def _det(xp: Any, order: int, a: Series) -> Series:
    value = xp.linalg.det(a[0])
    if _is_constant(a, order):
        return Series([value])
    if a[0].shape[-1] <= DIVISION_FREE:
        determinant = bird(xp, order, a)
        return Series([value], determinant.__getitem__)
    if any_true(value == 0):
        raise ValueError(
            f"the derivatives of det of a singular matrix are made for sizes up to {DIVISION_FREE}, got "
            f"{a[0].shape[-1]}: take the product of the values that you know to be 0 apart"
        )
    return solve(integrate(_logarithmic(xp, order, a), value * 0), value, lambda v: v)[0]


def bird(xp: Any, order: int, a: Series) -> Series:
    """det A by products and sums alone, equation (8.4): for coefficients of singular matrices too."""
    size = a[0].shape[-1]
    if size == 0:
        return Series([xp.linalg.det(a[0])])
    eye = _eye(xp, a[0])
    further = xp.triu(xp.ones_like(eye), k=1)

    def step(c: Array) -> Array:
        # On the diagonal minus the sum of the entries of c further down it.
        diagonal = xp.sum(c * eye, axis=-2)
        below = xp.sum(further * diagonal[..., None, :], axis=-1)
        return xp.triu(c, k=1) - eye * below[..., None, :]

    f = a
    for _ in range(size - 1):
        f = Series(leibniz(matmul, mapped(step, f), a).truncated(order))
    return mapped(lambda c: c[..., 0, 0] * (-1.0) ** (size - 1), f)


def _slogdet(xp: Any, order: int, a: Series) -> SlogdetResult:
    sign, logarithm = xp.linalg.slogdet(a[0])
    if order == 0 or _is_constant(a, order):
        return SlogdetResult(sign, Series([logarithm]))
    if any_true(sign == 0):
        raise ValueError("slogdet of a singular matrix is not differentiable: log|det| is infinite there")
    slope = _logarithmic(xp, order, a)
    if not is_complex(a[0]):
        return SlogdetResult(sign, integrate(slope, logarithm))
    turning = mapped(lambda c: xp.imag(c) * 1j, slope)
    return SlogdetResult(
        solve(integrate(turning, sign * 0), sign, lambda v: v)[0], integrate(mapped(xp.real, slope), logarithm)
    )


def _mirrored(xp: Any, a: Array) -> Array:
    """The Hermitian matrix of which ``a`` holds the lower triangle, all that the library reads."""
    below = xp.tril(a, k=-1)
    diagonal = xp.tril(xp.triu(a))
    if is_complex(a):
        diagonal = (diagonal + xp.conj(diagonal)) / 2
    return below + diagonal + _adjoint(xp, below)


def _cholesky(xp: Any, order: int, a: Series, *, upper: bool = False) -> Series:
    """L Lᴴ = A: L_k = L_0 φ(L_0⁻¹ (A_k − Σ_{0<j<k} L_j L_{k−j}ᴴ) L_0⁻ᴴ), equation (8.5)."""
    if upper:
        a = mapped(lambda c: _adjoint(xp, c), a)
    low = xp.linalg.cholesky(a[0])
    if _is_constant(a, order):
        return Series([_adjoint(xp, low) if upper else low])
    inverse = xp.linalg.inv(low)
    inverse_adjoint = _adjoint(xp, inverse)

    def rule(lower: Series, k: int) -> Array:
        rest = None if a[k] is None else _mirrored(xp, a[k])
        for j in range(1, k):
            if lower[j] is not None and lower[k - j] is not None:
                rest = subtract(rest, matmul(lower[j], _adjoint(xp, lower[k - j])))
        if rest is None:
            return None
        middle = matmul(matmul(inverse, rest), inverse_adjoint)
        return matmul(low, xp.tril(middle, k=-1) + xp.tril(xp.triu(middle)) / 2)

    factor = recur([low], rule)
    return mapped(lambda c: _adjoint(xp, c), factor) if upper else factor


def check_reduced(shape: Any, mode: str) -> None:
    """MissingRule for a qr that has no rule: of a wide matrix, or with Q or R of other shapes."""
    rows, columns = shape[-2:]
    if mode != "reduced" or rows < columns:
        raise MissingRule(
            f"no rule for qr(mode={mode!r}) of a matrix of {rows} rows and {columns} columns: only for mode='reduced' "
            "and at least as many rows as columns"
        )


def _qr(xp: Any, order: int, a: Series, *, mode: str = "reduced") -> QRResult:
    """A = Q R, Qᴴ Q = 1: equation (8.6)."""
    check_reduced(a[0].shape, mode)
    q0, r0 = xp.linalg.qr(a[0])
    if _is_constant(a, order):
        return QRResult(Series([q0]), Series([r0]))
    if any_true(xp.sum(r0 * _eye(xp, r0), axis=-2) == 0):
        raise ValueError("qr of a matrix whose columns are dependent is not differentiable there")
    q_adjoint, inverse = _adjoint(xp, q0), xp.linalg.inv(r0)
    q, r = [q0], [r0]
    for k in range(1, order + 1):
        rest, overlap = a[k], None
        for j in range(1, k):
            rest = subtract(rest, matmul(q[j], r[k - j]))
            overlap = add(overlap, matmul(_adjoint(xp, q[j]), q[k - j]))
        rest = xp.zeros_like(a[0]) if rest is None else rest
        half = overlap / -2 if overlap is not None else xp.zeros_like(r0)
        middle = matmul(matmul(q_adjoint, rest), inverse)
        below = xp.tril(middle - half, k=-1)
        turned = half + below - _adjoint(xp, below)
        if is_complex(q0):  # R keeps the phase of its diagonal
            turned = turned + xp.tril(xp.triu(xp.imag(middle - half))) * 1j
        r.append(matmul(middle - turned, r0))
        q.append(matmul(rest - matmul(q0, r[k]), inverse))
    return QRResult(Series(q), Series(r))


def _eigh(xp: Any, order: int, a: Series) -> EighResult:
    """A V = V Λ, Vᴴ V = 1, where the eigenvalues are distinct: equation (8.7)."""
    values, vectors = xp.linalg.eigh(a[0])
    if _is_constant(a, order) or not values.shape[-1]:
        return EighResult(Series([values]), Series([vectors]))
    eye = _eye(xp, values[..., None, :] * values[..., :, None])
    gaps = values[..., None, :] - values[..., :, None]
    scale = xp.max(xp.abs(values), axis=-1)[..., None, None] * (4 * xp.finfo(values.dtype).eps * a[0].shape[-1])
    if any_true(xp.logical_and(xp.abs(gaps) <= scale, eye == 0)):
        raise ValueError("eigenvalues coincide, where they are not differentiable one by one: use their sum or product")
    adjoint = _adjoint(xp, vectors)
    inverse_gaps = (1 - eye) / (gaps + eye)
    spectrum, v = [values], [vectors]
    for k in range(1, order + 1):
        rest, overlap = None, None
        for j in range(1, k + 1):
            if a[j] is not None:
                rest = add(rest, matmul(_mirrored(xp, a[j]), v[k - j]))
        for j in range(1, k):
            rest = subtract(rest, v[j] * spectrum[k - j][..., None, :])
            overlap = add(overlap, xp.sum((xp.conj(v[j]) if is_complex(v[j]) else v[j]) * v[k - j], axis=-2))
        coupled = matmul(adjoint, xp.zeros_like(a[0]) if rest is None else rest)
        diagonal = xp.sum(coupled * eye, axis=-2)
        spectrum.append(xp.real(diagonal) if is_complex(diagonal) else diagonal)
        turned = coupled * inverse_gaps
        if overlap is not None:
            turned = turned - eye * overlap[..., None, :] / 2
        v.append(matmul(vectors, turned))
    return EighResult(Series(spectrum), Series(v))


def _fourier(name: str) -> Callable[..., Series]:
    """Linear, so every coefficient by itself."""

    def rule(xp: Any, order: int, u: Series, /, *args: Any, **kwargs: Any) -> Series:
        if unknown := kwargs.keys() - {"n", "axis", "s", "axes", "norm"}:
            raise without_options(name, sorted(unknown))
        function = function_of(xp, name)
        return mapped(lambda c: function(c, *args, **kwargs), u)

    return rule


LINALG: dict[str, Callable[..., Any]] = {
    "linalg.cholesky": _cholesky,
    "linalg.det": _det,
    "linalg.eigh": _eigh,
    "linalg.eigvalsh": lambda xp, order, a: _eigh(xp, order, a).eigenvalues,
    "linalg.inv": _inv,
    "linalg.qr": _qr,
    "linalg.slogdet": _slogdet,
    "linalg.solve": _solve,
    **{
        f"fft.{name}": _fourier(f"fft.{name}")
        for name in "fft ifft fftn ifftn rfft irfft rfftn irfftn hfft ihfft fftshift ifftshift".split()  # noqa: SIM905
    },
}
"""Name in the array namespace → rule."""
