"""How sure may we be of a number: intervals and comparisons over patients.

Functions on arrays; `docs/statistics.md` tells which one to use when.

>>> from medgraft.statistics import paired_wilcoxon
>>> paired_wilcoxon([0.9, 0.8, 0.7], [0.8, 0.6, 0.4]).p
0.25
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medgraft.statistics.agreement import weighted_tau
    from medgraft.statistics.bootstrap import Interval, WeightedMetric, bootstrap_interval, paired_difference
    from medgraft.statistics.corrections import bonferroni, holm
    from medgraft.statistics.detectable import detectable_difference
    from medgraft.statistics.permutation import permutation_test
    from medgraft.statistics.ranks import (
        RankDiagram,
        critical_difference,
        critical_difference_groups,
        friedman,
        mean_ranks,
        nemenyi,
        significance_letters,
    )
    from medgraft.statistics.result import TestResult
    from medgraft.statistics.spread import Spread, split_spread
    from medgraft.statistics.t_test import independent_t_test, paired_t_test
    from medgraft.statistics.units import average_by_unit
    from medgraft.statistics.wilcoxon import paired_wilcoxon

_HOMES = {
    "Interval": "bootstrap",
    "RankDiagram": "ranks",
    "Spread": "spread",
    "TestResult": "result",
    "WeightedMetric": "bootstrap",
    "average_by_unit": "units",
    "bonferroni": "corrections",
    "bootstrap_interval": "bootstrap",
    "critical_difference": "ranks",
    "critical_difference_groups": "ranks",
    "detectable_difference": "detectable",
    "friedman": "ranks",
    "holm": "corrections",
    "independent_t_test": "t_test",
    "mean_ranks": "ranks",
    "nemenyi": "ranks",
    "paired_difference": "bootstrap",
    "paired_t_test": "t_test",
    "paired_wilcoxon": "wilcoxon",
    "permutation_test": "permutation",
    "significance_letters": "ranks",
    "split_spread": "spread",
    "weighted_tau": "agreement",
}
"""Where each name lives; imported at first use."""

__all__ = [
    "Interval",
    "RankDiagram",
    "Spread",
    "TestResult",
    "WeightedMetric",
    "average_by_unit",
    "bonferroni",
    "bootstrap_interval",
    "critical_difference",
    "critical_difference_groups",
    "detectable_difference",
    "friedman",
    "holm",
    "independent_t_test",
    "mean_ranks",
    "nemenyi",
    "paired_difference",
    "paired_t_test",
    "paired_wilcoxon",
    "permutation_test",
    "significance_letters",
    "split_spread",
    "weighted_tau",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f"medgraft.statistics.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'medgraft.statistics' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
