"""The transposes of linear algebra and Fourier transforms.

Floor 3: rules as in ``transposes``, which takes them over. From x = A⁻¹b, d x = A⁻¹(d b − d A x), equation (8.8) of
``docs/theory.md`` and those after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ntaylor.array_object import ArrayObject, apply, function_of, refuse_complex, unwrapped_namespace
from ntaylor.dispatch import adapter_for
from ntaylor.namespace import any_true, sum_to_shape

__all__ = ["LINALG_TRANSPOSES", "eigh_transposed", "gram_root", "qr_transposed", "root_of_gram"]

Array = Any
Transpose = Callable[[Array], Array]
Rule = tuple[Array, list[Transpose]]


def _solve(xp: Any, a: Any, b: Any) -> Rule:
    """b̄ = A⁻ᵀ x̄ and Ā = −b̄ xᵀ, equation (8.8)."""
    x = xp.linalg.solve(a, b)
    vector = b.ndim == 1

    def of_columns(y: Array) -> Array:
        return xp.linalg.solve(xp.matrix_transpose(a), y[..., None] if vector else y)

    def to_a(y: Array) -> Array:
        columns = x[..., None] if vector else x
        return sum_to_shape(-(of_columns(y) @ xp.matrix_transpose(columns)), a.shape)

    def to_b(y: Array) -> Array:
        columns = of_columns(y)
        return sum_to_shape(columns[..., 0] if vector else columns, b.shape)

    return x, [to_a, to_b]


def _inv(xp: Any, a: Any) -> Rule:
    """Ā = −Xᵀ X̄ Xᵀ, equation (8.9)."""
    x = xp.linalg.inv(a)
    return x, [lambda y: -(xp.matrix_transpose(x) @ y @ xp.matrix_transpose(x))]


def _det(xp: Any, a: Any) -> Rule:
    """Ā = d̄ det A · A⁻ᵀ, equation (8.10)."""
    value = xp.linalg.det(a)
    if any_true(value == 0):
        raise ValueError("the gradient of det of a singular matrix is not made here: keep away from it, or use a jet")
    return value, [lambda y: (y * value)[..., None, None] * xp.matrix_transpose(xp.linalg.inv(a))]


def _cholesky(xp: Any, a: Any, *, upper: bool = False) -> Rule:
    """The lower triangle of S + Sᵀ, with S = L⁻ᵀ φ(Lᵀ L̄) L⁻¹, equation (8.11)."""
    refuse_complex("cholesky", a)
    if upper:
        a = xp.matrix_transpose(a)
    low = xp.linalg.cholesky(a)

    def transpose(y: Array) -> Array:
        inverse = xp.linalg.inv(low)
        of_low = xp.matrix_transpose(low) @ (xp.matrix_transpose(y) if upper else y)
        half = xp.tril(of_low, k=-1) + xp.tril(xp.triu(of_low)) / 2
        full = xp.matrix_transpose(inverse) @ half @ inverse
        full = (full + xp.matrix_transpose(full)) / 2
        # Only one triangle was read; its entries stand for those mirrored in it.
        read = 2 * xp.tril(full, k=-1) + xp.tril(xp.triu(full))
        return xp.matrix_transpose(read) if upper else read

    return xp.matrix_transpose(low) if upper else low, [transpose]


def _eigvalsh(xp: Any, a: Any) -> Rule:
    """The lower triangle of 2 V λ̄ Vᵀ, equation (8.12)."""
    refuse_complex("eigvalsh", a)
    values, vectors = xp.linalg.eigh(a)

    def transpose(y: Array) -> Array:
        full = (vectors * y[..., None, :]) @ xp.matrix_transpose(vectors)
        return 2 * xp.tril(full, k=-1) + xp.tril(xp.triu(full))

    return values, [transpose]


def eigh_transposed(xp: Any, found: Any, of_values: Any, of_vectors: Any) -> Array:
    """The lower triangle of S + Sᵀ, S = V (diag λ̄ + (Vᵀ V̄) / (λ_j − λ_i)) Vᵀ, equation (8.13)."""
    values, vectors = found
    gaps = values[..., None, :] - values[..., :, None]
    eye = xp.tril(xp.triu(xp.ones_like(gaps)))
    inner = xp.zeros_like(gaps) if of_values is None else eye * of_values[..., None, :]
    if of_vectors is not None and values.shape[-1]:
        scale = xp.max(xp.abs(values), axis=-1)[..., None, None] * (4 * xp.finfo(values.dtype).eps * values.shape[-1])
        if any_true(xp.logical_and(xp.abs(gaps) <= scale, eye == 0)):
            raise ValueError("eigenvalues coincide, where eigenvectors have no gradient: use the eigenvalues alone")
        inner = inner + (xp.matrix_transpose(vectors) @ of_vectors) * ((1 - eye) / (gaps + eye))
    full = vectors @ inner @ xp.matrix_transpose(vectors)
    full = (full + xp.matrix_transpose(full)) / 2
    return 2 * xp.tril(full, k=-1) + xp.tril(xp.triu(full))


def qr_transposed(xp: Any, found: Any, of_q: Any, of_r: Any) -> Array:
    """Ā = (Q̄ + Q (M + Mᵀ below its diagonal)) R⁻ᵀ with M = R R̄ᵀ − Q̄ᵀ Q, equation (8.14)."""
    q, r = found
    if any_true(xp.sum(xp.tril(xp.triu(r)), axis=-2) == 0):
        raise ValueError("qr of a matrix whose columns are dependent has no gradient there")
    middle = None if of_r is None else r @ xp.matrix_transpose(of_r)
    if of_q is not None:
        rest = xp.matrix_transpose(of_q) @ q
        middle = -rest if middle is None else middle - rest
    below = xp.tril(middle, k=-1)
    mirrored = below + xp.matrix_transpose(below) + xp.tril(xp.triu(middle))
    whole = q @ mirrored if of_q is None else of_q + q @ mirrored
    return xp.matrix_transpose(xp.linalg.solve(r, xp.matrix_transpose(whole)))


def _resized(xp: Any, y: Array, length: int, axis: int) -> Array:
    """The transpose of cutting off, or filling up with zeros, an axis that had ``length``."""
    axis %= y.ndim
    if y.shape[axis] >= length:
        return y[(*(slice(None),) * axis, slice(0, length), ...)]
    missing = tuple(length - n if i == axis else n for i, n in enumerate(y.shape))
    return xp.concat([y, xp.broadcast_to(xp.sum(y * 0), missing)], axis=axis)


def _fourier(name: str) -> Callable[..., Rule]:
    """The matrix of a discrete Fourier transform is its own transpose."""

    def rule(xp: Any, a: Any, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Rule:
        transform = function_of(xp, name)

        def transpose(y: Array) -> Array:
            return _resized(xp, transform(y, axis=axis, norm=norm), a.shape[axis], axis)

        return transform(a, n=n, axis=axis, norm=norm), [transpose]

    return rule


def _fourier_of_many(name: str) -> Callable[..., Rule]:
    def rule(xp: Any, a: Any, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Rule:
        if s is not None and axes is None:
            axes = tuple(range(a.ndim - len(s), a.ndim))
        transform = function_of(xp, name)

        def transpose(y: Array) -> Array:
            back = transform(y, axes=axes, norm=norm)
            for axis in axes if s is not None else ():
                back = _resized(xp, back, a.shape[axis], axis)
            return back

        return transform(a, s=s, axes=axes, norm=norm), [transpose]

    return rule


def _rfft(xp: Any, a: Any, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Rule:
    length = a.shape[axis] if n is None else n

    def transpose(y: Array) -> Array:
        full = xp.fft.fft(_resized(xp, y, length, axis), axis=axis, norm=norm)
        return _resized(xp, xp.real(full), a.shape[axis], axis)

    return xp.fft.rfft(a, n=n, axis=axis, norm=norm), [transpose]


def _irfft(xp: Any, a: Any, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Rule:
    length = 2 * (a.shape[axis] - 1) if n is None else n
    factor = {"backward": 1 / length, "ortho": 1 / math.sqrt(length), "forward": 1.0}[norm]

    def transpose(y: Array) -> Array:
        # Each coefficient but those at 0 and at half the length stands for its conjugate as well.
        half = xp.conj(xp.fft.rfft(y, axis=axis)) * factor
        along = axis % y.ndim
        before = (slice(None),) * along
        last = half.shape[along] - (length + 1) % 2
        parts = [half[(*before, slice(0, 1), ...)], 2 * half[(*before, slice(1, last), ...)]]
        doubled = xp.concat([*parts, half[(*before, slice(last, None), ...)]], axis=along)
        return _resized(xp, doubled, a.shape[axis], axis)

    return xp.fft.irfft(a, n=n, axis=axis, norm=norm), [transpose]


def _shift(name: str, back: str) -> Callable[..., Rule]:
    def rule(xp: Any, a: Any, *, axes: Any = None) -> Rule:
        return function_of(xp, name)(a, axes=axes), [lambda y: function_of(xp, back)(y, axes=axes)]

    return rule


def gram_root(a: Any) -> Any:
    """T (h, h) with TᵀT = aᵀa for a (R, h): equation (10.4), differentiable to any order by a where a is.

    Its derivative is Ṫ = T⁻ᵀaᵀȧ. That of the operations it is made of differs from it by a rotation of the rows, which
    is nothing to a Gram matrix but is infinite where singular values meet.
    """
    if isinstance(a, ArrayObject) and type(a)._has_rule("gram_root"):
        return apply("gram_root", (a,), {})
    own = adapter_for(a).gram_root
    return root_of_gram(unwrapped_namespace([a]), a) if own is None else own(a)


def root_of_gram(xp: Any, a: Array) -> Array:
    """T = √λ Uᵀ with aᵀa = U λ Uᵀ: eigenvalues are kept as far from 0 as they are uncertain, so T has an inverse."""
    values, vectors = xp.linalg.eigh(a.T @ a)
    limits = xp.finfo(a.dtype)
    least = xp.max(xp.abs(values)) * limits.eps + limits.smallest_normal
    return xp.sqrt(xp.where(values > least, values, least))[:, None] * vectors.T


def _gram_root(xp: Any, a: Any) -> Rule:
    root = gram_root(a)
    return root, [lambda y: a @ xp.linalg.solve(root, y)]


LINALG_TRANSPOSES: dict[str, Callable[..., Rule]] = {
    "gram_root": _gram_root,
    "fft.fft": _fourier("fft.fft"),
    "fft.fftn": _fourier_of_many("fft.fftn"),
    "fft.fftshift": _shift("fft.fftshift", "fft.ifftshift"),
    "fft.ifft": _fourier("fft.ifft"),
    "fft.ifftn": _fourier_of_many("fft.ifftn"),
    "fft.ifftshift": _shift("fft.ifftshift", "fft.fftshift"),
    "fft.irfft": _irfft,
    "fft.rfft": _rfft,
    "linalg.cholesky": _cholesky,
    "linalg.det": _det,
    "linalg.eigvalsh": _eigvalsh,
    "linalg.inv": _inv,
    "linalg.solve": _solve,
}
"""Name in the array namespace → rule."""
