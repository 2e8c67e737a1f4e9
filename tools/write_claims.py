"""Write `docs/claims.md` from what the grids in `claims/` measured, and keep the evidence it rests on.

    medgraft benchmark claims/NAME.toml --out runs/NAME --runner pool
    python tools/write_claims.py [runs/NAME ...]

Evidence of the folders that are named is copied to `claims/results/NAME`, without what only a report of single images
needs. The page tells every claim of every grid, also those that were not measured yet and those that do not hold. Grids
whose folder is named are judged again, others stay as they are on the page; without a name all are, in five minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from medgraft.benchmarks.candidates import SCRATCH
from medgraft.benchmarks.claims import (
    ALL,
    Judged,
    JudgedScores,
    OverPairs,
    judge,
    judge_over_pairs,
    judge_score_claim,
)
from medgraft.benchmarks.grid import HUBS, INSTALLED, ClaimTable, Grid, read_grid
from medgraft.evidence import Evidence
from medgraft.reports.grids.source_trainings import source_trainings
from medgraft.reports.panels import SEEDED

ROOT = Path(__file__).resolve().parent.parent
GRIDS, RESULTS, PAGE = ROOT / "claims", ROOT / "claims" / "results", ROOT / "docs" / "claims.md"
KEPT = (
    "grid", "ranks", "critical_difference", "difference_tests", "comparisons", "negative_transfer", "scores/",
    "predictions/", "policy/", "updates/", "source_trainings",
)  # fmt: skip
GUESSED = "accuracy_permuted"
KEPT_OF_RANKINGS = ("grid", "selection_")
HEAD = """# Claims, measured again

Each grid in `claims/` measures again what a publication says, on data that ship with medgraft or are simulated by it:
small images, narrow networks, short trainings. So a claim that does not hold here may hold where it was made, and the
other way round. Settings were fixed before the first run and not changed after it. Repeat one with
`medgraft benchmark claims/NAME.toml`; the same file with another `data` runs on data of your own.

Reproduced: the 95 % interval of the difference, over patients (or blocks of one slide), lies on the claimed side.
Same direction: the difference does, its interval does not. Bold: the mean over all pairs of source and target, with its
interval over pairs; pairs of few sites share patients, so that interval is a rough one.
Written by `python tools/write_claims.py`.
"""


def main() -> None:
    """Copy evidence, write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=Path, help="folders that `medgraft benchmark` left")
    runs = parser.parse_args().runs
    for run in runs:
        keep(run)
    grids = sorted(GRIDS.glob("*.toml"))
    written = sections(PAGE.read_text()) if runs else {}
    for path in grids:
        name = read_grid(path).name
        if name not in written or path.stem in {run.name for run in runs}:
            written[name] = "\n".join(section(path))
    PAGE.write_text("\n".join([HEAD, *(written[read_grid(path).name] for path in grids)]))
    print(f"{PAGE.relative_to(ROOT)} is written")


def sections(page: str) -> dict[str, str]:
    """What a page says of each grid, by the grid's name, as `section` gives it."""
    parts = page.split("\n\n\n## ")[1:]
    return {part.split("\n", 1)[0]: f"\n## {part.rstrip()}\n" for part in parts}


def keep(run: Path) -> None:
    """Copy a run's evidence to `claims/results`, under the name of its folder."""
    if not (GRIDS / f"{run.name}.toml").is_file():
        raise SystemExit(f"{run}: there is no claims/{run.name}.toml; name the folder as the grid.")
    whole = Evidence.load(run / "evidence")
    kept = KEPT_OF_RANKINGS if "selection_scores" in whole.tables else KEPT
    tables = {name: table for name, table in whole.tables.items() if name.startswith(kept)}
    for name in (name for name in tables if name.startswith("updates/")):
        own = tables[name]
        tables[name] = own.groupby(["group", "tensor"], sort=False)["update"].mean().reset_index()
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
    elif "grid" in evidence.tables:
        yield from standings(evidence, metric)
        yield from paces(evidence)
        yield from policies(evidence)
        yield from trainings(evidence)
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
        yield from table(judged, claim, metric) if judged else ["Not measured yet.\n"]
    yield f"`claims/{path.name}`: {', '.join(map(str, settings(grid, evidence)))}.\n"


