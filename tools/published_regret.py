"""Compute what the published tables say of choosing a source, and write it into the guide.

    python tools/published_regret.py [--scores ranking_tables.npz] [--out docs/ranking.md]

Prints tables in Markdown; with `--out` they replace those between the marks in the guide. The printed tables are inside
the package. The authors' score tables are not: with `--scores`, a file of theirs (arrays `dataset_score_NAME`,
`model_score_NAME`, `dataset_auc`, `model_auc`), also what each score's first choice cost, and where it ranked a model
that was trained on the target itself. AUC points are AUC times 100.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from medgraft import statistics
from medgraft.ranking.agreement import WORST, Agreement, measure_agreement
from medgraft.ranking.elsewhere import performance_elsewhere
from medgraft.ranking.expected_regret import expected_regret
from medgraft.ranking.own_source import own_source_ranks
from medgraft.ranking.published_regret import published_regret
from medgraft.ranking.published_tables import SCORES, Scenario, published
from medgraft.ranking.regret import mean_over_targets, measure_regret
from medgraft.whole_files import write_text

BASELINES = {"sources": "ImageNet", "architectures": "ResNet"}
AUTHORS = {"sources": "dataset", "architectures": "model"}
HEADS = {ours: printed for printed, ours in SCORES.items()} | {"adaptability": "S_LP x S_FU"}
MARKS = "<!-- {}: written by tools/published_regret.py -->", "<!-- end of {} -->"


def main() -> None:
    """Compute, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scores", type=Path, help="the authors' score tables (npz)")
    parser.add_argument("--out", type=Path, help="page with marks to write between")
    asked = parser.parse_args()
    parts = {"always": always(), "expected": expected(), "statistics": printed_statistics()}
    if asked.scores:
        parts["first choices"] = first_choices(asked.scores)
    for name, lines in parts.items():
        print(f"\n## {name}\n\n" + "\n".join(lines))
        if asked.out:
            write_between(asked.out, name, lines)


def always() -> list[str]:
    """What it costs to take the same source, or the same architecture, every time."""
    truth = published()
    lines = []
    for scenario, baseline in ((truth.sources, "ImageNet"), (truth.architectures, "ConvNeXt")):
        regret = measure_regret(fixed(scenario.auc, baseline), scenario.auc, baseline=baseline)
        lines += ["", f"| target | best | its AUC | {baseline} | lost, AUC points |", "|---|---|---|---|---|"]
        for target, row in regret.iterrows():
            lost = f"{100 * row['against_best']:.2f}" if row["against_best"] > 0 else "0"
            reached = f"{100 * row['reached']:.2f}"
            lines.append(
                f"| {target} | {row['best_source']} | {100 * row['best']:.2f} | {reached} | {lost} |"
            )
        lines.append(f"| mean (95 % interval) | | | | {interval(regret['against_best'])} |")
        if baseline == "ImageNet":
            patients = ["abdomen" if str(name).startswith("Organ") else str(name) for name in regret.index]
            lines.append(
                f"| the same, Organ sets drawn together | | | | {interval(regret['against_best'], patients)} |"
            )
    for name, scenario in (("source", truth.sources), ("architecture", truth.architectures)):
        lost = {
            source: measure_regret(fixed(scenario.auc, source), scenario.auc, baseline=None)["against_best"]
            for source in scenario.auc.index
        }
        lost["any, drawn blindly"] = (scenario.auc.max() - scenario.auc.mean()).rename("any")
        lines += ["", f"| always this {name} | lost on average, AUC points (95 % interval) |", "|---|---|"]
        lines += [
            f"| {key} | {interval(lost[key])} |" for key in sorted(lost, key=lambda key: lost[key].mean())
        ]
    return lines[1:]


def fixed(auc: pd.DataFrame, source: str) -> pd.DataFrame:
    """A score that always names one source; where that is the target itself, any other."""
    table = auc * 0.0
    table.loc[source] = 1.0
    return table


