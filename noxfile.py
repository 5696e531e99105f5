"""``nox`` runs what CI runs; ``nox -s tests`` one session; ``nox -s tests -- -k tanh`` passes words to pytest."""

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = [
    "lint",
    "types",
    "tests",
    "tests_strict",
    "tests_numba",
    "tests_torch",
    "tests_jax",
    "agreement",
]
nox.options.error_on_missing_interpreters = False

PROJECT = nox.project.load_toml("pyproject.toml")


# The versions that are tested; adapters ask for less (pyproject.toml). One without CUDA is enough here.
TORCH = ("torch==2.13.0", "triton; sys_platform == 'linux'")
JAX = ("jax", "diffrax", "equinox", "flax", "optax")
NUMBA = ("numba",)


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, name))


def pytest(session: nox.Session, *options: str, also: tuple[str, ...] = ()) -> None:
    session.install("-e", ".", *group("tests"), *also)
    # One BLAS thread a worker: the workers are the parallelism.
    session.run("pytest", "-n", "auto", *options, *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Static types of the package."""
    session.install("-e", ".[plot]", *group("types"))
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Everything on NumPy."""
    pytest(session, "--xp", "numpy")


@nox.session
def tests_strict(session: nox.Session) -> None:
    """What depends on the array library, on array-api-strict in its strictest setting and on Dask without compute."""
    pytest(session, "--xp", "array_api_strict,dask", "-k", "array_api_strict or dask")


@nox.session
def tests_numba(session: nox.Session) -> None:
    """NumPy with Numba installed: the kernels, and what is large enough to use them unasked."""
    pytest(session, "--xp", "numpy", "-k", "numba or programs or profile or scipy or two_series", also=NUMBA)


@nox.session
def tests_torch(session: nox.Session) -> None:
    """What depends on the array library, on PyTorch; its adapter; kernels for GPUs, as far as a CPU can tell."""
    # DeepXDE is for the examples; it takes the torch that is there.
    pytest(session, "--xp", "torch", "-k", "torch or triton or cuda or cupy", also=(*TORCH, "deepxde"))


@nox.session
def tests_jax(session: nox.Session) -> None:
    """What depends on the array library, on JAX; its adapter, with Equinox, Flax and Optax."""
    pytest(session, "--xp", "jax", "-k", "jax", also=JAX)


@nox.session
def agreement(session: nox.Session) -> None:
    """NumPy, Numba, PyTorch and JAX in one environment: ``ntaylor verify``, the pages, Numba under others."""
    pytest(
        session,
        "--xp",
        "numpy",
        "-k",
        "docs or verification or checking or torch_numba or two_series or jax_kernels or linear_algebra",
        also=(*NUMBA, *TORCH, *JAX),
    )
    session.run("ntaylor", "verify", "--json", f"{session.create_tmp()}/verify.json")


@nox.session(default=False)
def benchmarks(session: nox.Session) -> None:
    """Make the committed benchmark results anew; takes minutes, wants an idle machine."""
    session.install("-e", ".[plot]", *NUMBA, *TORCH, *JAX, "folx")
    for script in ("profiles", "performance", "finite_differences", "ad_vs_fd"):
        session.run("python", f"benchmarks/{script}.py", *session.posargs)
