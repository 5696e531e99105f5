"""Every problem of the suite by name.

Floor 15.
"""

from __future__ import annotations

from ntaylor.namespace import near_names
from ntaylor.suite import (
    allen_cahn,
    beam,
    burgers,
    heat,
    helmholtz,
    kdv,
    kovasznay,
    kuramoto_sivashinsky,
    phase_field_crystal,
    plate,
    poisson,
)
from ntaylor.suite.entry import Entry

__all__ = ["PROBLEMS", "PROFILES", "find"]

_FILES = (
    poisson,
    heat,
    helmholtz,
    burgers,
    allen_cahn,
    kovasznay,
    kdv,
    plate,
    kuramoto_sivashinsky,
    beam,
    phase_field_crystal,
)
PROBLEMS: dict[str, Entry] = {entry.name: entry for file in _FILES for entry in file.ENTRIES}
PROFILES = tuple(f"self-similar-burgers-{k}" for k in range(5))
"""Solved by a search of their own, that of ``ntaylor burgers``."""


def find(name: str) -> Entry:
    """The entry called ``name``; ValueError, with the nearest names, if there is none."""
    if name not in PROBLEMS:
        raise ValueError(f"no problem is called {name!r}: {near_names(name, [*PROBLEMS, *PROFILES])}")
    return PROBLEMS[name]
