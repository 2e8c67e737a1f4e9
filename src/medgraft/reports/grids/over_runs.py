"""Whether another training would say the same: tests over the runs of a grid at one target."""

from __future__ import annotations

from typing import NamedTuple

from medgraft.evidence import Evidence
from medgraft.reports.grids.ranking import p_value, rows_about
from medgraft.reports.panels import Panel
from medgraft.reports.wording import describe_score, number

COLUMNS = ("subject", "reference", "group", "reference_group", "runs", "mean", "sd", "reference_mean", "reference_sd",
           "p_independent", "p_paired", "p_holm")  # fmt: skip


class RunTest(NamedTuple):
    """Two subjects over the runs that both have, as text; "" where a test is undefined.

    group, reference_group: kinds of method whose best these are; "" where they are compared for themselves.
    ours, theirs: mean and standard deviation over runs.
    """

    subject: str
    reference: str
    group: str
    reference_group: str
    runs: int
    ours: str
    theirs: str
    independent: str
    paired: str
    holm: str


def run_tests(evidence: Evidence, panel: Panel) -> list[RunTest]:
    """Tests over runs at a target, the best of groups first."""
    decimals = 2 if describe_score(panel.main).is_distance else 3
    found = []
    for row in rows_about(evidence, "run_tests", panel.cohort, panel.main).to_dict("records"):
        means = [
            f"{number(row[mean], decimals)} ± {number(row[sd], decimals)}"
            for mean, sd in (("mean", "sd"), ("reference_mean", "reference_sd"))
        ]
        names = [str(row[name]) for name in COLUMNS[:4]]
        tests = [p_value(float(row[name]), "") for name in ("p_independent", "p_paired", "p_holm")]
        found.append(
            RunTest(
                subject=names[0], reference=names[1], group=names[2], reference_group=names[3], runs=int(row["runs"]),
                ours=means[0], theirs=means[1], independent=tests[0], paired=tests[1], holm=tests[2],
            )
        )  # fmt: skip
    return sorted(found, key=lambda test: not test.group)
