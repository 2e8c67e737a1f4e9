"""Which source model to start from, without fine-tuning them all.

Scores are functions of arrays in `scores/`; `mg.rank` computes them from models and images, and `docs/ranking.md` tells
what they are worth.

>>> from medgraft import ranking
>>> ranking.published().sources.auc.shape  # 15 sources, 11 targets
(15, 11)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medgraft.ranking.agreement import measure_agreement
    from medgraft.ranking.published_tables import published
    from medgraft.ranking.reliability import measure_reliability
    from medgraft.ranking.scores.adaptability import adaptability
    from medgraft.ranking.scores.cc_fv import cc_fv
    from medgraft.ranking.scores.feature_update import feature_update
    from medgraft.ranking.scores.gbc import gbc
    from medgraft.ranking.scores.h_score import h_score
    from medgraft.ranking.scores.label_predictability import label_predictability
    from medgraft.ranking.scores.leep import leep
    from medgraft.ranking.scores.linear_probe import linear_probe
    from medgraft.ranking.scores.log_me import log_me
    from medgraft.ranking.scores.n_leep import n_leep
    from medgraft.ranking.scores.ncti import ncti, ncti_terms
    from medgraft.ranking.scores.nearest_neighbours import nearest_neighbours
    from medgraft.ranking.scores.parc import parc
    from medgraft.ranking.scores.pixel_leep import pixel_leep
    from medgraft.ranking.scores.sfda import sfda
    from medgraft.ranking.scores.trans_rate import trans_rate
    from medgraft.ranking.seed_tau import tau_over_seeds

_HOMES = {
    "adaptability": "scores.adaptability",
    "cc_fv": "scores.cc_fv",
    "feature_update": "scores.feature_update",
    "gbc": "scores.gbc",
    "h_score": "scores.h_score",
    "label_predictability": "scores.label_predictability",
    "leep": "scores.leep",
    "linear_probe": "scores.linear_probe",
    "log_me": "scores.log_me",
    "measure_agreement": "agreement",
    "measure_reliability": "reliability",
    "n_leep": "scores.n_leep",
    "ncti": "scores.ncti",
    "ncti_terms": "scores.ncti",
    "nearest_neighbours": "scores.nearest_neighbours",
    "parc": "scores.parc",
    "pixel_leep": "scores.pixel_leep",
    "published": "published_tables",
    "sfda": "scores.sfda",
    "tau_over_seeds": "seed_tau",
    "trans_rate": "scores.trans_rate",
}
"""Where each name lives; imported at first use."""

__all__ = [
    "adaptability",
    "cc_fv",
    "feature_update",
    "gbc",
    "h_score",
    "label_predictability",
    "leep",
    "linear_probe",
    "log_me",
    "measure_agreement",
    "measure_reliability",
    "n_leep",
    "ncti",
    "ncti_terms",
    "nearest_neighbours",
    "parc",
    "pixel_leep",
    "published",
    "sfda",
    "tau_over_seeds",
    "trans_rate",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f"medgraft.ranking.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'medgraft.ranking' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
