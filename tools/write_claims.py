"""Write `docs/claims.md` from what the grids in `claims/` measured, and keep the evidence it rests on.

    medgraft benchmark claims/NAME.toml --out runs/NAME --runner pool
    python tools/write_claims.py [runs/NAME ...]

Evidence of the folders that are named is copied to `claims/results/NAME`, without what only a report of single images
needs. The page tells every claim of every grid, also those that were not measured yet and those that do not hold.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from medgraft.benchmarks.claims import Judged, judge
from medgraft.benchmarks.grid import Grid, read_grid
from medgraft.evidence import Evidence

ROOT = Path(__file__).resolve().parent.parent
GRIDS, RESULTS, PAGE = ROOT / "claims", ROOT / "claims" / "results", ROOT / "docs" / "claims.md"
KEPT = ("grid", "ranks", "critical_difference", "difference_tests", "comparisons", "scores/", "predictions/")
HEAD = """# Claims, measured again

Each grid in `claims/` measures again what a publication says, on data that ship with medgraft or are simulated by it:
small images, narrow networks, short trainings. So a claim that does not hold here may hold where it was made, and the
other way round. Settings were fixed before the first run and not changed after it. Repeat one with
`medgraft benchmark claims/NAME.toml`; the same file with another `data` runs on data of your own.

Reproduced: the 95 % interval of the difference, over patients (or blocks of one slide), lies on the claimed side.
Same direction: the difference does, its interval does not. Written by `python tools/write_claims.py`.
"""


def main() -> None:
    """Copy evidence, write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=Path, help="folders that `medgraft benchmark` left")
    for run in parser.parse_args().runs:
        keep(run)
    PAGE.write_text(
        "\n".join([HEAD, *(line for path in sorted(GRIDS.glob("*.toml")) for line in section(path))])
    )
    print(f"{PAGE.relative_to(ROOT)} is written")


def keep(run: Path) -> None:
    """Copy a run's evidence to `claims/results`, under the name of its folder."""
    if not (GRIDS / f"{run.name}.toml").is_file():
        raise SystemExit(f"{run}: there is no claims/{run.name}.toml; name the folder as the grid.")
    whole = Evidence.load(run / "evidence")
    tables = {name: table for name, table in whole.tables.items() if name.startswith(KEPT)}
    Evidence(whole.facts, whole.provenance, tables, {}, whole.warnings).save(RESULTS / run.name)


def section(path: Path) -> Iterator[str]:
    """What one grid says."""
    grid = read_grid(path)
    yield f"\n## {grid.name}\n"
    folder = RESULTS / path.stem
    evidence = Evidence.load(folder) if folder.is_dir() else Evidence.empty()
    metric = grid.metric or ""
    for claim in grid.claims:
        yield f"**{claim.sentence}**\n"
        yield f"{claim.source}. Published: {claim.published}.\n"
        judged = judge(claim, metric, evidence)
        yield from table(judged, claim.method, claim.reference, metric) if judged else ["Not measured yet.\n"]
    yield f"`claims/{path.name}`: {', '.join(map(str, settings(grid, evidence)))}.\n"


def table(judged: list[Judged], method: str, reference: str, metric: str) -> Iterator[str]:
    """One line per target and budget."""
    difference = f"difference in {metric} (95 % interval)"
    yield f"| target | labels | {method} | {reference} | {difference} | seeds, units | verdict |"
    yield "|---|---|---|---|---|---|---|"
    for one in judged:
        interval = f"{one.difference:+.3f} ({one.low:+.3f} to {one.high:+.3f})"
        yield (
            f"| {one.cohort} | {one.labels} | {one.ours:.3f} | {one.theirs:.3f} | {interval} | "
            f"{one.seeds}, {one.patients} | {one.verdict} |"
        )
    yield ""


def settings(grid: Grid, evidence: Evidence) -> Iterator[str]:
    """What was compared, how, and how long it took."""
    yield f"data {', '.join(table.data for table in grid.cohorts.values())}"
    yield f"sources {', '.join(table.model for table in grid.sources.values())}"
    yield f"selection '{grid.select or 'the best that each method may use'}'"
    yield f"{len(grid.seeds)} seeds"
    yield f"fine-tuning {json.dumps({name: dict(one.settings) for name, one in grid.defaults.items()})}"
    cells = evidence.tables.get("grid", pd.DataFrame({"seconds": [], "state": []}))
    seconds = sum(
        entry.get("seconds", 0.0) for entry in evidence.provenance if entry.get("what") == "benchmark"
    )
    if len(cells):
        finished = (cells["state"] == "finished").sum()
        yield f"{finished} of {len(cells)} cells finished, {seconds / 60:.0f} minutes on one core"


if __name__ == "__main__":
    main()
