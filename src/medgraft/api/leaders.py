"""The leaders of a ranking, really fine-tuned: their test scores, and whether these tell the leaders apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from medgraft.api.adaptation import adapt
from medgraft.engine.distributed import choose_device
from medgraft.engine.run import Run
from medgraft.evaluation.evaluate import evaluate
from medgraft.evidence import Evidence
from medgraft.models.model import Model
from medgraft.ranking.reliability import measure_reliability
from medgraft.reports.panels import make_panels
from medgraft.reports.ranking.leaders import realised, sign_of
from medgraft.reports.ranking.source_ranking import RELIABILITY, read_rankings

if TYPE_CHECKING:
    from medgraft.data.task import Task
    from medgraft.engine.method import Method


def fine_tune_leaders(
    leaders: Mapping[str, str | Path | Model],
    task: Task,
    method: Method | str,
    seeds: Sequence[int],
    *,
    folder: Path | None,
    device: Literal["auto", "cpu", "cuda"],
    progress: bool | None,
) -> tuple[dict[str, Model], Evidence]:
    """Fine-tune every leader once per seed and score it on the target's test rows.

    Args:
        leaders: by name.
        task: with a target.
        method: to fine-tune with.
        seeds: of the trainings, the first of which gives the models.
        folder: receives one run per leader and seed, so that a repeated call continues; None keeps nothing.
        device: "cpu", "cuda" or "auto".
        progress: show a bar; None shows it at a terminal.

    Returns: the models of the first seed, and the test scores of all.
    """
    assert task.target is not None
    test, place = task.target.split("test"), choose_device(device)
    models: dict[str, Model] = {}
    evidence = Evidence.empty()
    for name, source in leaders.items():
        for seed in seeds:
            kept = folder / run_name(name, seed, seeds[0]) if folder else None
            model = adapt(source, task, method, Run(kept, seed=seed, device=device, progress=progress))
            models.setdefault(name, model)
            evidence += evaluate(model, test, subject=name, seed=seed, examples=0, device=place)
    return models, evidence


def run_name(source: str, seed: int, first: int) -> str:
    """The folder's name for a source's training, legible and its own; the first seed goes without saying.

    >>> run_name("packaged/efficientnet_lite0", 3, 3), run_name("models/a", 4, 3)
    ('packaged_efficientnet_lite0', 'models_a+seed4')
    """
    legible = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in source).strip("._")
    return legible if seed == first else f"{legible}+seed{seed}"


def with_reliability(evidence: Evidence, seeds: int) -> Evidence:
    """The evidence of one ranking and, where two or more leaders were scored, whether that tells them apart.

    Args:
        evidence: of one ranking, with test scores of leaders.
        seeds: that each was fine-tuned with. A leader whose score is undefined for one of them is left out.

    Returns: with several seeds a table of one row more, and a warning where the leaders are not told apart or one
        seed cannot tell.
    """
    (ranking,) = read_rankings(evidence)
    found = realised(ranking, make_panels(evidence))
    if found is None:
        return evidence
    if seeds == 1:
        return evidence + Evidence(
            warnings=(
                f"{ranking.cohort}: each leader was fine-tuned once, and one run each cannot tell a source's worth "
                "from chance. Give finetune_seeds=5 (--finetune-seeds 5).",
            )
        )
    values = [leader.cell.seeds for leader in found.leaders if len(leader.cell.seeds) == seeds]
    if len(values) < 2:
        return evidence
    reliability = measure_reliability(sign_of(found.metric) * np.array(values))
    about = {"cohort": ranking.cohort, "seed": ranking.seed, "metric": found.metric}
    told = {"tells_apart": reliability.tells_apart, "sentence": reliability.sentence()}
    table = pd.DataFrame([about | reliability._asdict() | told])
    warnings = () if reliability.tells_apart else (f"{ranking.cohort}: {told['sentence']}",)
    return evidence + Evidence(tables={RELIABILITY: table}, warnings=warnings)