def standings(evidence: Evidence, metric: str) -> Iterator[str]:
    """What every method gave: means over pairs of source and target and over seeds."""
    cells, facts = evidence.tables["grid"], evidence.facts
    facts = facts[(facts["metric"] == metric) & (facts["part"] == "") & (facts["selection"] != "oracle")]
    keys = ["subject", "cohort"]
    cells = cells[cells["state"] == "finished"].drop_duplicates([*keys, "budget"])
    at_target = facts[facts["split"] == "test"].groupby(keys)["value"].mean()
    after = cells.assign(split="test after " + cells["cohort"])
    at_source = facts.groupby(["subject", "cohort", "split"])["value"].mean()
    scratch = {
        (row["source"], row["source_cohort"], row["cohort"], row["budget"]): row["subject"]
        for row in cells[cells["method"] == SCRATCH].to_dict("records")
    }
    lines: dict[str, dict[str, list[float]]] = {}
    for row in after.to_dict("records"):
        name = row["method"] + (f", {_labels(row)}" if row["budget"] else "")
        own = lines.setdefault(name, {"target": [], "source": [], "harm": []})
        place = (row["subject"], row["cohort"])
        own["target"].append(at_target.get(place, float("nan")))
        source = (row["subject"], row["source_cohort"])
        own["source"].append(
            at_source.get((*source, row["split"]), at_source.get((*source, "test"), float("nan")))
        )
        blank = scratch.get((row["source"], row["source_cohort"], row["cohort"], row["budget"]), "")
        own["harm"].append(at_target.get((blank, row["cohort"]), float("nan")) - own["target"][-1])
    means = {
        name: {key: pd.Series(values).mean() for key, values in own.items()} for name, own in lines.items()
    }
    shown = pd.DataFrame(means).T.sort_values("target", ascending=False)
    wide = pd.DataFrame(
        {
            f"{metric} at the target": shown["target"].map("{:.3f}".format),
            "at the source afterwards": shown["source"].map("{:.3f}".format),
            "from scratch minus this": shown["harm"].map("{:+.3f}".format),
        }
    ).replace({"nan": "", "+nan": ""})
    wide = wide.loc[:, (wide != "").any()]
    pairs = len(cells[["source", "source_cohort", "cohort"]].drop_duplicates())
    told = (
        f"means over {pairs} pairs of source and target and over seeds" if pairs > 1 else "means over seeds"
    )
    yield from wide_table(f"What every method gave: {told}", "method", wide)


def paces(evidence: Evidence) -> Iterator[str]:
    """How far a step moved the layers of each group, and how unlike groups and single layers were in that."""
    lines = {}
    for subject, own in _recorded(evidence, "updates").items():
        layers = own.groupby(["group", "tensor"], sort=False)["update"].mean()
        groups = layers.groupby("group", sort=False).mean()
        lines[subject] = {
            **groups.map("{:.1e}".format),
            "fastest over slowest group": f"{groups.max() / groups.min():.1f}",
            "fastest over slowest layer": f"{layers.max() / layers.min():.0f}",
        }
    if lines:
        title = "How far a step moves a weight: mean absolute change, over layers, epochs, targets and seeds"
        yield from wide_table(title, "training", pd.DataFrame(lines).T)


def policies(evidence: Evidence) -> Iterator[str]:
    """How often each block was tuned where that was chosen image by image."""
    tables = _recorded(evidence, "policy")
    shares = {
        subject: own.groupby("block", sort=False)["tuned"].mean().map("{:.0%}".format)
        for subject, own in tables.items()
    }
    if shares:
        yield from wide_table(
            "Share of images for which a block was tuned: means over its layers, targets and seeds",
            "method", pd.DataFrame(shares).T,
        )  # fmt: skip


def trainings(evidence: Evidence) -> Iterator[str]:
    """What the last epoch of every source's training logged: a line per source, a column per name."""
    told: dict[str, dict[str, str]] = {}
    for one in source_trainings(evidence):
        line = told.setdefault(" · ".join(filter(None, (one.source, one.part))), {})
        line[one.name] = f"{one.mean:.3g} ({one.low:.3g} to {one.high:.3g})"
    if told:
        title = "What the last epoch of each source logged: mean over seeds (lowest to highest)"
        if any(GUESSED in line for line in told.values()):
            title += f"; `{GUESSED}`: places said rightly, by guessing one in as many as there are patches"
        yield from wide_table(title, "source", pd.DataFrame(told).T.fillna(""))


def _recorded(evidence: Evidence, kind: str) -> dict[str, pd.DataFrame]:
    """What trainings recorded of themselves, by subject, all seeds and targets together."""
    tables: dict[str, list[pd.DataFrame]] = {}
    for name, table in evidence.tables.items():
        match = SEEDED.fullmatch(name)
        if match is not None and match["kind"] == kind:
            tables.setdefault(" · ".join(filter(None, (match["subject"], match["part"]))), []).append(table)
    return {subject: pd.concat(parts) for subject, parts in tables.items()}


