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

from medgraft.benchmarks.claims import ALL, Judged, JudgedScores, judge, judge_score_claim
from medgraft.benchmarks.grid import HUBS, INSTALLED, Grid, read_grid
from medgraft.evidence import Evidence

ROOT = Path(__file__).resolve().parent.parent
GRIDS, RESULTS, PAGE = ROOT / "claims", ROOT / "claims" / "results", ROOT / "docs" / "claims.md"
KEPT = (
    "grid", "ranks", "critical_difference", "difference_tests", "comparisons", "scores/", "predictions/", "selection_",
)  # fmt: skip
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
    if grid.ranking is not None and "selection_taus" in evidence.tables:
        yield from selection(evidence, metric)
    for claim in grid.claims:
        yield f"**{claim.sentence}**\n"
        yield f"{claim.source}. Published: {claim.published}.\n"
        if grid.ranking is not None:
            scores = judge_score_claim(claim, evidence)
            yield from (
                score_table(scores, claim.method, claim.reference) if scores else ["Not measured yet.\n"]
            )
            continue
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


def score_table(judged: list[JudgedScores], ours: str, theirs: str) -> Iterator[str]:
    """One line per budget."""
    yield f"| labels | {ours} | {theirs} | difference in weighted tau (95 % interval over targets) | verdict |"
    yield "|---|---|---|---|---|"
    for one in judged:
        interval = f"{one.difference:+.2f} ({one.low:+.2f} to {one.high:+.2f})"
        labels = "all" if one.budget == ALL else str(one.budget)
        yield (
            f"| {labels} | {one.ours:.2f} | {one.theirs:.2f} | {interval}; fine-tuning tells the sources of "
            f"{one.readable} of {one.targets} targets apart | {one.verdict} |"
        )
    yield ""


def selection(evidence: Evidence, metric: str) -> Iterator[str]:
    """Whether fine-tuning tells sources apart, what scores are worth, and where they put a target's own source."""
    tables = {
        name: evidence.tables.get(f"selection_{name}", pd.DataFrame())
        for name in ("performance", "reliability", "taus", "regret", "own")
    }
    yield from wide_table(
        f"What fine-tuning gave: {metric}, mean over seeds (* trained on the target itself, no candidate)",
        "source",
        _performance(tables["performance"]),
    )
    reliability = tables["reliability"].set_index("cohort")
    shown = {
        "two seeds agree (weighted tau)": reliability["seed_tau"].map("{:.2f}".format),
        "standard deviation between sources": reliability["between_sd"].map("{:.3f}".format),
        "between seeds": reliability["seed_sd"].map("{:.3f}".format),
        "F": [f"{row.f:.1f} (critical {row.critical:.1f})" for row in reliability.itertuples()],
        "sources are told apart": reliability["tells_apart"].map({True: "yes", False: "no"}),
    }
    yield from wide_table("Does fine-tuning itself tell the sources apart?", "target", pd.DataFrame(shown))
    taus = tables["taus"].assign(
        shown=[_interval(row.tau, row.low, row.high, 2) for row in tables["taus"].itertuples()]
    )
    wide = taus.pivot(index="score", columns="cohort", values="shown").loc[
        taus["score"].unique(), taus["cohort"].unique()
    ]
    yield from wide_table(
        "Weighted tau of scores against fine-tuning (95 % interval over seeds)", "score", wide
    )
    regret = tables["regret"].set_index("score")
    columns = {
        "mean tau (interval over targets)": [
            _interval(row.tau, row.tau_low, row.tau_high, 2) for row in regret.itertuples()
        ],
        f"{metric} lost against the best": [
            _interval(row.against_best, row.low, row.high, 3) for row in regret.itertuples()
        ],
    }
    if "against_baseline" in regret:
        columns["against the baseline (negative: better)"] = [
            _interval(row.against_baseline, row.baseline_low, row.baseline_high, 3)
            for row in regret.itertuples()
        ]
    yield from wide_table(
        "What the first choice of a score costs", "score", pd.DataFrame(columns, index=regret.index)
    )
    if len(tables["own"]):
        own = tables["own"].assign(
            target=[
                f"{row.cohort}: truly {row.true_rank:g} of {row.of}" for row in tables["own"].itertuples()
            ]
        )
        ranks = own.pivot(index="score", columns="target", values="rank").loc[
            own["score"].unique(), own["target"].unique()
        ]
        yield from wide_table(
            "Where scores put the model that was trained on the target itself (mean rank over seeds)",
            "score",
            ranks.map(lambda rank: "none" if pd.isna(rank) else f"{rank:.1f}"),
        )


def wide_table(title: str, index: str, frame: pd.DataFrame) -> Iterator[str]:
    """A table of text, with its title."""
    yield f"{title}\n"
    yield f"| {index} | {' | '.join(map(str, frame.columns))} |"
    yield "|---" * (frame.shape[1] + 1) + "|"
    for name, row in zip(frame.index, frame.itertuples(index=False)):
        yield f"| {name} | {' | '.join(map(str, row))} |"
    yield ""


def _performance(table: pd.DataFrame) -> pd.DataFrame:
    means = table.groupby(["source", "cohort"], sort=False)["value"].mean()
    own = table.groupby(["source", "cohort"], sort=False)["own"].first()
    shown = pd.Series(
        [f"{value:.3f}{'*' if own[place] else ''}" for place, value in means.items()], index=means.index
    )
    wide = shown.unstack().fillna("")
    return wide.loc[table["source"].unique(), table["cohort"].unique()]


def _interval(value: float, low: float, high: float, digits: int) -> str:
    if pd.isna(value):
        return "none"
    if pd.isna(low):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def settings(grid: Grid, evidence: Evidence) -> Iterator[str]:
    """What was compared, how, and how long it took."""
    yield f"data {', '.join(_named(table.data, INSTALLED) for table in grid.cohorts.values())}"
    yield f"sources {', '.join(_named(table.model, HUBS) for table in grid.sources.values())}"
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


def _named(place: str, installed: tuple[str, ...]) -> str:
    return place if place.startswith(installed) else Path(place).name


if __name__ == "__main__":
    main()
