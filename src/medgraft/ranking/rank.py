"""Score sources for a target, and tell how far the order may be trusted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medgraft.errors import DataError, MedgraftError, ModelError, ShapeError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.material import Material
from medgraft.ranking.scorers import Scorer, Terms
from medgraft.statistics.agreement import weighted_tau

Look = Callable[[], Material]
"""Gives what is seen of a target by one source; costs a forward pass."""


class Ranking(NamedTuple):
    """Scores of sources for one target.

    scores: one row per source and score: source, score, value (higher is better), rank (1 is best, ties share their
        mean rank; NaN where undefined), low, high (95 % interval of the rank over resampled patients; NaN where it
        was not resampled), seconds (of this score), reason (why there is no value).
    looks: one row per source: seconds of its forward pass.
    agreement: weighted Kendall tau between every two scores.
    order: sources from best to worst by the first score that ranks at least two.
    decides: that score's name; empty where none does.
    warnings: what the order does not tell.
    """

    scores: pd.DataFrame
    looks: pd.DataFrame
    agreement: pd.DataFrame
    order: tuple[str, ...]
    decides: str
    warnings: tuple[str, ...]

    @property
    def best(self) -> str:
        """The source to start from."""
        return self.order[0]


def rank_sources(
    looks: Mapping[str, Look],
    scorers: Sequence[Scorer],
    units: NDArray[np.generic],
    *,
    resamples: int = 30,
    seed: int = 0,
    advance: Callable[[str | None], None] | None = None,
) -> Ranking:
    """Score every source with every scorer, one forward pass per source.

    Args:
        looks: by name of the source.
        scorers: the first one decides the order.
        units: (n,) patient (or split unit) of every image.
        resamples: of patients, for the interval of ranks of quick scores; 0 leaves the intervals out.
        seed: of the resamples.
        advance: called once per source.

    Returns: a Ranking. A resample is a bootstrap sample of patients in which each of them counts once, about 63 %: an
        image drawn twice would be its own neighbour.

    Raises:
        DataError: fewer than two sources.
        MedgraftError: a source cannot look at the target.
    """
    if len(looks) < 2:
        raise DataError("A ranking", "two sources or more", f"got {len(looks)}", "Add one.")
    draws = _draws(units, resamples, seed)
    terms: dict[str, dict[str, Terms]] = {scorer.name: {} for scorer in scorers}
    again: dict[str, list[dict[str, Terms]]] = {scorer.name: [{} for _ in draws] for scorer in scorers}
    told: dict[tuple[str, str], tuple[float, str]] = {}
    seconds: dict[str, float] = {}
    for source, look in looks.items():
        started = time.perf_counter()
        material = _looked(source, look)
        seconds[source] = time.perf_counter() - started
        for scorer in scorers:
            started = time.perf_counter()
            found, why = score_terms(scorer, material)
            told[source, scorer.name] = (time.perf_counter() - started, why)
            if found is None:
                continue
            terms[scorer.name][source] = found
            if not scorer.is_quick:
                continue
            for drawn, table in zip(draws, again[scorer.name]):
                resampled, _ = score_terms(scorer, material.of_rows(np.flatnonzero(drawn[material.images])))
                if resampled is not None:
                    table[source] = resampled
        if advance is not None:
            advance(source)
    lines: list[dict[str, object]] = []
    for scorer in scorers:
        values, why = combine_terms(scorer, terms[scorer.name])
        intervals = _rank_intervals(scorer, again[scorer.name], list(values))
        ranks = _ranks(values)
        for source in looks:
            spent, reason = told[source, scorer.name]
            low, high = intervals.get(source, (math.nan, math.nan))
            lines.append(
                {"source": source, "score": scorer.name, "value": values.get(source, math.nan)}
                | {"rank": ranks.get(source, math.nan), "low": low, "high": high, "seconds": spent}
                | {"reason": reason or ("" if source in values else why)}
            )
    scores = pd.DataFrame(lines)
    order, decides = _order(scores, list(looks), scorers)
    timed = pd.DataFrame([{"source": source, "seconds": spent} for source, spent in seconds.items()])
    agreement = _agreement(scores, [scorer.name for scorer in scorers])
    return Ranking(
        scores, timed, agreement, order, decides, tuple(_warnings(scores, order, decides, scorers))
    )


def _looked(source: str, look: Look) -> Material:
    """What a source sees; where it cannot look, the sentence names it."""
    try:
        return look()
    except (DataError, ModelError, ShapeError) as error:
        raise type(error)(f"The source {source}: {error.who}", error.needs, error.got, error.do) from error


def _draws(units: NDArray[np.generic], resamples: int, seed: int) -> list[NDArray[np.bool_]]:
    """For each resample which images belong to a patient that was drawn."""
    _, membership = np.unique(units, return_inverse=True)
    number = int(membership.max()) + 1 if len(membership) else 0
    generator = np.random.default_rng(seed)
    if number < 2:
        return []
    return [np.isin(membership, generator.integers(number, size=number)) for _ in range(resamples)]


def score_terms(scorer: Scorer, material: Material) -> tuple[Terms | None, str]:
    """What a scorer says of one source before it is compared with others, or why it says nothing.

    Args:
        scorer: of `choose_scorers`.
        material: what was seen of the target.

    Returns: its terms and an empty text, or None and a sentence.
    """
    try:
        if material.labels.ndim == 2:
            return _mean_over_labels(scorer, material), ""
        return scorer.terms(material), ""
    except (UndefinedError, DataError) as error:  # features that are not finite are this source's fault alone
        return None, str(error)


def _mean_over_labels(scorer: Scorer, material: Material) -> Terms:
    """Of several labels per image: each by itself, present or not, unknown ones left out."""
    found: list[Terms] = []
    reason: MedgraftError | None = None
    for label in range(material.labels.shape[1]):
        column = material.labels[:, label].astype(np.float64)
        known = np.flatnonzero(np.isfinite(column))
        one = material._replace(labels=column)
        try:
            found.append(scorer.terms(one.of_rows(known)))
        except UndefinedError as error:
            reason = error
    if not found:
        raise reason or UndefinedError(scorer.title, "a label that is known", "none is", "Add labels.")
    return tuple(float(number) for number in np.mean(found, axis=0))


def combine_terms(scorer: Scorer, terms: Mapping[str, Terms]) -> tuple[dict[str, float], str]:
    """One number per source, and why those without one have none.

    Args:
        scorer: of `choose_scorers`.
        terms: by source, what `score_terms` found.

    Returns: higher is better, by source; and a sentence, empty where there is nothing to say.
    """
    if scorer.combine is None:
        return {source: one[0] for source, one in terms.items()}, ""
    if len(terms) < 2:
        return {}, f"{scorer.title} compares sources, and fewer than two have what it needs."
    try:
        values = scorer.combine(list(terms.values()))
    except UndefinedError as error:
        return {}, str(error)
    return {source: float(value) for source, value in zip(terms, values) if not math.isnan(value)}, ""


def _ranks(values: Mapping[str, float]) -> dict[str, float]:
    from scipy.stats import rankdata

    if len(values) < 2 or len(set(values.values())) == 1:
        return {}
    return dict(zip(values, rankdata([-value for value in values.values()]).tolist()))


def _rank_intervals(
    scorer: Scorer, tables: Sequence[Mapping[str, Terms]], sources: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Between which ranks a source lies in 95 % of the resamples in which all sources have a score."""
    ranks = []
    for table in tables:
        values, _ = combine_terms(scorer, table)
        found = _ranks(values)
        if set(found) == set(sources):
            ranks.append([found[source] for source in sources])
    if len(ranks) < 10:
        return {}
    # ranks that were seen, none between two
    low = np.quantile(np.asarray(ranks), 0.025, axis=0, method="lower")
    high = np.quantile(np.asarray(ranks), 0.975, axis=0, method="higher")
    return {source: (float(low[place]), float(high[place])) for place, source in enumerate(sources)}


