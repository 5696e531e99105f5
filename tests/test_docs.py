"""What the documents say runs, exists and is complete."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

import ntaylor as nt

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_python_block_runs(page):
    """The blocks of a page run one after another in one namespace, as a reader would type them.

    Up to the first that imports what is not installed: the session ``agreement`` has all of it.
    """
    names: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL):
        for library in re.findall(r"^(?:import|from) (\w+)", block, flags=re.MULTILINE):
            pytest.importorskip(library)
        exec(compile(block, str(page), "exec"), names)  # our own committed text
    if page.name == "scipy.md":
        assert names["error"] < 1e-4, "the page trains a network; it no longer finds sin x"


def test_the_readme_example_does_what_it_says():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names: dict = {}
    exec(re.search(r"```python\n(.*?)```", text, flags=re.DOTALL).group(1), names)
    assert [names[name].shape for name in ("u", "du", "ddu", "d3u", "d4u")] == [(50,)] * 5
    assert float(names["value"]) > 0
    assert {name: g.shape for name, g in names["gradient"].items()} == {
        name: p.shape for name, p in names["net"].parameters.items()
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_public_name_has_a_line_in_the_documents():
    text = "".join(page.read_text(encoding="utf-8") for page in [*PAGES, ROOT / "CHANGELOG.md"])
    missing = [name for name in nt.__all__ if f"nt.{name}" not in text and f"`{name}`" not in text]
    assert not missing


def test_every_equation_that_the_code_cites_is_in_the_theory():
    theory = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    for path in (ROOT / "ntaylor").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        for number in re.findall(r"equations? \((\d+\.\d+)\)|theory\.md (?:equation )?\((\d+\.\d+)\)", source):
            wanted = number[0] or number[1]
            assert f"({wanted})" in theory, f"{path.name} cites equation ({wanted})"


def test_the_architecture_names_every_file():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in (ROOT / "ntaylor").glob("*.py"):
        if path.name != "__init__.py":
            assert f"`{path.name}`" in text, f"{path.name} is on no floor of docs/architecture.md"


@pytest.mark.parametrize("name", ["profiles", "performance", "high_dimensional", "ad_vs_fd"])
def test_measured_pages_are_what_their_script_makes_of_the_committed_results(name):
    specification = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    content = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    assert (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") == script.page(content)


def test_the_figure_in_the_readme_is_the_measured_one():
    """The worst errors of profile 3 over all seeds, as the committed benchmark wrote them."""
    runs = json.loads((ROOT / "benchmarks" / "results" / "profiles.json").read_text(encoding="utf-8"))["runs"]
    rows = [run for run in runs if run["profile"] == 3]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(run["converged"] for run in rows)
    assert f"|λ − λ*| ≤ {max(run['lambda_error'] for run in rows):.1e}" in text
    assert f"max |U − U*| ≤ {max(run['max_error'] for run in rows):.1e}" in text
    assert {3: "three", 10: "ten"}[len(rows)] in text
