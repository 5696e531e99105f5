"""One ``xp`` fixture for every array library; ``pytest --xp numpy,dask`` chooses among them.

A new library is one row of ``SPACES``: how it is imported, how an array is made from a NumPy one and
how it comes back.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest


@dataclass(frozen=True)
class Space:
    """An array library under test; what it does not define itself is looked up in its namespace."""

    name: str
    module: str
    make: Callable[[Any, np.ndarray], Any]
    back: Callable[[Any], np.ndarray]
    prepare: Callable[[Any], object] = id

    @property
    def namespace(self) -> Any:
        module = importlib.import_module(self.module)
        self.prepare(module)
        return module

    def __getattr__(self, name: str) -> Any:
        return getattr(self.namespace, name)

    def array(self, values: Any, dtype: Any = np.float64) -> Any:
        """``values`` as an array of this library; where it can be, one that refuses to be written to."""
        plain = np.array(values, dtype=dtype)
        plain.flags.writeable = False
        return self.make(self.namespace, plain)

    def network(self, *args: Any, **kwargs: Any) -> Any:
        """``nt.MLP.create`` in this library, in float64, with parameters that refuse to be written to."""
        import ntaylor as nt

        made, plain = (nt.MLP.create(*args, xp=xp, dtype=xp.float64, **kwargs) for xp in (self.namespace, np))
        return made.replace({name: self.array(p, p.dtype) for name, p in plain.parameters.items()})

    def numpy(self, array: Any) -> np.ndarray:
        """Back to NumPy; fails if ``array`` is not of this library."""
        expected = type(self.array([0.0]))
        assert isinstance(array, (expected, np.generic)), f"left {self.name}: {type(array)}"
        return self.back(array)

    @contextlib.contextmanager
    def without_compute(self) -> Iterator[None]:
        """Fails where a lazy library is made to compute."""
        if self.name != "dask":
            yield
            return
        import dask

        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise AssertionError("Dask was made to compute")

        with dask.config.set(scheduler=refuse):
            yield


def _strictest(module: Any) -> None:
    module.set_array_api_strict_flags(
        api_version="2024.12", boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=()
    )


def _in_float64(module: Any) -> None:
    import jax

    jax.config.update("jax_enable_x64", True)


def _deterministic(module: Any) -> None:
    module.set_num_threads(1)  # the workers are the parallelism


SPACES = [
    Space("numpy", "numpy", lambda _, a: a, np.asarray),
    Space("array_api_strict", "array_api_strict", lambda xp, a: xp.asarray(a), np.from_dlpack, _strictest),
    Space("dask", "dask.array", lambda xp, a: xp.from_array(a, chunks=4), lambda a: np.asarray(a.compute())),
    Space("torch", "torch", lambda xp, a: xp.tensor(a), lambda a: a.detach().cpu().numpy(), _deterministic),
    Space("jax", "jax.numpy", lambda xp, a: xp.asarray(a), np.asarray, _in_float64),
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--xp", default="", help="libraries to test, comma-separated; all installed unless given")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "xp" not in metafunc.fixturenames:
        return
    asked = [name for name in metafunc.config.getoption("--xp").split(",") if name]
    unknown = set(asked) - {space.name for space in SPACES}
    if unknown:
        raise pytest.UsageError(f"--xp takes {', '.join(space.name for space in SPACES)}; got {', '.join(unknown)}")
    chosen = [
        space
        for space in SPACES
        if (space.name in asked if asked else importlib.util.find_spec(space.module.partition(".")[0]) is not None)
    ]
    metafunc.parametrize("xp", chosen, ids=[space.name for space in chosen])
