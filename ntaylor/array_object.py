"""An object of the array API standard whose every operation goes through one rule table.

Floor 1: knows the standard's names and nothing of what the rules compute. ``Jet`` and ``Variable`` are
both such objects: operators, ``xp.sin(a)`` for the namespace the object names, and NumPy's
``np.sin(a)`` and ``np.mean(a)`` all arrive at the same rule.

Objects nest: a jet's coefficients may be variables of a gradient, a variable's value may be a jet, and
so on to any depth. Every call that starts a differentiation numbers its objects with a new *level*. In
an operation on several objects the highest level's rule is used, and to it all others are plain
arrays; that keeps apart derivatives with respect to different variables.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

from ntaylor.array_methods import ArrayMethods
from ntaylor.namespace import MissingRule, array_namespace, is_array, is_complex
from ntaylor.standard import (
    BY_NAME,
    EXTENSIONS,
    INSTEAD,
    MAKERS,
    NUMPY_NAMES,
    NUMPY_OPTIONS,
    PASSED_THROUGH,
    SHARED,
)

__all__ = [
    "HELD",
    "ArrayObject",
    "Extension",
    "Namespace",
    "apply",
    "call_rule",
    "check_floating_sum",
    "function_of",
    "innermost",
    "new_level",
    "objects_in",
    "refuse_complex",
    "unwrapped_namespace",
    "whole_number",
    "without_options",
]

_levels = itertools.count(1)


def new_level() -> float:
    """The level of a differentiation that starts now, above those that are under way."""
    return next(_levels)


# torch.compile keeps the number it gets: what it compiles need not be compiled anew because the count went on.
new_level._dynamo_marked_constant = True  # type: ignore[attr-defined]

HELD = math.inf
"""The level of jets that the caller holds, made by hand or returned: all in one t, outside of all others."""


def objects_in(values: Any) -> Iterator[ArrayObject]:
    """The ArrayObjects among ``values``, looking into lists and tuples."""
    for value in values:
        if isinstance(value, ArrayObject):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from objects_in(value)


def _highest(values: Any) -> ArrayObject | None:
    """The object of the highest level among ``values``; of one level's, that of a subclass, such as an adapter's.

    A loop, because torch.compile cannot follow ``max`` with a key and a default.
    """
    top = None
    for a in objects_in(values):
        if top is None or a.level > top.level or (a.level == top.level and issubclass(type(a), type(top))):
            top = a
    return top


def apply(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the rule ``name`` of the object of the highest level among the arguments.

    Without any object among them it is the underlying library's own function.
    """
    top = _highest((*args, *kwargs.values()))
    if top is None:
        return function_of(unwrapped_namespace((args, list(kwargs.values()))), name)(*args, **kwargs)
    kind = type(top)
    if not kind._has_rule(name):
        raise MissingRule(kind._missing(name))
    return kind._apply(name, args, kwargs, top.level)


def function_of(xp: Any, name: str) -> Any:
    """``xp.name``, where the name may be dotted, as ``linalg.solve``."""
    extension, _, own = name.rpartition(".")
    return getattr(getattr(xp, extension) if extension else xp, own)


def call_rule(name: str, rule: Callable[..., Any], first: tuple[Any, ...], args: Any, options: dict[str, Any]) -> Any:
    """``rule(*first, *args, **options)``; a MissingRule that names the options where the rule does not take them."""
    try:
        return rule(*first, *args, **options)
    except TypeError:
        try:
            signature = inspect.signature(rule)
        except ValueError:
            signature = None
        if signature is None or _fits(signature, (*first, *args), options):
            raise
        unknown = [key for key in options if key not in list(signature.parameters)[len(first) :]]
    if unknown:
        raise without_options(name, unknown)
    raise MissingRule(
        f"no rule for {name} with these arguments: it takes {_arguments_after(signature, len(first))}; pass options by "
        "name"
    )


