"""Published rankings of seven transferability scores: printed numbers of the thesis, and the scores behind them.

Juodelyte, thesis chapter 6, tables 6.2 (source data sets) and 6.3 (architectures): weighted Kendall tau, 11 targets.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medgraft.statistics import (
    critical_difference,
    critical_difference_groups,
    friedman,
    mean_ranks,
    nemenyi,
    significance_letters,
    weighted_tau,
)

GOLDEN = Path("/work/shared/golden/ranking_tables.npz")
METHODS = ["logme", "parc", "sfda", "ncti", "leep", "nleep", "ours"]
DATASETS = """
Blood      0.11  0.30  0.30  0.07  0.48  0.75  0.78
Breast     0.22  0.20  -    -0.15  0.26  0.21  0.44
Derma      0.52  0.34 -0.27  0.19  0.23  0.44  0.70
OCT        0.26  0.34  0.19  0.27  0.52  0.23  0.45
OrganA     0.26  0.27 -0.00 -0.26  0.18  0.32  0.57
OrganC     0.47  0.50  0.43  0.46  0.40  0.47  0.11
OrganS     0.12  0.17  0.66  0.31  0.24  0.10  0.22
Path       0.51  0.54  0.38  0.40  0.56  0.57  0.62
Pneumonia  0.31  0.12  -    -0.37  0.22  0.31  0.61
Retina     0.33  0.50  0.27  0.47  0.34  0.55  0.60
Tissue     0.58 -0.01  0.46  0.62  0.42  0.58  0.65
"""
MODELS = """
Blood     -0.20 -0.01  0.28  0.32  0.48  0.35 -0.00
Breast    -0.23 -0.18  0.40  0.69  0.22  0.17  0.22
Derma     -0.15  0.46  0.23 -0.01  0.45  0.38  0.19
OCT        0.26  0.51  0.16  0.38  0.44  0.66  0.11
OrganA     0.36  0.60  0.33 -0.00  0.53  0.52  0.70
OrganC     0.29  0.09  0.12  0.01  0.10  0.04  0.19
OrganS     0.39  0.21  0.04 -0.14  0.35 -0.06  0.42
Path      -0.50 -0.75  0.09 -0.39  0.14 -0.51 -0.30
Pneumonia -0.08  0.28  0.16  0.29  0.25  0.12  0.32
Retina     0.29 -0.18  0.40  0.09 -0.09 -0.12  0.70
Tissue    -0.03  0.21 -0.15 -0.15  0.19 -0.01  0.32
"""
DATASET_RANKS = np.array(
    [
        [6, 4, 5, 7, 3, 2, 1],
        [3, 5, 7, 6, 2, 4, 1],
        [2, 4, 7, 6, 5, 3, 1],
        [5, 3, 7, 4, 1, 6, 2],
        [4, 3, 6, 7, 5, 2, 1],
        [2, 1, 5, 4, 6, 3, 7],
        [6, 5, 1, 2, 3, 7, 4],
        [5, 4, 7, 6, 3, 2, 1],
        [2, 5, 7, 6, 4, 3, 1],
        [6, 3, 7, 4, 5, 2, 1],
        [3, 7, 5, 2, 6, 4, 1],
    ]
)
"""As printed in parentheses in table 6.2; a missing tau (all scores equal) counts as the worst. For pneumonia the page
shows 3 and 2 for LogME and NLEEP; the averages below it and the unrounded taus (.311, .307) say 2 and 3."""


def printed(table: str) -> list[list[str]]:
    return [line.split()[1:] for line in table.strip().splitlines()]


def test_friedman_of_the_published_ranks() -> None:
    result = friedman(-DATASET_RANKS)
    assert result.p == pytest.approx(0.00202, abs=5e-6)
    # The averages printed in the last row.
    assert mean_ranks(-DATASET_RANKS) == pytest.approx([4.00, 4.00, 5.82, 4.91, 3.91, 3.45, 1.91], abs=0.005)


def test_the_critical_difference_is_that_of_seven_methods() -> None:
    assert critical_difference(7, 11) == pytest.approx(2.716, abs=5e-4)
    # The thesis prints 2.792: the q of eight methods, with the K of seven.
    printed_by_mistake = critical_difference(8, 11) * np.sqrt(7 * 8 / (8 * 9))
    assert printed_by_mistake == pytest.approx(2.792, abs=5e-4)


def test_the_conclusion_stands_with_the_right_difference() -> None:
    ranks = mean_ranks(-DATASET_RANKS)
    diagram = critical_difference_groups(ranks, critical_difference(7, 11))
    order = [METHODS[index] for index in diagram.order]
    assert order == ["ours", "nleep", "leep", "logme", "parc", "ncti", "sfda"]
    joined = [order[first : last + 1] for first, last in diagram.bars]
    assert joined == [order[:5], order[1:]]
    letters = dict(zip(METHODS, significance_letters(nemenyi(-DATASET_RANKS), ranks)))
    assert letters == {"ours": "a", "ncti": "b", "sfda": "b"} | dict.fromkeys(
        ("nleep", "leep", "parc", "logme"), "ab"
    )


@pytest.mark.skipif(not GOLDEN.is_file(), reason="the authors' result tables are not here")
@pytest.mark.parametrize(("kind", "table"), [("dataset", DATASETS), ("model", MODELS)])
def test_every_printed_tau_to_two_decimals(kind: str, table: str) -> None:
    golden = np.load(GOLDEN)
    lines = printed(table)
    assert sum(map(len, lines)) == 77
    for target, line in enumerate(lines):
        own = golden[f"{kind}_mask"][:, target]
        for method, text in zip(METHODS, line, strict=True):
            score, auc = (golden[f"{kind}_{name}"][own, target] for name in (f"score_{method}", "auc"))
            tau = weighted_tau(score, auc)
            if text == "-":
                assert np.isnan(tau) and np.ptp(score) == 0
            else:
                assert tau == pytest.approx(float(text), abs=0.005 + 1e-9), (target, method)
                assert tau == pytest.approx(golden[f"{kind}_tau"][target, METHODS.index(method)], abs=1e-9)


@pytest.mark.skipif(not GOLDEN.is_file(), reason="the authors' result tables are not here")
def test_friedman_of_the_unrounded_taus() -> None:
    golden = np.load(GOLDEN)
    taus = {kind: np.nan_to_num(golden[f"{kind}_tau"], nan=-2.0) for kind in ("dataset", "model")}
    for kind in taus:
        assert friedman(-golden[f"{kind}_ranks_committed"])[:2] == pytest.approx(
            golden[f"{kind}_friedman"], rel=1e-9
        )
    assert friedman(taus["dataset"])[:2] == pytest.approx(golden["dataset_friedman"], rel=1e-9)
    # For architectures the authors' ranks of two targets do not follow from their taus: p is 0.143, not 0.113.
    assert friedman(taus["model"]).p == pytest.approx(0.1433, abs=5e-5)
    # Their critical difference is from a table of q with three decimals.
    assert critical_difference(7, 11) == pytest.approx(golden["cd_k7_n11_correct"], rel=3e-4)