def _labels(row: dict[str, Any]) -> str:
    """A budget in words, as in the name of the subject."""
    return "all labels" if row["budget"] == ALL else str(row["subject"]).rpartition(", ")[2]


def table(judged: list[Judged], claim: ClaimTable, metric: str) -> Iterator[str]:
    """One line per pair of source and target and budget, and one for all pairs of a budget."""
    difference = f"difference in {metric}{' at the source' if claim.on == 'source' else ''} (95 % interval)"
    ours, theirs = claim.method, claim.reference
    if claim.more_than is not None:
        ours, theirs = (f"{a} above {b}" for a, b in ((ours, theirs), claim.more_than))
    yield f"| target | labels | {ours} | {theirs} | {difference} | seeds, units | verdict |"
    yield "|---|---|---|---|---|---|---|"
    shown = ".3f" if claim.more_than is None else "+.3f"
    several = len({one.source for one in judged}) > 1
    for one in judged:
        target = f"{one.cohort} from {one.source}" if several else one.cohort
        yield (
            f"| {target} | {one.labels} | {one.ours:{shown}} | {one.theirs:{shown}} | {_difference(one)} | "
            f"{one.seeds}, {one.patients} | {one.verdict} |"
        )
    for whole in judge_over_pairs(judged):
        yield (
            f"| **{whole.pairs} pairs**, higher in {whole.better} | {whole.labels} | {whole.ours:{shown}} | "
            f"{whole.theirs:{shown}} | {_difference(whole)} | over pairs | {whole.verdict} |"
        )
    yield ""


def _difference(one: Judged | OverPairs) -> str:
    interval = "one unit, no interval" if pd.isna(one.low) else f"{one.low:+.3f} to {one.high:+.3f}"
    return f"{one.difference:+.3f} ({interval})"


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
    yield from wide_table(
        "Does fine-tuning itself tell the sources apart?", "target", _reliability(tables["reliability"])
    )
    yield from wide_table(
        "Weighted tau of scores against fine-tuning (95 % interval over seeds)",
        "score",
        _taus(tables["taus"]),
    )
    yield from wide_table(
        "What the first choice of a score costs", "score", _regret(tables["regret"], metric)
    )
    if len(tables["own"]):
        yield from wide_table(
            "Where scores put the model that was trained on the target itself (mean rank over seeds)",
            "score",
            _own_ranks(tables["own"]),
        )


def _reliability(table: pd.DataFrame) -> pd.DataFrame:
    told = table.set_index("cohort")
    return pd.DataFrame(
        {
            "two seeds agree (weighted tau)": told["seed_tau"].map("{:.2f}".format),
            "standard deviation between sources": told["between_sd"].map("{:.3f}".format),
            "between seeds": told["seed_sd"].map("{:.3f}".format),
            "F": [f"{row.f:.1f} (critical {row.critical:.1f})" for row in told.itertuples()],
            "sources are told apart": told["tells_apart"].map({True: "yes", False: "no"}),
        }
    )


def _taus(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.assign(shown=[_interval(row.tau, row.low, row.high, 2) for row in table.itertuples()])
    wide = shown.pivot(index="score", columns="cohort", values="shown")
    return wide.loc[table["score"].unique(), table["cohort"].unique()]


def _regret(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    rows = list(table.itertuples())
    columns = {
        "mean tau (interval over targets)": [
            _interval(row.tau, row.tau_low, row.tau_high, 2) for row in rows
        ],
        f"{metric} lost against the best": [
            _interval(row.against_best, row.low, row.high, 3) for row in rows
        ],
    }
    if "against_baseline" in table:
        columns["against the baseline (negative: better)"] = [
            _interval(row.against_baseline, row.baseline_low, row.baseline_high, 3) for row in rows
        ]
    return pd.DataFrame(columns, index=table["score"].tolist())


def _own_ranks(table: pd.DataFrame) -> pd.DataFrame:
    truly = [f"{row.cohort}: truly {row.true_rank:g} of {row.of}" for row in table.itertuples()]
    ranks = table.assign(target=truly).pivot(index="score", columns="target", values="rank")
    return ranks.loc[table["score"].unique()].map(lambda rank: "none" if pd.isna(rank) else f"{rank:.1f}")


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
    data = dict.fromkeys(_named(table.data, INSTALLED) for table in grid.cohorts.values())
    sources = dict.fromkeys(_named(table.model, HUBS) for table in grid.sources.values())
    yield f"data {', '.join(data)}"
    yield f"sources {', '.join(sources)}"
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