def expected() -> list[str]:
    """Expected regret of the printed taus, and of a tau that is the same for all targets."""
    truth = published()
    lines = []
    for name, baseline in BASELINES.items():
        scenario: Scenario = getattr(truth, name)
        table = published_regret(scenario, baseline)
        lines += [
            "",
            f"| {name} | mean tau | expected regret | against always {baseline} |",
            "|---|---|---|---|",
        ]
        for score, row in table.iterrows():
            turned = "1 - " if score in scenario.reversed_scores else ""
            values = [f"{100 * row[key]:.2f}" for key in row.index[1:]]
            tau = "" if np.isnan(row["tau"]) else f"{row['tau']:.2f}"
            lines.append(
                f"| {turned}{HEADS.get(str(score), score)} | {tau} | {values[0]} ({values[1]} to {values[2]}) | "
                f"{float(values[3]):+.2f} ({float(values[4]):+.2f} to {float(values[5]):+.2f}) |"
            )
    lines += ["", *elsewhere(), ""]
    steps = [0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0]
    lines += [f"| the same tau on every target | {' | '.join(f'{step:g}' for step in steps)} |"]
    lines.append("|---|" + "---|" * len(steps))
    for name in BASELINES:
        auc = getattr(truth, name).auc
        taus = pd.DataFrame({step: [step] * auc.shape[1] for step in steps}, index=auc.columns)
        lost = 100 * expected_regret(taus, auc).mean()
        lines.append(f"| {name}: expected regret | {' | '.join(f'{value:.2f}' for value in lost)} |")
    return lines[1:]


def elsewhere() -> list[str]:
    """A score that does not look at the target, ranked beside the published ones."""
    lines = [
        "| mean AUC on the other ten targets as score | mean tau | lost by the first choice | mean rank | next best |"
    ]
    lines.append("|---|---|---|---|---|")
    for name in BASELINES:
        scenario: Scenario = getattr(published(), name)
        own = {"elsewhere": performance_elsewhere(scenario.auc)}
        found = measure_agreement(own, scenario.auc, baseline=None, others=scenario.tau)
        assert found.comparison is not None
        ranks = found.comparison.ranks["mean_rank"].sort_values()
        best = next(str(score) for score in ranks.index if score != "elsewhere")
        lost = interval(found.by_target["against_best"])
        told = [f"{found.tau['elsewhere'].mean():.2f}", lost, f"{ranks['elsewhere']:.2f} of 8"]
        lines.append("| " + " | ".join([name, *told, f"{HEADS[best]} {ranks[best]:.2f}"]) + " |")
    return lines


def printed_statistics() -> list[str]:
    """The printed averages, Friedman tests and critical difference beside what follows from the printed tables."""
    lines = ["| | printed | recomputed |", "|---|---|---|"]
    wrong = statistics.critical_difference(8, 11) * np.sqrt(7 * 8 / (8 * 9))
    right = statistics.critical_difference(7, 11)
    lines.append(
        f"| critical difference, 7 scores, 11 targets | 2.792 | {right:.3f} (with the q of 8: {wrong:.3f}) |"
    )
    for name, table, p in (("sources", "6.2", "0.002"), ("architectures", "6.3", "not significant")):
        scenario: Scenario = getattr(published(), name)
        ranks = scenario.printed_ranks
        test = statistics.friedman(-ranks)
        lines.append(
            f"| table {table}: Friedman test of its ranks | {p} | chi2 {test.statistic:.3f}, p {test.p:.5f} |"
        )
        for score, average in ranks.mean().items():
            told = scenario.printed_mean_ranks[score]
            mark = "" if abs(average - told) < 0.0051 else " **differs**"
            lines.append(
                f"| table {table}: average rank of {HEADS[str(score)]} | {told:.2f} | {average:.2f}{mark} |"
            )
    return lines


