"""Which source model to start from: scores without fine-tuning, and fine-tuning of the leaders where asked for."""

from __future__ import annotations

import glob
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import pandas as pd

from medgraft.api.adaptation import adapted_model
from medgraft.api.leaders import fine_tune_leaders, with_reliability
from medgraft.api.projections import choose_shown
from medgraft.engine.distributed import choose_device
from medgraft.engine.progress import progress_bar
from medgraft.engine.randomness import seeded
from medgraft.errors import DataError, SettingsError
from medgraft.evaluation.evaluate import versions
from medgraft.evidence import Evidence
from medgraft.models.model import Model
from medgraft.models.sources import open_source
from medgraft.plugins import activate, find_plugins
from medgraft.ranking.material import Material, gather_material
from medgraft.ranking.rank import Ranking, rank_sources
from medgraft.ranking.scorers import SCORERS, Scorer, choose_scorers

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.data.task import Task
    from medgraft.engine.method import Method
    from medgraft.types import Kind

CACHE, FINE_TUNED = "passes", "fine_tuned"


class Ranked(NamedTuple):
    """Scores of sources for a target, and what fine-tuning the leaders gave.

    ranking: scores, intervals of ranks, agreement, warnings.
    models: leaders fine-tuned with the first seed by source, empty where none was asked for.
    evidence: all of it for a report, with the leaders' test scores of every seed and, in the table
        "ranking_reliability", whether these tell the leaders apart (two or more leaders and seeds).
    """

    ranking: Ranking
    models: dict[str, Model]
    evidence: Evidence

    @property
    def best(self) -> str:
        """The source to start from, by the first score."""
        return self.ranking.best

    @property
    def table(self) -> pd.DataFrame:
        """One row per source, best first, and one column per score; NaN where it says nothing."""
        scores = self.ranking.scores
        wide = scores.pivot(index="source", columns="score", values="value")
        return wide.loc[list(self.ranking.order), list(dict.fromkeys(scores["score"]))]


def rank(
    sources: Sequence[str | Path] | Mapping[str, str | Path | Model],
    task: Task,
    *,
    by: Sequence[str] = (),
    finetune_top: int = 0,
    finetune_seeds: int = 1,
    method: Method | str = "fine_tune",
    folder: str | Path | None = None,
    resamples: int = 30,
    seed: int = 0,
    batch_size: int = 32,
    device: Literal["auto", "cpu", "cuda"] = "cpu",
    projections: bool = True,
    progress: bool | None = None,
) -> Ranked:
    """Tell which source model to start from, without fine-tuning them all, and how much the answer is worth.

    Args:
        sources: what `open_source` opens, folders of runs among them, and patterns such as ``"models/*"``; or by name,
            also models.
        task: its target's training rows with truth are what sources are judged by.
        by: scores (`medgraft.ranking.scorers`), the first of which decides; none takes the defaults.
        finetune_top: how many of the leaders to fine-tune and to score on the target's test rows.
        finetune_seeds: how often to fine-tune each of them, with seed, seed + 1, ...; 5 or more tell their worth
            from chance.
        method: to fine-tune them with.
        folder: keeps forward passes and fine-tuned models, so that a repeated call continues; None keeps nothing.
        resamples: of patients, for intervals of ranks.
        seed: of resamples and of fine-tuning.
        batch_size: images per forward pass.
        device: "cpu", "cuda" or "auto".
        projections: lay out the best source's features for the report (t-SNE): some seconds for some hundred images.
            Of targets with one label per image only.
        progress: show a bar; None shows it at a terminal.

    Returns: a `Ranked`, whose `best` is the source to give to `adapt`.

    Raises:
        SettingsError: an unknown score, one that does not fit the target, or settings of fine-tuning that do not go
            together.
        DataError: fewer than two sources, or no training rows with truth.
        ModelError: a source cannot be opened or cannot look at these images.

    >>> import medgraft as mg
    >>> from medgraft.testing import make_cohort
    >>> task = mg.Task(target=make_cohort("classify"))
    >>> sources = {"wide": "random/test_resnet", "narrow": "random/test_efficientnet"}
    >>> mg.rank(sources, task, by=["log_me"], resamples=0).best in sources
    True
    """
    activate()
    target = labelled_rows(task)
    scorers = find_scorers(by, target.kind)
    named = name_sources(sources)
    _check_fine_tuning(finetune_top, finetune_seeds, len(named))
    if finetune_top:
        _refuse_untested(task)
    kept, place = Path(folder) if folder is not None else None, choose_device(device)
    cache = kept / CACHE if kept else None
    pass_over = partial(gather_material, cache=cache, batch_size=batch_size, device=place, seed=seed)
    shown = choose_shown(target, seed) if projections else None

    def look(name: str, source: str | Path | Model) -> Material:
        model = source if isinstance(source, Model) else open_candidate(source, target, seed)
        material = pass_over(model, target)
        if shown is not None:
            shown.keep(name, material)
        return material

    with progress_bar("sources", len(named), progress) as advance:
        ranking = rank_sources(
            {name: partial(look, name, source) for name, source in named.items()},
            scorers, target.units, resamples=resamples, seed=seed, advance=advance,
        )  # fmt: skip
    seeds = range(seed, seed + finetune_seeds)
    evidence = _evidence(ranking, target, seed, seeds if finetune_top else ())
    models: dict[str, Model] = {}
    if finetune_top:
        models, tested = fine_tune_leaders(
            {name: named[name] for name in ranking.order[:finetune_top]}, task, method, seeds,
            folder=kept / FINE_TUNED if kept else None, device=device, progress=progress,
        )  # fmt: skip
        evidence = with_reliability(evidence + tested, finetune_seeds)
    if shown is not None and ranking.decides:
        evidence += shown.evidence(ranking.best, models.get(ranking.best), pass_over)
    return Ranked(ranking, models, evidence)


