"""The house stands: imports run strictly downwards, and importing ntaylor loads no array library but NumPy."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import ntaylor as nt
from ntaylor.array_object import ArrayObject

ROOT = Path(nt.__file__).parent

FLOORS = {
    0: ["partitions", "namespace", "storage", "interruptions", "progress_bar", "standard", "array_methods", "sampling"],
    1: ["blocks", "dispatch", "series", "faa_di_bruno", "array_object", "value_oracles", "linear_forms", "balancing"],
    2: ["pair_rules", "products", "arrangements", "numpy_functions", "programs", "bundles", "directions", "power_sums"],
    3: ["activations", "composed", "linalg_rules", "linalg_transposes", "index_transposes"],
    4: ["jet_rules", "transposes", "layers", "quantities"],
    5: ["jets", "composites", "gradients"],
    6: ["networks"],
    7: ["differentiate", "fifty_digits"],
    8: ["pointwise", "checking", "cases", "pushing", "terms", "workloads", "systems", "models"],
    9: ["verification", "constraints", "plans", "references", "ratios"],
    10: ["estimates", "damped_steps", "field_object"],
    11: ["operators", "least_squares", "objectives", "sobolev", "equation_signatures"],
    12: ["calculus", "problems", "fields", "plots", "optimisers", "preparation"],
    13: ["high_dimensional_tasks", "contests", "training_results"],
    14: ["profile_search", "high_dimensional_training", "measuring", "posing", "training"],
    15: ["suite"],
    16: ["commands"],
    17: ["cli"],
    18: ["__main__"],
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}
ADAPTED = {
    "torch",
    "folx",
    "jet",
    "jax",
    "jaxlib",
    "cupy",
    "numba",
    "dask",
    "optax",
    "triton",
    "array_api_strict",
    "ntaylor_backends",
}

MODULES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def room(path: Path) -> str:
    """The name in the table: the module's, or the package's it lies in."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> list[str]:
    """Dotted names of every import in a file, those inside functions included."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def arrows(source: str, names: list[str]) -> list[str]:
    """Imports among ``names`` that do not lead to a lower floor than that of the room ``source``."""
    wrong = []
    for name in names:
        parts = name.split(".")
        if parts[0] != "ntaylor":
            continue
        target = parts[1] if len(parts) > 1 and parts[1] in FLOOR_OF else None
        if target is None:
            # The public face is above every room but the command line.
            if source != "cli":
                wrong.append(name)
        elif target != source and FLOOR_OF[target] >= FLOOR_OF[source]:
            wrong.append(name)
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=[str(p.relative_to(ROOT)) for p in MODULES])
def test_imports_run_downwards(path):
    assert room(path) in FLOOR_OF, f"{room(path)} is on no floor: put it into FLOORS and docs/architecture.md"
    assert not arrows(room(path), imported(path))


@pytest.mark.parametrize("path", MODULES, ids=[str(p.relative_to(ROOT)) for p in MODULES])
def test_docstring_and_architecture_tell_the_same_floor(path):
    if path.name == "__init__.py":
        return
    floor, text = FLOOR_OF[room(path)], path.read_text(encoding="utf-8")
    assert f"Floor {floor}" in text
    rows = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()
    name = f"`{room(path)}/`" if (ROOT / room(path)).is_dir() else f"`{path.name}`"
    assert any(row.startswith(f"| {floor} |") and name in row for row in rows), f"{name} is not on floor {floor} there"


def test_every_room_of_the_table_exists():
    assert {room(path) for path in MODULES} == set(FLOOR_OF)


def test_an_arrow_up_is_seen():
    """The check itself: upwards, sideways and through the public face are all refused, downwards is not."""
    assert arrows("series", ["ntaylor.jets.Jet"])
    assert arrows("gradients", ["ntaylor.composites"])
    assert arrows("layers", ["ntaylor"])
    assert arrows("layers", ["ntaylor.MLP"])
    assert not arrows("layers", ["ntaylor.series.add", "math"])


@pytest.mark.parametrize("path", MODULES, ids=[str(p.relative_to(ROOT)) for p in MODULES])
def test_core_names_no_adapter(path):
    assert not ADAPTED & {name.split(".")[0] for name in imported(path)}


BACKENDS = sorted((ROOT.parent / "ntaylor_backends").rglob("*.py"))


@pytest.mark.parametrize("path", BACKENDS, ids=[str(p.relative_to(ROOT.parent)) for p in BACKENDS])
def test_backends_use_floors_0_to_6(path):
    rooms = {name.split(".")[1] for name in imported(path) if name.startswith("ntaylor.")}
    assert all(FLOOR_OF.get(name, 99) <= 6 for name in rooms), rooms


def test_only_one_door_to_array_api_compat():
    users = [p.name for p in MODULES if any(n.startswith("array_api_compat") for n in imported(p))]
    assert users == ["namespace.py"]


def test_no_module_bears_the_name_of_a_public_function():
    functions = {name for name in nt.__all__ if callable(getattr(nt, name))}
    assert not functions & {room(p) for p in MODULES}


def documented(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Names of ``__all__`` that can bear a docstring; of array objects, with all that users may call."""
    for name in getattr(module, "__all__", ()):
        public = getattr(module, name)
        if not inspect.isclass(public) and not inspect.isroutine(public) and not inspect.ismodule(public):
            continue  # data: tables and aliases of types
        yield name, public
        if inspect.isclass(public) and issubclass(public, ArrayObject):
            for member, value in inspect.getmembers(public):
                if not member.startswith("_") and (inspect.isroutine(value) or isinstance(value, property)):
                    yield f"{name}.{member}", value


@pytest.mark.parametrize("path", MODULES, ids=[str(p.relative_to(ROOT)) for p in MODULES])
def test_public_names_are_documented(path):
    dotted = ".".join(("ntaylor", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    if dotted == "ntaylor.__main__":
        return
    module = importlib.import_module(dotted)
    missing = [name for name, public in documented(module) if not inspect.getdoc(public)]
    assert not missing


def test_the_public_face_is_documented():
    assert not [name for name, public in documented(nt) if not inspect.getdoc(public)]


def test_every_module_says_what_it_is():
    for path in MODULES:
        if path.name == "__init__.py":
            continue
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), f"{path.name} has no docstring"


def test_typed():
    assert (ROOT / "py.typed").exists()


def test_importing_ntaylor_is_light():
    heavy = ["torch", "jax", "cupy", "scipy", "matplotlib", "rich", "dask", "numba", "array_api_strict"]
    script = f"import sys, ntaylor; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
