"""What transferability scores find in one source, before it is compared with others."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import pandas as pd

from medgraft.evidence import Evidence

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.models.model import Model


def score_model(
    model: Model, rows: Cohort, names: Sequence[str], device: Literal["auto", "cpu", "cuda"], seed: int
) -> Evidence:
    """Look at labelled rows once and compute the terms of every score.

    Args:
        model: the source, with its own head.
        rows: with truth.
        names: of scores.
        device: where to look.
        seed: of pixels, where masks are scored.

    Returns: the table "terms": score, terms (JSON, empty where undefined), reason, seconds.

    Raises:
        ModelError: the source cannot look at these images.
    """
    from medgraft.api.ranking import find_scorers
    from medgraft.engine.distributed import choose_device
    from medgraft.ranking.material import gather_material
    from medgraft.ranking.rank import score_terms

    material = gather_material(model, rows, device=choose_device(device), seed=seed)
    lines = []
    for scorer in find_scorers(names, rows.kind):
        started = time.perf_counter()
        terms, reason = score_terms(scorer, material)
        seconds = time.perf_counter() - started
        told = "" if terms is None else json.dumps(terms)
        lines.append({"score": scorer.name, "terms": told, "reason": reason, "seconds": seconds})
    return Evidence(tables={"terms": pd.DataFrame(lines)})
