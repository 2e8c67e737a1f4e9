"""Evaluate a model, or the one in a folder together with how it came about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medgraft.api.adaptation import adapted_model
from medgraft.api.evidence import load_evidence
from medgraft.api.recipe import FILE, read_recipe
from medgraft.evaluation import evaluate as measuring
from medgraft.evidence import Evidence
from medgraft.models.model import Model
from medgraft.models.storage import load_model
from medgraft.plugins import activate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medgraft.data.cohort import Cohort
    from medgraft.evaluation.bias import BiasAudit


def evaluate(
    model: Model | str | Path,
    cohort: Cohort,
    *,
    subject: str = "model",
    seed: int | None = None,
    split: str | None = None,
    selection: str | None = None,
    by: Sequence[str] = (),
    bias: BiasAudit | None = None,
    repeats: int = 1000,
    device: str = "cpu",
    examples: int = 6,
    tolerance_mm: float = 2.0,
    picture_patients: bool = False,
    progress: bool | None = False,
) -> Evidence:
    """Tell how good a model is on labelled images, with intervals over patients, as evidence for a report.

    Args:
        model: a model, or the folder of one or of a run; a run adds how it was trained.
        cohort, subject, split, by, bias, repeats, device, examples, tolerance_mm, picture_patients, progress: as for
            `evaluation.evaluate`.
        seed, selection: of the run that made the model; None takes what the model's provenance tells.

    Raises:
        ModelError, DataError: model and cohort do not go together.

    >>> import medgraft as mg
    >>> from medgraft.testing import make_cohort
    >>> cohort = make_cohort("classify")
    >>> model = mg.adapt("random/test_resnet", mg.Task(target=cohort), mg.methods.SimpleBaseline())
    >>> facts = mg.evaluate(model, cohort.split("test"), repeats=50).facts
    >>> facts.loc[facts["metric"] == "accuracy", "unit"].item()
    'patients'
    """
    activate()
    history = Evidence.empty()
    if not isinstance(model, Model):
        folder, found = Path(model), Path(adapted_model(model))
        model = load_model(found)
        run = found.parent if found != folder or (found.parent / FILE).is_file() else None
        if run is not None and read_recipe(run):
            history = load_evidence(run, subject)
    last = (model.spec.provenance.get("adapted") or [{}])[-1]
    return history + measuring.evaluate(
        model,
        cohort,
        subject=subject,
        seed=last.get("seed", 0) if seed is None else seed,
        split=split,
        selection=last.get("selection", "none") if selection is None else selection,
        by=by,
        bias=bias,
        repeats=repeats,
        device=device,
        examples=examples,
        tolerance_mm=tolerance_mm,
        picture_patients=picture_patients,
        progress=progress,
    )
