"""The model that ``ntaylor check`` is given: ``file.py:factory`` or ``package.module:factory``.

Floor 16: imports what the user names, calls it, and makes points where it gives none. Whatever is wrong is said with
what came and what to type.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from typing import Any

from ntaylor import verification
from ntaylor.commands.arguments import RefusedError
from ntaylor.namespace import array_namespace, describe, did_you_mean, is_array
from ntaylor.networks import is_network

__all__ = ["at", "loaded"]

Array = Any


def loaded(options: argparse.Namespace) -> tuple[Any, Array, Array | None]:
    """(model, x, direction) of the command's SOURCE; RefusedError says what is wrong with it."""
    where, colon, name = options.source.rpartition(":")
    if not colon or not where or not name:
        raise RefusedError(
            f"SOURCE is file.py:factory or package.module:factory, such as model.py:make; got {options.source!r}"
        )
    module = _imported(where)
    factory = getattr(module, name, None)
    if factory is None:
        public = [key for key in vars(module) if not key.startswith("_")]
        raise RefusedError(
            f"{where} has no {name!r}: {did_you_mean(name, public)}write a function {name}() there that returns the "
            "model, or (model, x)"
        )
    if not callable(factory):
        raise RefusedError(f"{options.source} is a {describe(factory)}: it must be a function that returns the model")
    try:
        made = factory()
    except Exception as error:
        raise RefusedError(
            f"{options.source} was called without arguments and raised {type(error).__name__}: {error}{at(error)}"
        ) from error
    model, x, direction = _parts(made, options.source)
    if x is None:
        return model, *_points(model, options)
    given = [f"--{key}" for key in ("dtype", "backend", "points", "inputs") if getattr(options, key) is not None]
    if given:
        raise RefusedError(
            f"{options.source} gives x itself, so leave out {' and '.join(given)}, which would do nothing"
        )
    return model, x, direction


def _imported(where: str) -> Any:
    path = Path(where)
    try:
        if path.suffix == ".py":
            if not path.is_file():
                raise RefusedError(f"there is no file {where}: give the path of a .py file, or a module as a.b:factory")
            specification = importlib.util.spec_from_file_location(path.stem, path)
            assert specification is not None
            assert specification.loader is not None
            module = importlib.util.module_from_spec(specification)
            # A file may import its neighbours, as it may when it is run.
            sys.path.insert(0, str(path.resolve().parent))
            sys.modules[path.stem] = module
            specification.loader.exec_module(module)
            return module
        sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(where)
    except RefusedError:
        raise
    except Exception as error:
        hint = f". For a file write {where}.py:…" if Path(f"{where}.py").is_file() else ""
        raise RefusedError(f"{where} cannot be imported: {type(error).__name__}: {error}{at(error)}{hint}") from error


def at(error: Exception) -> str:
    """Where it was raised, file and line in brackets, if that was below the command's own files."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<frozen", str(Path(__file__).parent))) and "importlib" not in frame.filename
    ]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _parts(made: Any, source: str) -> tuple[Any, Array | None, Array | None]:
    parts = made if isinstance(made, tuple) else (made,)
    if not 1 <= len(parts) <= 3:
        raise RefusedError(
            f"{source} returned a tuple of {len(parts)}: return the model, (model, x) or (model, x, direction)"
        )
    model, x, direction = (*parts, None, None)[:3]
    if not callable(model):
        raise RefusedError(
            f"{source} returned a {describe(model)} as the model: return a function or a network, or (model, x)"
        )
    for name, part in (("x", x), ("direction", direction)):
        if part is not None and not is_array(part) and not (name == "x" and isinstance(part, float)):
            raise RefusedError(f"{source} returned a {describe(part)} as {name}: it must be an array")
    return model, x, direction


def _points(model: Any, options: argparse.Namespace) -> tuple[Array, Array | None]:
    """Random points in [−1, 1], of the model's library and dtype, and for several features a direction."""
    import numpy

    like = _an_array_of(model)
    points = 8 if options.points is None else options.points
    width = (getattr(model, "width_in", None) or 1) if is_network(model) else _features(model)
    width = (width or 1) if options.inputs is None else options.inputs
    if not points or not width:
        raise RefusedError("--points and --inputs are 1 or more")
    if options.backend is None and like is not None:
        xp = array_namespace(like)
    else:
        (name,) = verification.chosen([options.backend or "numpy"])
        try:
            xp = importlib.import_module(verification.BACKENDS[name].module)
        except ImportError as error:
            raise RefusedError(f"--backend {name} is not installed: {error}") from error
    dtype = options.dtype or (str(like.dtype).rpartition(".")[2] if like is not None else "float64")
    if dtype == "float64" and xp.__name__ == "jax.numpy":
        importlib.import_module("jax").config.update("jax_enable_x64", True)
    rng = numpy.random.default_rng(0)

    def array(values: Any) -> Array:
        made = xp.asarray(values.tolist(), dtype=getattr(xp, dtype))
        device = getattr(like, "device", None)
        return made if device is None or options.backend is not None or callable(device) else _on(made, device)

    x = array(rng.uniform(-1, 1, (points, width)))
    return x, None if width == 1 else array(rng.standard_normal(width))


def _on(made: Array, device: Any) -> Array:
    return array_namespace(made).asarray(made, device=device)


def _an_array_of(model: Any) -> Array | None:
    """A parameter of the model, where it has some in a way that is known."""
    parameters = getattr(model, "parameters", None)
    if isinstance(parameters, dict):
        return next(iter(parameters.values()), None)
    if callable(parameters):
        try:
            return next(iter(parameters()), None)
        except TypeError:
            return None
    return None


def _features(model: Any) -> int | None:
    """Inputs of the first layer that says how many it takes, as ``torch.nn.Linear`` does."""
    layers = model.modules() if hasattr(model, "named_modules") else []
    return next((int(layer.in_features) for layer in layers if hasattr(layer, "in_features")), None)