def _order(
    scores: pd.DataFrame, sources: Sequence[str], scorers: Sequence[Scorer]
) -> tuple[tuple[str, ...], str]:
    for scorer in scorers:
        own = scores[(scores["score"] == scorer.name) & scores["rank"].notna()]
        if len(own) > 1:
            ranked = own.sort_values("rank", kind="stable")["source"].tolist()
            return (*ranked, *(source for source in sources if source not in ranked)), scorer.name
    return tuple(sources), ""


def _agreement(scores: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Weighted tau of every two scores over the sources that have both; NaN where fewer than two do."""
    wide = scores.pivot(index="source", columns="score", values="value")
    lines = []
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            both = wide[[one, other]].dropna()
            tau = weighted_tau(both[one], both[other]) if len(both) > 1 else math.nan
            lines.append({"score": one, "other": other, "tau": tau, "sources": len(both)})
    return pd.DataFrame(lines, columns=["score", "other", "tau", "sources"])


def _warnings(
    scores: pd.DataFrame, order: Sequence[str], decides: str, scorers: Sequence[Scorer]
) -> list[str]:
    titles = {scorer.name: scorer.title for scorer in scorers}
    found = []
    for name, title in titles.items():
        own = scores[scores["score"] == name]
        without = own[own["value"].isna()]
        if len(without) == len(own):
            found.append(f"{title} ranks nothing here: {without['reason'].iloc[0]}")
        elif own["value"].notna().sum() > 1 and own["rank"].isna().all():
            found.append(f"{title} gives all sources the same value and ranks none of them.")
    if not decides:
        return [*found, "No score tells these sources apart."]
    if decides != scorers[0].name:
        found.append(f"{titles[scorers[0].name]} ranks nothing; the order is that of {titles[decides]}.")
    own = scores[scores["score"] == decides].set_index("source")
    first, second = own.loc[order[0]], own.loc[order[1]]
    if own["high"].isna().all():
        found.append(
            f"How sure {titles[decides]} is of its order was not measured: it was not resampled, or too few resamples "
            "gave every source a score."
        )
    if first["high"] >= second["low"]:
        rivals = [source for source in order[1:] if own.loc[source, "low"] <= first["high"]]
        found.append(
            f"{titles[decides]} puts {order[0]} first, but with other patients {' or '.join(rivals[:3])} might be: "
            "their intervals of ranks overlap. Treat them as equal, or fine-tune each."
        )
    return found
