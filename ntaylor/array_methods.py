"""The operators, attributes and methods of an array, each of which is an operation of the namespace.

Floor 0: which attribute is which operation. ``ArrayObject`` says where operations go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["ArrayMethods"]


def _operator(name: str, swapped: bool = False) -> Callable[..., Any]:
    def method(self: ArrayMethods, *others: Any) -> Any:
        if any(other is None or isinstance(other, (str, list, tuple, dict)) for other in others):
            return NotImplemented
        return self._call(name, *((*others, self) if swapped else (self, *others)))

    return method


class ArrayMethods:
    """The standard's operators and attributes, NumPy's methods; subclasses give ``_call``, ``shape`` and ``ndim``."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    shape: Any
    ndim: Any

    @staticmethod
    def _call(name: str, *args: Any, **options: Any) -> Any:
        """The operation ``name`` of the namespace."""
        raise NotImplementedError

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """Where the operations are."""
        raise NotImplementedError

    @property
    def T(self) -> Any:  # noqa: N802 the standard's name
        """With the axes in reverse order."""
        return self._call("permute_dims", self, tuple(reversed(range(self.ndim))))

    @property
    def mT(self) -> Any:  # noqa: N802
        """With the last two axes swapped."""
        return self._call("matrix_transpose", self)

    @property
    def real(self) -> Any:
        """The real part; of a real array, itself."""
        return self._call("real", self)

    @property
    def imag(self) -> Any:
        """The imaginary part; of a real array, zeros."""
        return self._call("imag", self)

    # --- NumPy's methods, for functions that are written with them ---

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The mean over ``axis``, of all entries unless given."""
        return self._call("mean", self, axis=axis, keepdims=keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The product over ``axis``, of all entries unless given."""
        return self._call("prod", self, axis=axis, keepdims=keepdims)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The sum over ``axis``, of all entries unless given."""
        return self._call("sum", self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The maximum over ``axis``, of all entries unless given; follows the mean of tied entries."""
        return self._call("max", self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The minimum over ``axis``, of all entries unless given; follows the mean of tied entries."""
        return self._call("min", self, axis=axis, keepdims=keepdims)

    def var(self, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
        """The variance over ``axis``, of all entries unless given."""
        return self._call("var", self, axis=axis, correction=ddof, keepdims=keepdims)

    def std(self, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
        """The standard deviation over ``axis``, of all entries unless given."""
        return self._call("std", self, axis=axis, correction=ddof, keepdims=keepdims)

    def clip(self, min: Any = None, max: Any = None) -> Any:  # noqa: A002 NumPy's names
        """Between ``min`` and ``max``; at a tie it follows this object."""
        return self._call("clip", self, min, max)

    def dot(self, other: Any) -> Any:
        """The product of numbers, vectors and matrices, as ``np.dot``."""
        return self._call("dot", self, other)

    def reshape(self, *shape: Any) -> Any:
        """In another shape, given as integers or as one tuple."""
        return self._call("reshape", self, shape if isinstance(shape[0], int) else shape[0])

    def ravel(self) -> Any:
        """In one axis."""
        return self.reshape(-1)

    flatten = ravel

    def squeeze(self, axis: Any = None) -> Any:
        """Without ``axis``, an axis or axes of length 1; without all such axes unless given."""
        ones = tuple(i for i, n in enumerate(self.shape) if n == 1)
        return self._call("squeeze", self, ones if axis is None else axis)

    def transpose(self, *axes: Any) -> Any:
        """With the axes in the order given, as integers or as one tuple; in reverse order unless given."""
        if not axes or axes == (None,):
            return self.T
        return self._call("permute_dims", self, axes if isinstance(axes[0], int) else tuple(axes[0]))

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """In another dtype, or that of a name, or Python's ``float`` or ``complex``; integers are plain arrays."""
        xp = self.__array_namespace__()
        if isinstance(dtype, str):
            dtype = getattr(xp, dtype)
        elif isinstance(dtype, type) and dtype in (bool, int, float, complex):
            dtype = {bool: xp.bool, int: xp.int64, float: xp.float64, complex: xp.complex128}[dtype]
        return self._call("astype", self, dtype, copy=copy)

    def copy(self) -> Any:
        """The same values in new arrays."""
        return self._call("positive", self)

    def to_device(self, device: Any, /, *, stream: Any = None) -> Any:
        """On another device of its library."""
        return self._call("to_device", self, device)

    def conj(self) -> Any:
        """The complex conjugate; of a real array, itself."""
        return self._call("conj", self)

    conjugate = conj

    __add__, __radd__ = _operator("add"), _operator("add", swapped=True)
    __sub__, __rsub__ = _operator("subtract"), _operator("subtract", swapped=True)
    __mul__, __rmul__ = _operator("multiply"), _operator("multiply", swapped=True)
    __truediv__, __rtruediv__ = _operator("divide"), _operator("divide", swapped=True)
    __pow__, __rpow__ = _operator("pow"), _operator("pow", swapped=True)
    __matmul__, __rmatmul__ = _operator("matmul"), _operator("matmul", swapped=True)
    __floordiv__, __rfloordiv__ = _operator("floor_divide"), _operator("floor_divide", swapped=True)
    __mod__, __rmod__ = _operator("remainder"), _operator("remainder", swapped=True)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    __neg__, __pos__, __abs__ = _operator("negative"), _operator("positive"), _operator("abs")
    __lt__, __le__ = _operator("less"), _operator("less_equal")
    __gt__, __ge__ = _operator("greater"), _operator("greater_equal")
    __eq__ = _operator("equal")
    __ne__ = _operator("not_equal")
