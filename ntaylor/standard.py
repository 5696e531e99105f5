"""The names of the array API standard and of NumPy, and what each is to our array objects: data only.

Floor 0: names, and what to write instead of those that have no rule. A name of an extension is dotted,
``linalg.solve``. ``tests/test_standard.py`` walks the standard's namespaces and finds every name here, in a rule
table, or nowhere, which is an error.
"""

from __future__ import annotations

__all__ = [
    "BY_NAME",
    "CONSTANT",
    "EXTENSIONS",
    "INSTEAD",
    "MAKERS",
    "NUMPY_CONSTANT",
    "NUMPY_METHODS",
    "NUMPY_NAMES",
    "NUMPY_OPTIONS",
    "PASSED_THROUGH",
    "REFUSED",
    "SHARED",
    "UFUNC_METHODS",
]

CONSTANT = frozenset(
    """ceil floor floor_divide round sign signbit trunc isfinite isinf isnan less less_equal greater greater_equal
    equal not_equal logical_and logical_not logical_or logical_xor all any argmax argmin argsort count_nonzero
    isin nonzero searchsorted zeros_like ones_like empty_like result_type linalg.matrix_rank""".split()  # noqa: SIM905 one name a line reads worse
)
"""Operations that are locally constant: their result is a plain array, whatever their arguments depend on."""

NUMPY_NAMES = {
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
    "around": "round",
    "concatenate": "concat",
    "conjugate": "conj",
    "cross": "linalg.cross",
    "cumprod": "cumulative_prod",
    "cumsum": "cumulative_sum",
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
"""NumPy's names that differ from the standard's."""

NUMPY_OPTIONS = {"a_min": "min", "a_max": "max", "ddof": "correction"}
"""NumPy's options that differ from the standard's."""

NUMPY_CONSTANT = frozenset(
    """allclose argwhere array_equal can_cast digitize flatnonzero isclose iscomplex iscomplexobj isreal
    isrealobj""".split()  # noqa: SIM905
)
"""NumPy's own functions that are locally constant."""

NUMPY_METHODS = frozenset(
    """all any argmax argmin argsort cumprod cumsum diagonal nonzero ptp repeat round searchsorted swapaxes take
    trace""".split()  # noqa: SIM905
)
"""Methods of NumPy's arrays that are its functions of the same name and arguments."""

UFUNC_METHODS = {
    ("add", "accumulate"): "cumsum",
    ("add", "reduce"): "sum",
    ("maximum", "reduce"): "max",
    ("minimum", "reduce"): "min",
    ("multiply", "accumulate"): "cumprod",
    ("multiply", "reduce"): "prod",
}
"""Methods of NumPy's ufuncs that are functions of whole arrays, over axis 0 unless said."""

BY_NAME = frozenset(
    """axis axes dtype out keepdims order mode n prepend append initial where ddof correction copy subok include_initial
    mean like kind stable sorter side s indexing descending k UPLO""".split()  # noqa: SIM905
)
"""Options that NumPy takes by position too: they go on by name, so that none is taken for another or lost."""

INSTEAD = {
    "UPLO": "pass the adjoint, np.conj(a.mT), whose lower triangle is read",
    "append": "join it on first with xp.concat",
    "dtype": "use xp.astype",
    "include_initial": "put zeros in front with xp.concat",
    "initial": "add it to the sum, or take xp.maximum or xp.minimum with it, afterwards",
    "mode": "bring the indices into range first",
    "order": 'for order="F" reshape in reversed order between two transposes, xp.reshape(a.T, shape[::-1]).T',
    "out": "use what is returned, r = r + u",
    "prepend": "join it on first with xp.concat",
    "where": "select first with xp.where(mask, a, 0.0), or a[mask]",
}
"""Option → what to write instead of it, for options that no rule takes."""

PASSED_THROUGH = frozenset(
    """e inf nan newaxis pi isdtype __array_api_version__ __array_namespace_info__
    bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128
    """.split()  # noqa: SIM905
)
"""What a namespace offers that takes no arrays: it is the underlying library's."""

MAKERS = frozenset(
    """arange asarray broadcast_shapes can_cast empty eye fft.fftfreq fft.rfftfreq finfo from_dlpack full iinfo linspace
    ones tri zeros""".split()  # noqa: SIM905
)
"""What makes arrays or answers questions: the underlying library's, unless one of our objects is an argument."""

EXTENSIONS = {
    "linalg": frozenset(
        """matmul matrix_transpose tensordot vecdot outer vector_norm norm
        cholesky cross det diagonal eig eigh eigvals eigvalsh inv matrix_norm matrix_power matrix_rank pinv qr slogdet
        solve svd svdvals trace""".split()  # noqa: SIM905
    ),
    "fft": frozenset(
        """fft ifft fftn ifftn rfft irfft rfftn irfftn hfft ihfft fftfreq rfftfreq fftshift ifftshift""".split()  # noqa: SIM905
    ),
}
"""Extension → its names."""

SHARED = frozenset("matmul matrix_transpose norm outer tensordot vecdot vector_norm".split())  # noqa: SIM905
"""Of the extensions' names those whose rule has an undotted name: some library has them in its main namespace."""

_INTEGERS = "it takes integers or booleans, which have no derivative: make masks with comparisons of xp.… first"
_COUNTS = "how many values there are depends on the values: sort with xp.sort, or apply it to u.primal"
_EIGENVALUES = "it has no derivative where values meet: use xp.linalg.eigvalsh of the symmetric a.mT @ a"

REFUSED = {
    **dict.fromkeys(
        """bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor""".split(),  # noqa: SIM905
        _INTEGERS,
    ),
    **dict.fromkeys(("unique_all", "unique_counts", "unique_inverse", "unique_values"), _COUNTS),
    "arange": "its length depends on its arguments: write start + step * xp.arange(n)",
    "eye": "it takes sizes, which have no derivative",
    "from_dlpack": "a buffer holds values only: export u.coefficients",
    "nextafter": "the neighbour of a number is a matter of its bits, not of calculus: apply it to u.primal",
    "linalg.eig": "of a general matrix; for a symmetric one use xp.linalg.eigh",
    "linalg.eigvals": "of a general matrix; for a symmetric one use xp.linalg.eigvalsh",
    "linalg.pinv": "it jumps where the rank does: for full column rank write xp.linalg.solve(a.mT @ a, a.mT)",
    "linalg.svd": _EIGENVALUES,
    "linalg.svdvals": _EIGENVALUES,
}
"""Names that have no rule → why, and what to write instead. What is not here is refused without a reason."""
