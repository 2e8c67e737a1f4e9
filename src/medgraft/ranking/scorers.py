"""The scores by name: what each needs, and how those of several sources become one column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgraft.errors import SettingsError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.material import Material
from medgraft.types import Kind

Terms = tuple[float, ...]
LABELS: frozenset[Kind] = frozenset({"classify", "multilabel"})
ONE_LABEL: frozenset[Kind] = frozenset({"classify"})
MASKS: frozenset[Kind] = frozenset({"segment"})


class Scorer(NamedTuple):
    """A way to score sources; other packages offer theirs as the entry point medgraft.scorers.

    name: as users write it. title: in tables.
    kinds: of targets. With several labels per image, a score of features is the mean over labels, each present or not.
    terms: of one source, from what was seen of it; raises `UndefinedError` where it says nothing.
    combine: terms of all sources that have them to one number each, higher is better; None takes the only term.
    is_quick: computed again for every resample, for the interval of ranks.
    """

    name: str
    title: str
    kinds: frozenset[Kind]
    terms: Callable[[Material], Terms]
    combine: Callable[[Sequence[Terms]], NDArray[np.float64]] | None = None
    is_quick: bool = True


def _log_me(material: Material) -> Terms:
    from medgraft.ranking.scores.log_me import log_me

    return (log_me(material.features, material.labels),)


def _h_score(material: Material) -> Terms:
    from medgraft.ranking.scores.h_score import h_score

    return (h_score(material.features, material.labels),)


def _trans_rate(material: Material) -> Terms:
    from medgraft.ranking.scores.trans_rate import trans_rate

    return (trans_rate(material.features, material.labels),)


def _gbc(material: Material) -> Terms:
    from medgraft.ranking.scores.gbc import gbc

    return (gbc(material.features, material.labels),)


def _parc(material: Material) -> Terms:
    from medgraft.ranking.scores.parc import parc

    return (parc(material.features, material.labels),)


def _sfda(material: Material) -> Terms:
    from medgraft.ranking.scores.sfda import sfda

    return (sfda(material.features, material.labels),)


def _n_leep(material: Material) -> Terms:
    from medgraft.ranking.scores.n_leep import n_leep

    return (n_leep(material.features, material.labels),)


def _leep(material: Material) -> Terms:
    from medgraft.ranking.scores.leep import leep

    return (leep(_probabilities("LEEP", material), material.labels),)


def _nearest_neighbours(material: Material) -> Terms:
    from medgraft.ranking.scores.nearest_neighbours import nearest_neighbours

    return (nearest_neighbours(material.features, material.labels),)


def _linear_probe(material: Material) -> Terms:
    from medgraft.ranking.scores.linear_probe import linear_probe

    return (linear_probe(material.features, material.labels),)


def _label_predictability(material: Material) -> Terms:
    from medgraft.ranking.scores.label_predictability import label_predictability

    return (label_predictability(material.features, material.labels),)


def _feature_update(material: Material) -> Terms:
    from medgraft.ranking.scores.feature_update import feature_update

    return (feature_update(material.model, material.cohort, material.features),)


def _adaptability(material: Material) -> Terms:
    return (*_label_predictability(material), *_feature_update(material))


def _sources(terms: Sequence[Terms]) -> NDArray[np.float64]:
    from medgraft.ranking.scores.adaptability import adaptability

    return adaptability(*zip(*terms), candidates="sources")


def _architectures(terms: Sequence[Terms]) -> NDArray[np.float64]:
    from medgraft.ranking.scores.adaptability import adaptability

    return adaptability(*zip(*terms), candidates="architectures")


def _ncti_terms(material: Material) -> Terms:
    from medgraft.ranking.scores.ncti import ncti_terms

    return tuple(ncti_terms(material.features, material.labels))


def _ncti(terms: Sequence[Terms]) -> NDArray[np.float64]:
    from medgraft.ranking.scores.ncti import NctiTerms, ncti

    return ncti([NctiTerms(*one) for one in terms])


def _pixel_leep(material: Material) -> Terms:
    from medgraft.ranking.scores.pixel_leep import pixel_leep

    return (pixel_leep(_probabilities("LEEP of pixels", material), material.labels),)


def _cc_fv(material: Material) -> Terms:
    from medgraft.ranking.scores.cc_fv import cc_fv

    return (cc_fv(material.layers, material.labels, material.images),)


def _probabilities(who: str, material: Material) -> NDArray[np.floating]:
    if material.probabilities is None:
        raise UndefinedError(
            who, "a source with trained classes of its own", "this one has none",
            "Judge it by scores of features.",
        )  # fmt: skip
    return material.probabilities


SCORERS: dict[str, Scorer] = {
    one.name: one
    for one in (
        Scorer("log_me", "LogME", LABELS, _log_me),
        Scorer("h_score", "H-score", LABELS, _h_score),
        Scorer("trans_rate", "TransRate", LABELS, _trans_rate),
        Scorer("gbc", "GBC", LABELS, _gbc),
        Scorer("parc", "PARC", LABELS, _parc),
        Scorer("sfda", "SFDA", LABELS, _sfda),
        Scorer("ncti", "NCTI", ONE_LABEL, _ncti_terms, _ncti),
        Scorer("leep", "LEEP", ONE_LABEL, _leep),
        Scorer("n_leep", "N-LEEP", LABELS, _n_leep, is_quick=False),
        Scorer("nearest_neighbours", "5 nearest neighbours", LABELS, _nearest_neighbours),
        Scorer("linear_probe", "linear probe", LABELS, _linear_probe, is_quick=False),
        Scorer("label_predictability", "label predictability", LABELS, _label_predictability, is_quick=False),
        Scorer(
            "feature_update", "feature update", ONE_LABEL, _feature_update, is_quick=False
        ),
        Scorer(
            "adaptability", "adaptability", ONE_LABEL, _adaptability, _sources, is_quick=False
        ),
        Scorer(
            "adaptability_of_architectures", "adaptability (architectures)", ONE_LABEL, _adaptability, _architectures,
            is_quick=False,
        ),
        Scorer("pixel_leep", "LEEP of pixels", MASKS, _pixel_leep),
        Scorer("cc_fv", "CC-FV", MASKS, _cc_fv, is_quick=False),
    )
}  # fmt: skip
"""Those of medgraft."""

DEFAULTS: dict[Kind, tuple[str, ...]] = {
    "classify": ("log_me", "leep", "nearest_neighbours", "linear_probe"),
    "multilabel": ("log_me", "h_score", "nearest_neighbours", "linear_probe"),
    "segment": ("cc_fv", "pixel_leep"),
}
"""What is computed unless told; the first decides."""


def choose_scorers(by: Sequence[str], kind: Kind, others: Mapping[str, Scorer] | None = None) -> list[Scorer]:
    """The scorers of these names; without names, the defaults for a kind of target.

    Args:
        by: names; the first decides which source is best.
        kind: of the target.
        others: scorers of other packages.

    Raises:
        SettingsError: a name is unknown or not for this kind of target.

    >>> [one.title for one in choose_scorers(["log_me", "gbc"], "classify")]
    ['LogME', 'GBC']
    """
    if kind not in DEFAULTS:
        raise SettingsError(
            "A ranking", f"a target of kind {', '.join(DEFAULTS)}", f"it is '{kind}'",
            "Choose another target; these sources can still be compared with `medgraft benchmark`.",
        )  # fmt: skip
    known = SCORERS | dict(others or {})
    fitting = ", ".join(name for name, scorer in known.items() if kind in scorer.kinds)
    chosen = []
    for name in dict.fromkeys(by or DEFAULTS[kind]):
        if name not in known:
            raise SettingsError("by", f"scores among {fitting}", f"it got {name!r}", "Correct the name.")
        if kind not in known[name].kinds:
            raise SettingsError(
                "by", f"scores for the kind '{kind}' ({fitting})",
                f"'{name}' is for {', '.join(sorted(known[name].kinds))}", "Choose others.",
            )  # fmt: skip
        chosen.append(known[name])
    return chosen
