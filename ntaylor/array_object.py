"""An object of the array API standard whose every operation goes through one rule table.

Floor 1: knows the standard's names and nothing of what the rules compute. ``Jet`` and ``Variable`` are
both such objects: operators, ``xp.sin(a)`` for the namespace the object names, and NumPy's
``np.sin(a)`` and ``np.mean(a)`` all arrive at the same rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ntaylor.namespace import MissingRule, array_namespace

__all__ = ["ArrayObject", "Namespace", "apply", "objects_in", "unwrapped_namespace"]

# NumPy's names that differ from the standard's.
_NUMPY_NAMES = {
    "absolute": "abs",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "amax": "max",
    "amin": "min",
    "concatenate": "concat",
    "expit": "sigmoid",
    "float_power": "pow",
    "fabs": "abs",
    "invert": "bitwise_invert",
    "power": "pow",
    "rint": "round",
    "round_": "round",
    "transpose": "permute_dims",
    "true_divide": "divide",
}

# What a namespace offers that does not take one of our objects: it is the underlying library's.
_PASSED_THROUGH = frozenset(
    """e inf nan newaxis pi
    bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128
    arange empty eye full linspace meshgrid ones tri zeros
    can_cast finfo iinfo isdtype from_dlpack __array_api_version__ __array_namespace_info__""".split()
)


def objects_in(values: Any) -> Iterator[ArrayObject]:
    """The ArrayObjects among ``values``, looking into lists and tuples."""
    for value in values:
        if isinstance(value, ArrayObject):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from objects_in(value)


def apply(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the rule ``name`` of the outermost kind of object among the arguments.

    Without any object among them it is the underlying library's own function.
    """
    objects = list(objects_in((*args, *kwargs.values())))
    if not objects:
        return getattr(array_namespace(*args), name)(*args, **kwargs)
    kind = type(max(objects, key=lambda a: a._precedence))
    if not kind._has_rule(name):
        raise MissingRule(kind._missing(name))
    return kind._apply(name, args, kwargs)


def unwrapped_namespace(values: Any) -> Any:
    """The namespace to compute in on ``values``, arrays and objects of lower precedence mixed."""
    values = [v for v in values if hasattr(v, "shape")]
    objects = list(objects_in(values))
    if objects:
        return max(objects, key=lambda a: a._precedence).__array_namespace__()
    return array_namespace(*values)


class Namespace:
    """What ``x.__array_namespace__()`` returns: the rules of one kind of object over one library."""

    def __init__(self, kind: type[ArrayObject], base: Any):
        self._kind = kind
        self._base = base
        self.__name__ = f"{kind.__module__}.namespace[{base.__name__}]"

    def __getattr__(self, name: str) -> Any:
        kind, base = self.__dict__["_kind"], self.__dict__["_base"]
        if name in _PASSED_THROUGH:
            return getattr(base, name)
        if kind._has_rule(name):
            return lambda *args, **kwargs: apply(name, args, kwargs)
        if name.startswith("__"):
            raise AttributeError(name)
        raise MissingRule(kind._missing(name))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Namespace) and (self._kind, self._base) == (other._kind, other._base)

    def __hash__(self) -> int:
        return hash((self._kind, id(self._base)))

    def __repr__(self) -> str:
        return f"<namespace {self.__name__}>"


class ArrayObject:
    """Operators and protocols; subclasses give ``_apply``, ``_has_rule``, ``_missing`` and ``_like``."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    _precedence = 0
    """Of two kinds in one operation the higher one's rule is used; it treats the other as an array."""

    @classmethod
    def _apply(cls, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError

    @classmethod
    def _has_rule(cls, name: str) -> bool:
        raise NotImplementedError

    @classmethod
    def _missing(cls, name: str) -> str:
        raise NotImplementedError

    @property
    def _like(self) -> Any:
        """The underlying array that has this object's shape, dtype and device."""
        raise NotImplementedError

    def __array_namespace__(self, *, api_version: str | None = None) -> Namespace:
        return Namespace(type(self), array_namespace(self._like))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._like.shape)

    @property
    def ndim(self) -> int:
        return int(self._like.ndim)

    @property
    def size(self) -> Any:
        return self._like.size

    @property
    def dtype(self) -> Any:
        return self._like.dtype

    @property
    def device(self) -> Any:
        return self._like.device

    @property
    def T(self) -> Any:
        return apply("permute_dims", (self, tuple(reversed(range(self.ndim)))), {})

    @property
    def mT(self) -> Any:
        return apply("matrix_transpose", (self,), {})

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"len() of a 0-d {type(self).__name__}")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError(f"iteration over a 0-d {type(self).__name__}")
        return iter(apply("unstack", (self,), {}))

    def __getitem__(self, key: Any) -> Any:
        return apply("getitem", (self, key), {})

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            f"a {type(self).__name__} cannot be assigned to in place: build the result with xp.where, "
            "xp.stack or xp.concat instead"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = ufunc.__name__
        if method != "__call__" or kwargs:
            asked = f"np.{name}.{method}" if method != "__call__" else f"np.{name}({', '.join(kwargs)}=…)"
            raise MissingRule(self._missing(asked))
        return self._numpy_call(name, inputs, {})

    def __array_function__(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._numpy_call(func.__name__, args, kwargs)

    def _numpy_call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = _NUMPY_NAMES.get(name, name)
        if name == "permute_dims" and len(args) == 1 and not kwargs:
            return self.T
        return apply(name, args, kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"a {type(self).__name__} was about to become a plain NumPy array, which would lose its "
            "derivatives: use functions of the array API (xp.…, np.…) on it, not np.asarray or list()"
        )

    def _to_number(self, kind: str) -> Any:
        raise TypeError(
            f"a {type(self).__name__} was about to become a Python {kind}, which would lose its "
            "derivatives: keep it an array, and write choices with xp.where"
        )

    def __float__(self) -> float:
        return self._to_number("float")  # type: ignore[no-any-return]

    def __int__(self) -> int:
        return self._to_number("int")  # type: ignore[no-any-return]

    def __complex__(self) -> complex:
        return self._to_number("complex")  # type: ignore[no-any-return]

    def __bool__(self) -> bool:
        return self._to_number("bool")  # type: ignore[no-any-return]

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        return apply("mean", (self,), {"axis": axis, "keepdims": keepdims})

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        return apply("sum", (self,), {"axis": axis, "keepdims": keepdims})

    def reshape(self, *shape: Any) -> Any:
        return apply("reshape", (self, shape[0] if len(shape) == 1 and shape[0] != -1 else shape), {})


def _operator(name: str, swapped: bool = False) -> Callable[..., Any]:
    def method(self: ArrayObject, *others: Any) -> Any:
        if any(isinstance(other, (str, list, tuple, dict)) for other in others):
            return NotImplemented
        return apply(name, (*others, self) if swapped else (self, *others), {})

    return method


for _name, _rule in {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "pow": "pow",
    "matmul": "matmul",
    "floordiv": "floor_divide",
    "mod": "remainder",
}.items():
    setattr(ArrayObject, f"__{_name}__", _operator(_rule))
    setattr(ArrayObject, f"__r{_name}__", _operator(_rule, swapped=True))
for _name, _rule in {
    "neg": "negative",
    "pos": "positive",
    "abs": "abs",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}.items():
    setattr(ArrayObject, f"__{_name}__", _operator(_rule))
