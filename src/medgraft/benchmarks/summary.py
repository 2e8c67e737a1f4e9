"""A grid's results as a short table of text, for a terminal."""

from __future__ import annotations

import pandas as pd

from medgraft.evidence import Evidence

HEADING = ("cohort", "subject", "metric", "mean (seeds from to)", "seeds", "seconds", "MiB", "failed")


def summarise(evidence: Evidence) -> list[tuple[str, ...]]:
    """A heading, and a line for each target and subject: mean score over seeds with their range, mean costs."""
    lines: list[tuple[str, ...]] = [HEADING]
    grid = evidence.tables.get("grid", pd.DataFrame({"cohort": [], "subject": []}))
    for (cohort, subject), cells in grid.groupby(["cohort", "subject"], sort=False):
        facts = evidence.facts
        chosen = facts["part"].eq("") & facts["selection"].ne("oracle") & facts["split"].eq("test")
        own = facts[chosen & facts["cohort"].eq(str(cohort)) & facts["subject"].eq(str(subject))]
        metric = _metric(evidence, own)
        scores = own.loc[own["metric"] == metric, "value"]
        failed = int((cells["state"] == "failed").sum())
        lines.append(
            (
                str(cohort), str(subject), metric, _shown(scores), str(len(scores)), f"{cells['seconds'].mean():.1f}",
                f"{cells['peak_mib'].mean():.0f}", str(failed) if failed else "",
            )
        )  # fmt: skip
    return lines


def _metric(evidence: Evidence, facts: pd.DataFrame) -> str:
    """The one that the grid goes by."""
    asked = [entry["grid"]["metric"] for entry in evidence.provenance if entry.get("what") == "benchmark"]
    measured = set(facts["metric"])
    return next((str(name) for name in (*asked, "dice", "auroc") if name in measured), "")


def _shown(scores: pd.Series) -> str:
    defined = scores.dropna()
    if defined.empty:
        return "none"
    return f"{defined.mean():.3f} ({defined.min():.3f} {defined.max():.3f})"