def _fits(signature: inspect.Signature, args: tuple[Any, ...], options: dict[str, Any]) -> bool:
    try:
        signature.bind(*args, **options)
    except TypeError:
        return False
    return True


def _arguments_after(signature: inspect.Signature, first: int) -> str:
    kept = list(signature.parameters.values())[first:]
    return ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in kept) or "no arguments"


def check_floating_sum(name: str, result: Any) -> Any:
    """``result`` of a sum that was asked for in some dtype; refused unless floating, for it has no derivative then."""
    if not array_namespace(result).isdtype(result.dtype, ("real floating", "complex floating")):
        raise without_options(name, ["dtype"])
    return result


def without_options(name: str, options: Any) -> MissingRule:
    """An error for options that an operation has no rule for, with what to write instead."""
    instead = "; ".join(INSTEAD[key] for key in options if key in INSTEAD)
    return MissingRule(
        f"no rule for {name}({', '.join(f'{key}=…' for key in options)}) on jets and in gradients: "
        f"leave {' and '.join(options)} out{', and ' + instead if instead else ''}"
    )


@functools.cache
def _numpy_parameters(function: Callable[..., Any]) -> dict[str, Any] | None:
    """Name → default of the arguments of a NumPy function, if it says."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # compiled, in NumPy before 2.4
        return {"arrays": None, "axis": 0, "out": None} if function.__name__ == "concatenate" else None
    return None if any(p.kind is p.VAR_POSITIONAL for p in parameters) else {p.name: p.default for p in parameters}


def _options_by_name(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The arguments of a NumPy function, with options by name, and without those that have NumPy's default."""
    parameters = _numpy_parameters(function)
    if parameters is None or len(args) > len(parameters):
        return args, kwargs
    names = list(parameters)[: len(args)]
    place = next((i for i, key in enumerate(names) if i and key in BY_NAME), len(args))
    named = dict(zip(names[place:], args[place:], strict=True)) | kwargs

    def is_default(key: str, value: Any) -> bool:
        default = parameters.get(key, inspect.Parameter.empty)
        return value is default or (isinstance(value, (str, bool)) and isinstance(default, str) and value == default)

    return args[:place], {key: value for key, value in named.items() if not is_default(key, value)}


def innermost(value: Any) -> Any:
    """The array of a library inside objects of any level; anything else as it is."""
    while isinstance(value, ArrayObject):
        value = value._like
    return value


def _plain_key(key: Any, array: Any) -> Any:
    """An index with lists as arrays and NumPy's integers as Python's."""
    if isinstance(key, tuple):
        return tuple(_plain_key(part, array) for part in key)
    if isinstance(key, list):
        xp = array_namespace(array)
        return xp.asarray(key, **({} if key else {"dtype": xp.int64}), device=getattr(array, "device", None))
    return whole_number(key)


def refuse_complex(name: str, *values: Any) -> None:
    """TypeError if any of the values is complex, for an operation whose rule is right for real ones only."""
    if any(isinstance(v, complex) or is_complex(v) for v in values):
        raise TypeError(
            f"{name} of a complex array has no derivative here: pass real arrays, such as xp.real(z), xp.imag(z) "
            "or xp.abs(z)"
        )


def whole_number(value: Any) -> Any:
    """A 0-d integer array, such as np.int64(2), as the Python int; anything else as it is.

    Whole powers hold at u <= 0 too, and are told from others by their type.
    """
    if is_array(value) and value.ndim == 0 and array_namespace(value).isdtype(value.dtype, "integral"):
        return int(value)
    return value


def unwrapped_namespace(values: Any) -> Any:
    """The namespace to compute in on ``values``: arrays and objects of any level, in nested lists.

    It is that of the highest level's object, whose rules take all the others as arrays.
    """
    top = _highest(values)
    return array_namespace(*_arrays_in(values)) if top is None else top.__array_namespace__()