def labelled_rows(task: Task) -> Cohort:
    """The target's training rows, by which sources are judged.

    Raises:
        DataError: there are none with truth.
    """
    target = task.target
    if target is None or "truth" not in target.fields:
        raise DataError(
            "A ranking", "a target with truth", "the task has none", "Give Task(target=...) labelled images."
        )
    rows = target.training_rows
    if not len(rows):
        raise DataError(
            "A ranking", "training rows of the target", f"{target.name} has none",
            "Mark some in the manifest's column 'split'.",
        )  # fmt: skip
    return rows


def name_sources(
    sources: Sequence[str | Path] | Mapping[str, str | Path | Model],
) -> dict[str, str | Path | Model]:
    """Sources by the name they have in tables; patterns stand for every model that they match.

    Raises:
        DataError: a pattern matches nothing, or a source comes twice.

    >>> name_sources(["packaged/efficientnet_lite0", "random/resnet18"])
    {'packaged/efficientnet_lite0': 'packaged/efficientnet_lite0', 'random/resnet18': 'random/resnet18'}
    """
    if isinstance(sources, Mapping):
        return dict(sources)
    found: dict[str, str | Path | Model] = {}
    for source in sources:
        text = str(source)
        matches = sorted(glob.glob(text)) if glob.has_magic(text) else [text]
        if not matches:
            raise DataError("A ranking", "sources", f"nothing matches {text}", "Correct the pattern.")
        for match in matches:
            if match in found:
                raise DataError("A ranking", "every source once", f"{match} comes twice", "Name it once.")
            found[match] = match
    return found


def installed_scorers() -> dict[str, Scorer]:
    """All scorers by name, those of other packages among them.

    >>> installed_scorers()["log_me"].title
    'LogME'
    """
    return SCORERS | {name: plugin.load() for name, plugin in find_plugins("scorers").items()}


def find_scorers(by: Sequence[str], kind: Kind) -> list[Scorer]:
    """The scorers of these names, those of other packages among them; without names the defaults.

    Args:
        by: names; the first decides.
        kind: of the target.

    Raises:
        SettingsError: a name is unknown or not for this kind of target.

    >>> [one.title for one in find_scorers(["log_me", "gbc"], "classify")]
    ['LogME', 'GBC']
    """
    return choose_scorers(by, kind, installed_scorers())


def open_candidate(
    source: str | Path, target: Cohort, seed: int, *, architecture: str | None = None
) -> Model:
    """Open a source with its own head, which some scores look at; networks that were never trained have none.

    Args:
        source: what `open_source` opens, folders of runs among them.
        target: what it is to look at.
        seed: of a network that was never trained.
        architecture: timm name of the network, for a file of weights.

    Raises:
        ModelError: nothing is there, or it is damaged.
    """
    name = str(source)
    if not name.startswith("random/"):
        return open_source(adapted_model(source), architecture=architecture)
    with seeded(seed, "source"):
        if target.kind == "segment":
            return open_source(name, kind="segment", classes=target.classes)
        return open_source(name, kind="encode")


def _check_fine_tuning(top: int, seeds: int, sources: int) -> None:
    if not 0 <= top <= sources:
        raise SettingsError(
            "finetune_top", f"0 to {sources}, the number of sources", f"it is {top}", "Change it."
        )
    if seeds < 1 or (seeds > 1 and not top):
        raise SettingsError(
            "finetune_seeds", "1 or more, and more than 1 only with finetune_top",
            f"it is {seeds} with finetune_top={top}", "Give for example finetune_top=2 and finetune_seeds=5.",
        )  # fmt: skip


def _refuse_untested(task: Task) -> None:
    """Before hours of training, not after them."""
    assert task.target is not None
    if not len(task.target.split("test")):
        raise DataError(
            "finetune_top", "test rows of the target", f"{task.target.name} has none",
            "Mark some in the manifest's column 'split', or leave it out.",
        )  # fmt: skip


def _evidence(ranking: Ranking, target: Cohort, seed: int, fine_tuning: Sequence[int]) -> Evidence:
    def about(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(cohort=target.name, seed=seed)

    places = {source: place for place, source in enumerate(ranking.order)}
    scores = about(ranking.scores.assign(place=ranking.scores["source"].map(places)))
    tables: dict[str, pd.DataFrame] = {
        "ranking": scores,
        "ranking_passes": about(ranking.looks),
        "ranking_agreement": about(ranking.agreement),
    }
    regret = _published_regret(list(dict.fromkeys(scores["score"])), target.kind)
    if regret is not None:
        tables["ranking_regret"] = regret
    total = float(ranking.scores["seconds"].sum() + ranking.looks["seconds"].sum())
    entry = {
        "what": "rank",
        "cohort": target.name,
        "seed": seed,
        "fine_tuning_seeds": list(fine_tuning),
        "data": {"rows": len(target), "fingerprint": target.fingerprint(), "unit": target.unit_name},
        "decides": ranking.decides,
        "order": list(ranking.order),
        "versions": versions(),
        "seconds": round(total, 2) if math.isfinite(total) else None,
    }
    return Evidence(provenance=(entry,), tables=tables, warnings=ranking.warnings)


def _published_regret(scores: list[str], kind: str) -> pd.DataFrame | None:
    """What these scores can be expected to cost on a target like the published ones; None where none is among them."""
    from medgraft.ranking.published_regret import published_regret
    from medgraft.ranking.published_tables import published

    if kind != "classify" or not set(scores) & set(published().sources.tau.columns):
        return None
    table = published_regret(published().sources, "ImageNet").reset_index()
    return table[table["score"].isin([*scores, "always ImageNet"])].reset_index(drop=True)
