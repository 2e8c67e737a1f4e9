"""What the published scores cost on average: the outlook that a ranking gives for a new target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medgraft.ranking.expected_regret import expected_regret
from medgraft.ranking.published_tables import Scenario
from medgraft.ranking.regret import baseline_performance, mean_over_targets

if TYPE_CHECKING:
    import pandas as pd


def published_regret(scenario: Scenario, baseline: str, *, seed: int = 0) -> pd.DataFrame:
    """Tell what seven published scores can be expected to cost on a new target like the eleven published ones.

    A cautious outlook among sources: the first choices that these scores really made lost 1.4 AUC points on
    average where 2.3 are expected, because most of them rank ImageNet high whatever the target (docs/ranking.md).

    Args:
        scenario: `published().sources`, or `.architectures`; of the latter, scores in `reversed_scores` are
            reversed.
        baseline: what would always be taken instead: "ImageNet" of the sources, for example "ResNet" of the
            architectures.
        seed: of simulation and resampling.

    Returns: a table by score and, last, of the baseline: tau (mean over targets as printed, silent targets left
        out), against_best, low, high (expected regret in AUC, at least 0, with a 95 % interval over targets),
        against_baseline, baseline_low, baseline_high (negative: better than always taking the baseline).

    Raises:
        DataError: no such baseline, or its performance is unknown on a target.

    Source: expected regret of the printed taus on the printed AUC: Juodelyte, PhD thesis, tables 6.2 to 6.5.

    >>> from medgraft.ranking.published_tables import published
    >>> table = published_regret(published().sources, "ImageNet")
    >>> round(100 * float(table.loc["always ImageNet", "against_best"]), 2)  # AUC points
    0.52
    """
    import pandas as pd

    always = f"always {baseline}"
    expected = expected_regret(scenario.tau, scenario.auc, seed=seed)
    reached = baseline_performance(scenario.auc, expected.index, baseline)
    expected[always] = scenario.auc[expected.index].max().to_numpy() - reached
    rows = {}
    for score in expected:
        best = mean_over_targets(expected[score], seed=seed)
        other = mean_over_targets(expected[score] - expected[always], seed=seed)
        rows[score] = [scenario.tau[score].mean() if score in scenario.tau else np.nan, *best[:3], *other[:3]]
    columns = ["tau", "against_best", "low", "high", "against_baseline", "baseline_low", "baseline_high"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("score")
