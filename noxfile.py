"""``nox`` runs what CI runs; ``nox -s tests`` one session; ``nox -s tests -- -k tanh`` passes words to pytest."""

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["lint", "types", "tests", "tests_strict"]
nox.options.error_on_missing_interpreters = False

PROJECT = nox.project.load_toml("pyproject.toml")


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, name))


def pytest(session: nox.Session, *options: str) -> None:
    session.install("-e", ".", *group("tests"))
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


@nox.session(default=False)
def benchmarks(session: nox.Session) -> None:
    """Make the committed benchmark results anew; takes minutes, wants an idle machine."""
    session.install("-e", ".[plot]")
    for script in ("profiles", "cost"):
        session.run("python", f"benchmarks/{script}.py", *session.posargs)