def _arrays_in(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _arrays_in(value)
        elif is_array(value):
            yield value


class Namespace:
    """What ``x.__array_namespace__()`` returns: the rules of one kind of object over one library."""

    def __init__(self, kind: type[ArrayObject], base: Any):
        self._kind = kind
        self._base = base
        self.__name__ = f"{kind.__module__}.namespace[{base.__name__}]"

    def __getattr__(self, name: str) -> Any:
        kind, base = self.__dict__["_kind"], self.__dict__["_base"]
        if name in PASSED_THROUGH:
            return getattr(base, name)
        if name in EXTENSIONS:
            return Extension(kind, base, name)
        if name in MAKERS or kind._has_rule(name):
            return _operation(name, base)
        if name.startswith("__"):
            raise AttributeError(name)
        raise MissingRule(kind._missing(name))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Namespace) and (self._kind, self._base) == (other._kind, other._base)

    def __hash__(self) -> int:
        return hash((self._kind, id(self._base)))

    def __repr__(self) -> str:
        return f"<namespace {self.__name__}>"


class Extension:
    """``xp.linalg`` or ``xp.fft`` of such a namespace, whether the library has it or not."""

    def __init__(self, kind: type[ArrayObject], base: Any, extension: str):
        self._kind = kind
        self._base = base
        self._extension = extension

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        kind, rule = self.__dict__["_kind"], _rule_name(self.__dict__["_extension"], name)
        if rule in MAKERS or kind._has_rule(rule):
            return _operation(rule, self.__dict__["_base"])
        raise MissingRule(kind._missing(rule))

    def __repr__(self) -> str:
        return f"<extension {self._extension} of namespace {Namespace(self._kind, self._base).__name__}>"


def _rule_name(extension: str, name: str) -> str:
    return name if name in SHARED else f"{extension}.{name}"


def _operation(name: str, base: Any) -> Callable[..., Any]:
    def operate(*args: Any, **kwargs: Any) -> Any:
        if _highest((*args, *kwargs.values())) is None:  # plain arrays, and numbers that tell no library
            return function_of(base, name)(*args, **kwargs)
        if name in ("can_cast", "finfo", "iinfo"):  # of the dtype alone
            return function_of(base, name)(*map(innermost, args), **kwargs)
        return apply(name, args, kwargs)

    return operate


