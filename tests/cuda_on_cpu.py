"""CUDA C compiled for the CPU, and a stand-in for CuPy made of it: what is tested of kernels where there is no GPU.

The text of a kernel is compiled as it is. What is not CUDA's here is the launch, a loop over blocks and threads, and
the mathematical functions, which are the C library's.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FunctionType, ModuleType

import array_api_compat.numpy
import numpy as np
import scipy.special

from ntaylor import dispatch

COMPILER = next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)
REASON = "no C++ compiler (g++, clang++ or c++) to compile kernels for the CPU with"

_PRELUDE = """
#include <math.h>
#define __global__
static struct { long long x; } gridDim, blockDim, blockIdx, threadIdx;
"""

_LAUNCH = """
extern "C" void launch_{name}(long long blocks, long long threads, {parameters}) {{
    gridDim.x = blocks; blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) {name}({arguments});
}}
"""


def compiled(texts, folder):
    """name -> launch(grid, block, arguments) for kernels that each have a text of their own, by name."""
    source = _PRELUDE
    counts = {}
    for name, text in texts.items():
        parameters = re.search(rf"void {name}\((.*?)\)", text, flags=re.DOTALL).group(1).split(",")
        counts[name] = [p.strip() for p in parameters]
        names = ", ".join(p.split()[-1] for p in parameters)
        source += text + _LAUNCH.format(name=name, parameters=", ".join(counts[name]), arguments=names)
    path = Path(folder) / "kernels.cpp"
    path.write_text(source)
    library = path.with_suffix(".so")
    # A float that becomes a double is computed in the wrong precision, and slowly.
    warnings = ["-Wall", "-Wextra", "-Wdouble-promotion", "-Werror"]
    options = ["-shared", "-fPIC", "-O0", *warnings, "-o", str(library)]
    done = subprocess.run([COMPILER, *options, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = ctypes.CDLL(str(library))
    return {name: _launcher(getattr(loaded, f"launch_{name}"), counts[name], text) for name, text in texts.items()}


def _launcher(function, parameters, text):
    real = np.dtype({"float": "float32", "double": "float64"}[re.search(r"typedef (\w+) real;", text).group(1)])

    def launch(grid, block, arguments):
        blocks, threads = (*grid, *block)
        assert 0 < blocks < 2**31
        assert 0 < threads <= 1024
        passed = [ctypes.c_longlong(blocks), ctypes.c_longlong(threads)]
        for parameter, a in zip(parameters, arguments, strict=True):
            if "*" in parameter:
                # What a kernel on a GPU would read wrongly without a word.
                assert isinstance(a, np.ndarray)
                assert a.dtype == real
                assert a.flags.c_contiguous
                passed.append(ctypes.c_void_p(a.ctypes.data))
            else:
                assert type(a) is np.int64, "CuPy takes the size of an integer from its NumPy type"
                passed.append(ctypes.c_longlong(int(a)))
        function(*passed)

    return launch


class Device:
    """The one device of the stand-in."""

    current = 0

    def __enter__(self):
        Device.current += 1
        return self

    def __exit__(self, *_):
        Device.current -= 1

    def __eq__(self, other):
        return isinstance(other, Device)

    __hash__ = None

    def __str__(self):
        return "<CUDA Device 0>"


class ndarray(np.ndarray):  # noqa: N801 CuPy's name
    """NumPy's, of another type, so that an array that left the library is seen."""

    @property
    def device(self):
        return Device()

    def get(self):
        """As NumPy's."""
        return self.view(np.ndarray)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        _refuse_numpy(inputs)
        plain = [a.view(np.ndarray) if isinstance(a, ndarray) else a for a in inputs]
        if out is not None:
            options["out"] = tuple(a.view(np.ndarray) for a in out)
        result = _ours(getattr(ufunc, method)(*plain, **options))
        return result if out is None else out[0]


ndarray.__module__ = "cupy"


class RawKernel:
    """Compiles its text for the CPU when it is first called."""

    made: tuple[str, ...] = ()
    called: tuple[str, ...] = ()

    def __init__(self, code, name):
        self.code, self.name, self.launch = code, name, None
        RawKernel.made += (name,)

    def __call__(self, grid, block, arguments):
        assert Device.current, "a kernel is launched on the current device: nobody made the arrays' that"
        assert all(type(a) in (ndarray, np.int64) for a in arguments)
        if self.launch is None:
            with tempfile.TemporaryDirectory() as folder:
                self.launch = compiled({self.name: self.code}, folder)[self.name]
        self.launch(grid, block, arguments)
        RawKernel.called += (self.name,)


def _ours(result):
    if isinstance(result, (np.ndarray, np.floating, np.complexfloating, np.bool_, np.integer)):
        return np.asarray(result).view(ndarray)
    return type(result)(map(_ours, result)) if type(result) in (list, tuple) else result


def _refuse_numpy(arguments):
    """As CuPy does, which computes on no array of NumPy's."""
    for a in arguments:
        if type(a) is np.ndarray:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        if isinstance(a, (list, tuple)):
            _refuse_numpy(a)


def _wrapped(function):
    def call(*args, device=None, **kwargs):
        if function.__name__ not in ("asarray", "array"):
            _refuse_numpy(args)
        plain = [a.view(np.ndarray) if isinstance(a, ndarray) else a for a in args]
        return _ours(function(*plain, **kwargs))

    return call


def _namespace(name, of, **more):
    module = ModuleType(name)
    for key, value in vars(of).items():
        is_function = isinstance(value, (FunctionType, np.ufunc)) or type(value).__name__ in (
            "builtin_function_or_method",
            "_ArrayFunctionDispatcher",
        )
        keeps = key.startswith("__") or key in ("isdtype", "finfo", "iinfo", "result_type", "can_cast")
        setattr(module, key, _wrapped(value) if is_function and not keeps else value)
    module.__name__ = name
    for key, value in more.items():
        setattr(module, key, value)
    return module


@contextlib.contextmanager
def in_place_of_cupy():
    """CuPy's stand-in as ``import cupy`` finds it; our adapter is imported anew, for it, and forgotten afterwards."""
    special = _namespace("cupyx.scipy.special", scipy.special)
    stand_in = {
        "cupy": _namespace("cupy", np, ndarray=ndarray, RawKernel=RawKernel),
        "cupyx": ModuleType("cupyx"),
        "cupyx.scipy": ModuleType("cupyx.scipy"),
        "cupyx.scipy.special": special,
        "array_api_compat.cupy": _namespace("array_api_compat.cupy", array_api_compat.numpy),
    }
    stand_in["cupyx"].scipy = stand_in["cupyx.scipy"]
    stand_in["cupyx.scipy"].special = special
    replaced = [*stand_in, "ntaylor_backends.cupy"]
    before = {name: sys.modules.pop(name) for name in replaced if name in sys.modules}
    RawKernel.made = RawKernel.called = ()
    had = vars(array_api_compat).get("cupy")
    array_api_compat.cupy = stand_in["array_api_compat.cupy"]
    try:
        sys.modules.update(stand_in)
        importlib.import_module("ntaylor_backends.cupy")
        yield stand_in["cupy"]
    finally:
        dispatch._found.pop(ndarray, None)  # the adapter that is found next time is another
        for name in replaced:
            sys.modules.pop(name, None)
        sys.modules.update(before)
        if had is None:
            del array_api_compat.cupy
        else:
            array_api_compat.cupy = had
