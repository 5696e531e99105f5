"""Automatic against finite differences, the whole study: spectra, fits and trainings, and the page about them.

Usage: python benchmarks/ad_vs_fd.py [--seconds 140] [--page]

What is on record is not run again, so the study can be interrupted, or cut into pieces by ``--seconds``. ``--page``
makes the page and its pictures of what is on record and runs nothing. One thread a process: set OMP_NUM_THREADS=1.
Writes ``benchmarks/results/ad_vs_fd.json``, ``docs/ad_vs_fd.md`` and ``docs/ad_vs_fd-*.png``.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from rich.console import Console

from ntaylor.ad_vs_fd import Settings, cells, study
from ntaylor.ad_vs_fd_page import draw, page
from ntaylor.storage import write_atomic

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "ad_vs_fd.json"
DOCS = ROOT / "docs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no cell after so many")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page")
    options = parser.parse_args()
    console = Console(markup=False, highlight=False)
    if not options.page:
        study(
            Settings(),
            RESULTS,
            each=lambda done, of, key: console.print(f"{done}/{of} {key}"),
            seconds=options.seconds,
        )
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    missing = sum(1 for cell in cells(Settings()) if cell.key not in content["cells"])
    if missing:
        console.print(f"{missing} cells are missing: run this again; the page is not written")
        return
    draw(content, DOCS, "ad_vs_fd", ".png")
    write_atomic(DOCS / "ad_vs_fd.md", page(content).encode())


if __name__ == "__main__":
    main()