class ArrayObject(ArrayMethods):
    """Attributes and protocols; subclasses give ``_apply``, ``_has_rule``, ``_missing`` and ``_like``."""

    __slots__ = ()

    level: float

    @staticmethod
    def _call(name: str, *args: Any, **options: Any) -> Any:
        return apply(name, args, options)

    @classmethod
    def _apply(cls, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], level: float) -> Any:
        """The rule ``name`` on arguments of which those of ``level`` are objects of this kind."""
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

    def _mapped(self, function: Callable[[Any], Any]) -> Any:
        """With ``function`` applied to the arrays it holds; itself if they are not for others to change."""
        return self

    def __array_namespace__(self, *, api_version: str | None = None) -> Namespace:
        return Namespace(type(self), array_namespace(self._like))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the underlying array."""
        return tuple(self._like.shape)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return int(self._like.ndim)

    @property
    def size(self) -> Any:
        """The number of entries."""
        return math.prod(self.shape)  # size of a torch tensor is a method

    @property
    def dtype(self) -> Any:
        """The dtype of the underlying array."""
        return self._like.dtype

    @property
    def device(self) -> Any:
        """The device of the underlying array."""
        return self._like.device

    def __getattr__(self, name: str) -> Any:
        if hasattr(type(self), name):
            return object.__getattribute__(self, name)  # a property that failed: its own error, not one about its name
        # Only for what is not there. Protocols are asked for by hasattr; those answers must not cost a search.
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        standard = NUMPY_NAMES.get(name, name)
        if self._has_rule(standard):
            raise MissingRule(
                f"a {type(self).__name__} has no method {name!r}: write xp.{standard}(…) with "
                f"xp = x.__array_namespace__(), or np.{name}(…)"
            )
        raise MissingRule(self._missing(name))

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"len() of a 0-d {type(self).__name__}")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError(f"iteration over a 0-d {type(self).__name__}")
        return iter(apply("unstack", (self,), {}))

    def __getitem__(self, key: Any) -> Any:
        if any(True for _ in objects_in([key])):
            raise TypeError(f"an index cannot be a {type(self).__name__}: index with integers, slices or masks")
        return apply("getitem", (self, _plain_key(key, innermost(self))), {})

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            f"a {type(self).__name__} cannot be assigned to in place: build the result with xp.where, "
            "xp.stack or xp.concat instead"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = ufunc.__name__
        if method != "__call__":
            raise MissingRule(self._missing(f"np.{name}.{method}"))
        if "out" in kwargs:
            raise MissingRule(
                f"np.{name}(out=…), as in r += u, would write a {type(self).__name__} into a plain array: "
                "write r = r + u, and build arrays with xp.stack or xp.concat"
            )
        if kwargs.keys() - {"axis"}:
            raise without_options(f"np.{name}", sorted(kwargs.keys() - {"axis"}))
        return self._numpy_call(name, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs = _options_by_name(func, args, kwargs)
        extension = str(getattr(func, "__module__", "")).removeprefix("numpy.")
        if extension in EXTENSIONS:
            return self._numpy_call(_rule_name(extension, func.__name__), args, kwargs)
        return self._numpy_call(func.__name__, args, kwargs)

    def _numpy_call(self, asked: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if asked in ("shape", "ndim", "size") and len(args) == 1 and not kwargs:
            return getattr(self, asked)
        # NumPy's way of saying it, in the standard's words.
        kwargs = {NUMPY_OPTIONS.get(key, key): value for key, value in kwargs.items()}
        if kwargs.pop("out", None) is not None:
            raise without_options(f"np.{asked}", ["out"])
        name = NUMPY_NAMES.get(asked, asked)
        if name == "permute_dims" and len(args) == 1 and kwargs.get("axes") is None:
            return self.T
        if name in ("copy", "ravel", "squeeze") and len(args) == 1 and kwargs.get("axis") is None:
            if unknown := kwargs.keys() - {"axis"}:
                raise without_options(f"np.{asked}", sorted(unknown))
            return getattr(args[0], name)()
        if asked in ("cumsum", "cumprod") and kwargs.get("axis") is None:
            args, kwargs["axis"] = (apply("reshape", (args[0], (-1,)), {}),), 0
        return apply(name, args, kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"a {type(self).__name__} was about to become a plain NumPy array, which would lose its "
            "derivatives: use functions of the array API (xp.…, np.…) on it, not np.asarray or list(); for np.array or "
            "np.sum of a list of them, write np.stack([a, b])"
        )

    def _to_number(self, kind: str) -> Any:
        raise TypeError(
            f"a {type(self).__name__} was about to become a Python {kind}, which would lose its "
            "derivatives: keep it an array, and write choices with xp.where. To print it, use f'{a:.3e}' or print the "
            "value that nt.value_and_grad returns; to keep more, let the loss return (loss, auxiliary)"
        )

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        value = innermost(self)
        if value.ndim:
            raise TypeError(
                f"a {type(self).__name__} of shape {self.shape} has no format {spec!r}: format one number of it, such "
                "as xp.mean(a)"
            )
        return format((complex if is_complex(value) else float)(value), spec)

    def __float__(self) -> float:
        return self._to_number("float")  # type: ignore[no-any-return]

    def __int__(self) -> int:
        return self._to_number("int")  # type: ignore[no-any-return]

    def __complex__(self) -> complex:
        return self._to_number("complex")  # type: ignore[no-any-return]

    def __bool__(self) -> bool:
        return self._to_number("bool")  # type: ignore[no-any-return]
