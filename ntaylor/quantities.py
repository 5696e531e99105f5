"""Values that pass for an array of their own library, whichever library's functions are called on them.

Floor 4: an equation is written once, with ``np.sin`` or ``torch.sin`` or ``xp.sin``, and is to run on the arrays of all
libraries and on jets. So what it gets are :class:`Quantity` objects: an operation on them is that of the library of
their value, whatever door it came in by, and its result is a Quantity again. It knows nothing of derivatives.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from ntaylor import activations
from ntaylor.array_object import HELD, ArrayObject, apply, function_of, innermost, objects_in
from ntaylor.composed import COMPOSED
from ntaylor.namespace import MissingRule, array_namespace, describe, did_you_mean, is_array
from ntaylor.standard import NUMPY_NAMES

__all__ = ["Functions", "Quantity", "Repeated", "functions", "plain", "wrapped"]

Array = Any

_OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "pow": operator.pow,
    "matmul": operator.matmul,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "negative": operator.neg,
    "positive": operator.pos,
    "abs": operator.abs,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "getitem": operator.getitem,
}
"""What is an operator's is left to it: it takes Python's numbers in every library, without promoting arrays."""

_CHANGES = frozenset("byteswap fill itemset partition put requires_grad resize setflags setfield sort".split())  # noqa: SIM905
"""Methods of NumPy's arrays that write into them, and what torch's tensors have that writes without an underscore."""


class Quantity(ArrayObject):
    """A value in an equation: an array of any library, a jet, or a traced one, that takes every library's functions.

    Operators, methods, ``np.…``, ``torch.…``, ``jax.numpy.…`` and functions of the array API all compute in the library
    of the value. :func:`plain` gives the value itself.
    """

    __slots__ = ("_held",)

    level = HELD

    def __init__(self, value: Array):
        self._held = value

    @property
    def _like(self) -> Any:
        return self._held

    def _mapped(self, function: Callable[[Any], Any]) -> Any:
        return Quantity(function(self._like))

    @classmethod
    def _has_rule(cls, name: str) -> bool:
        return not name.startswith(("_", "numpy."))

    @classmethod
    def _missing(cls, name: str) -> str:
        return f"{name!r} is no operation on arrays"

    @classmethod
    def _apply(cls, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], level: float) -> Any:  # noqa: ARG003
        args, kwargs = _opened(args), _opened(kwargs)
        own = _OPERATORS.get(name)
        if own is not None and not kwargs:
            return wrapped(own(*_together(args)))
        if any(True for _ in objects_in((*args, *kwargs.values()))):
            return wrapped(apply(name, args, kwargs))
        xp = array_namespace(*_arrays(args), *_arrays(list(kwargs.values())))
        try:
            function = function_of(xp, name)
        except AttributeError:
            function = COMPOSED.get(name) or COMPOSED.get(f"numpy.{name}")
            if function is None and name in activations.names and len(args) == 1 and not kwargs:
                return wrapped(activations.get(name).push([args[0]], 0, {})[0][0])
            if function is None:
                raise MissingRule(
                    f"{xp.__name__.rpartition('.')[2]} has no function {name!r}: {did_you_mean(name, dir(xp))}write it "
                    "with functions that it has"
                ) from None
        return wrapped(function(*args, **kwargs))

    # --- the doors ---

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if "out" not in kwargs and hasattr(innermost(self), "__array_ufunc__"):
            return wrapped(getattr(ufunc, method)(*_together(_opened(inputs)), **_opened(kwargs)))
        return super().__array_ufunc__(ufunc, method, *inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if hasattr(innermost(self), "__array_function__"):
            return wrapped(func(*_opened(args), **_opened(kwargs)))
        return super().__array_function__(func, types, args, kwargs)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not any(hasattr(innermost(a), "__torch_function__") for a in objects_in(args)):  # on another library
            return apply(func.__name__, args, kwargs or {})
        return wrapped(func(*_opened(args), **_opened(kwargs or {})))

    def __jax_array__(self) -> Any:
        return self._like

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        import numpy

        return numpy.asarray(self._like, *args, **kwargs)

    def _to_number(self, kind: str) -> Any:
        return {"float": float, "int": int, "complex": complex, "bool": bool}[kind](self._like)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or hasattr(type(self), name):
            return super().__getattr__(name)
        return self._of_library(name)

    def _of_library(self, name: str) -> Any:
        """A method of the value, that gives quantities."""
        standard = NUMPY_NAMES.get(name, name)
        method = getattr(self._like, name, None)
        if name.endswith("_") or name in _CHANGES:
            raise AttributeError(
                f"{name!r} would write into a value of the equation: use what is returned, xp.{standard}(…)"
            )
        if not callable(method):
            raise AttributeError(
                f"a value in an equation, a {describe(self._like)}, has no method {name!r}; derivatives are of "
                f"fields: of what is made of them, and of inputs, write the product and the chain rule"
            )

        def called(*args: Any, **kwargs: Any) -> Any:
            return wrapped(method(*_opened(args), **_opened(kwargs)))

        return called

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._like!r})"


class Functions:
    """Functions of the array API by name, on values of any library: ``functions.sin(functions.pi * x)``.

    In an equation they do what NumPy's do, and torch.compile follows them too, which takes NumPy's functions for its
    own. Constants are pi, e, inf and nan.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in ("pi", "e", "inf", "nan"):
            return getattr(math, name)

        def function(*args: Any, **kwargs: Any) -> Any:
            return apply(NUMPY_NAMES.get(name, name), args, kwargs)

        return function


functions = Functions()


class Repeated(Quantity):
    """A number of the equation that is there once for every point: equal at all, so constant in the inputs."""

    __slots__ = ()


def plain(value: Any) -> Any:
    """The array, jet or traced array inside a quantity or a field; anything else as it is, also in tuples and dicts."""
    return _opened(value)


def wrapped(value: Any) -> Any:
    """Arrays as quantities, also in tuples and lists; anything else as it is."""
    if isinstance(value, Quantity):
        return value
    if isinstance(value, (tuple, list)):
        parts = [wrapped(v) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return Quantity(value) if is_array(value) else value


def _opened(value: Any) -> Any:
    if isinstance(value, Quantity):
        return value._like
    if isinstance(value, (tuple, list)) and type(value) in (tuple, list):
        return type(value)([_opened(v) for v in value])
    if type(value) is dict:
        return {key: _opened(v) for key, v in value.items()}
    return value


def _arrays(values: Any) -> list[Any]:
    found = []
    for value in values:
        found += _arrays(value) if isinstance(value, (tuple, list)) else [value] * is_array(value)
    return found


def _together(args: Any) -> Any:
    """Operands with NumPy's numbers as Python's, so that np.sqrt(2) * u keeps the dtype and the library of u.

    Raises TypeError for an array of NumPy's beside one of another library.
    """
    import numpy

    foreign = [a for a in args if is_array(a) and not isinstance(innermost(a), (numpy.ndarray, numpy.generic))]
    result = []
    for a in args:
        if isinstance(a, numpy.generic) or (isinstance(a, numpy.ndarray) and not a.ndim and foreign):
            a = (
                a.item()
                if isinstance(a, numpy.ndarray)
                or any(isinstance(b, ArrayObject) or is_array(b) for b in args if b is not a)
                else a
            )
        elif isinstance(a, numpy.ndarray) and foreign:
            raise TypeError(
                f"arrays of different libraries were mixed in an equation: a {describe(a)} and a "
                f"{describe(foreign[0])}; make constants of the library of the points, or pass them as keyword-only "
                "coefficients of its arrays"
            )
        result.append(a)
    return tuple(result)