def first_choices(path: Path) -> list[str]:
    """What the authors' scores really chose."""
    golden = np.load(path)
    lines = []
    for name, kind in AUTHORS.items():
        scenario: Scenario = getattr(published(), name)
        scores, auc = authors_tables(golden, kind, scenario)
        found = measure_agreement(scores, auc, baseline=BASELINES[name])
        columns = [name, "lost by the first choice", f"against always {BASELINES[name]}", "expected"]
        lines += ["", "| " + " | ".join([*columns, "own source: mean rank, first"]) + " |"]
        lines.append("|---|---|---|---|---|")
        for choice, row in (100 * found.regret).iterrows():
            own = ""
            if (
                choice in scores
                and name == "sources"
                and np.isfinite(golden[f"{kind}_score_{theirs(choice)}"]).all()
            ):
                ranks = own_source_ranks(scores[choice])
                own = f"{ranks.mean():.1f}, {int((ranks < 2).sum())} of {len(ranks)}"
            told = "" if np.isnan(row["expected"]) else f"{row['expected']:.2f}"
            cells = [
                f"{row['against_best']:.2f} ({row['low']:.2f} to {row['high']:.2f})",
                f"{row['against_baseline']:+.2f} ({row['baseline_low']:+.2f} to {row['baseline_high']:+.2f})",
            ]
            turned = "1 - " if choice in scenario.reversed_scores else ""
            head = turned + HEADS.get(str(choice), str(choice))
            lines.append("| " + " | ".join([head, *cells, told, own]) + " |")
        lines += ["", *remarks(scores, auc, scenario, found)]
    return lines[1:]


def remarks(
    scores: dict[str, pd.DataFrame], auc: pd.DataFrame, scenario: Scenario, found: Agreement
) -> list[str]:
    """What the text of the page says about the authors' scores."""
    test = statistics.friedman(found.tau.fillna(WORST))
    means = 100 * found.regret.loc[list(scores), ["against_best", "expected"]].mean()
    rounded = measure_agreement(scores, scenario.auc, baseline=None)
    moved = (rounded.tau - scenario.tau).abs()
    beyond = int((moved > 0.005 + 1e-9).sum().sum())
    row = scores["sfda"].where(auc.notna()).apply(lambda column: auc.loc[column.idxmax(), column.name])
    first_row = 100 * (auc.max() - row).mean()
    return [
        f"- Friedman test of the unrounded taus: chi2 {test.statistic:.3f}, p {test.p:.5f}.",
        f"- Mean over the seven scores: lost {means['against_best']:.2f}, expected {means['expected']:.2f}.",
        f"- Were the first row taken among those that SFDA scores highest, it would lose {first_row:.2f}.",
        f"- From the printed AUC, {beyond} printed taus differ by more than rounding, "
        f"the most by {moved.max().max():.2f}.",
        f"- The proposed score names {most_named(found, 'adaptability')}, LogME {most_named(found, 'log_me')}, "
        f"LEEP {most_named(found, 'leep')}.",
    ]


def most_named(found: Agreement, score: str) -> str:
    """The source that a score puts first most often, and on how many targets."""
    counts = found.by_target.loc[score, "chosen"].value_counts()
    return f"{counts.index[0]} on {counts.iloc[0]} targets"


def interval(values: pd.Series, units: list[str] | None = None) -> str:
    """A mean over targets in AUC points with its interval, over units where targets share patients.

    >>> interval(pd.Series([0.01, 0.01]))
    '1.00 (1.00 to 1.00)'
    """
    numbers = values.to_numpy()
    found = mean_over_targets(values)
    if units is not None:
        found = statistics.bootstrap_interval(
            lambda rows: float(numbers[rows].mean()), units, repeats=2000, method="expanded"
        )
    value, low, high = (100 * number for number in found[:3])
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def theirs(score: str) -> str:
    """A score's name in the authors' file."""
    return HEADS[score].lower() if score != "adaptability" else "ours"


def authors_tables(
    golden: np.lib.npyio.NpzFile, kind: str, scenario: Scenario
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Scores and unrounded AUC of the authors' file under our names."""

    def table(key: str) -> pd.DataFrame:
        return pd.DataFrame(golden[f"{kind}_{key}"], scenario.auc.index, scenario.auc.columns)

    auc = table("auc") / (100 if kind == "model" else 1)
    return {score: table(f"score_{theirs(score)}") for score in scenario.tau}, auc


def write_between(page: Path, name: str, lines: list[str]) -> None:
    """Replace what stands between the marks of a part."""
    begin, end = (mark.format(name) for mark in MARKS)
    text = page.read_text("utf-8")
    if begin not in text or end not in text:
        raise SystemExit(f"{page} has no lines '{begin}' and '{end}'")
    head, rest = text.split(begin, 1)
    write_text(page, "\n".join([head + begin, *lines, end + rest.split(end, 1)[1]]))


if __name__ == "__main__":
    main()
