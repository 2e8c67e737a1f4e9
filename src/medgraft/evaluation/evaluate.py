"""Measure a model on a cohort and write down everything a report needs."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medgraft.engine.distributed import choose_device
from medgraft.errors import DataError, ModelError
from medgraft.evaluation.bias import BiasAudit, audit_tables, check_audit
from medgraft.evaluation.classification import measure_labels
from medgraft.evaluation.measured import Measured
from medgraft.evaluation.readers import measure_readers, readers_of
from medgraft.evaluation.segmentation import measure_masks
from medgraft.evaluation.subgroups import groups_of, measure_subgroups
from medgraft.evidence import Evidence, Fact, fact
from medgraft.statistics.bootstrap import bootstrap_interval

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.models.model import Model
    from medgraft.types import JSON

FEW_UNITS = 10
SUBGROUP_COLUMNS = [
    *("subject", "cohort", "split", "seed", "attribute", "group"),
    *("metric", "value", "low", "high", "n", "unit"),
]


def evaluate(
    model: Model,
    cohort: Cohort,
    *,
    subject: str = "model",
    seed: int = 0,
    split: str | None = None,
    selection: str = "none",
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
        model: of the cohort's kind, with class names that include the cohort's.
        cohort: rows with truth.
        subject: name of the model in tables and reports.
        seed: of the run that made the model.
        split: name of the rows in tables; None takes the cohort's own.
        selection: rule that chose the epoch.
        by: columns of the manifest, such as site, sex or scanner, whose groups are also scored by themselves.
        bias: attributes of which it is asked whether the model does worse for some values, or learnt a shortcut from
            them; of classes and labels.
        repeats: bootstrap resamples of whole patients (or split units) for 95 % intervals.
        device: "cpu", "cuda" or "auto".
        examples: how many small pictures to keep, the worst first.
        tolerance_mm: of surface Dice, mm: how far two careful readers may differ.
        picture_patients: of masks, also keep one picture of every patient, of the slice that shows most whatever the
            model, so that models can be compared: a table "patient_pictures" and images named "patients/...".
        progress: show a bar; None shows it at a terminal.

    Returns: facts (classification: auroc, average_precision, accuracy, balanced_accuracy, ece, brier, recall
        per class; segmentation: dice, iou and, where spacings are known, surface Dice, HD95 and average surface
        distances per patient, for each class and over the foreground), predictions per row or scores per
        patient, a table "subgroups" where groups were asked for, "bias", "bias_groups" and "bias_probes" where an
        audit was, "readers" where columns `reader_NAME` hold what people said, examples, warnings and provenance.
        Images that show a class in only one of truth and prediction have no distances: they are left out of means
        and counted in the scores.

    Raises:
        ModelError: kind or classes of the model are not the cohort's.
        DataError: the cohort is empty or has no truth; `by` or `bias` names no column that groups images; a cell of
            a column `spacing_mm` is no spacing, or of `reader_NAME` no class.
        SettingsError: the tolerance is negative.
    """
    started = time.monotonic()
    _check(model, cohort)
    for attribute in by:
        groups_of(cohort, attribute)
    if bias is not None:
        check_audit(bias, subject, model, cohort)
    readers = readers_of(cohort)
    place = choose_device(device)
    part = split or _split_of(cohort)
    if model.spec.kind == "segment":
        measured = measure_masks(model, cohort, place, examples, progress, tolerance_mm, picture_patients)
    else:
        measured = measure_labels(model, cohort, place, examples, progress)
    facts = list(_facts(measured, cohort, subject, seed, part, selection, repeats))
    table = measured.table.assign(cohort=cohort.name, split=part)
    tables = {
        f"{measured.table_name}/{subject}/{seed}": table[["cohort", "split", *measured.table.columns]],
        f"classes/{cohort.name}": pd.DataFrame(
            list(enumerate(model.spec.classes)), columns=["index", "name"]
        ),
    }
    if by:
        groups = measure_subgroups(measured, cohort, by, repeats)
        groups = groups.assign(
            subject=subject, cohort=cohort.name, split=part, seed=seed, unit=cohort.unit_name
        )
        tables["subgroups"] = groups[SUBGROUP_COLUMNS]
    asked: dict[str, pd.DataFrame] = {}
    if bias is not None:
        asked |= audit_tables(bias, measured.table, {subject: model, **bias.beside}, cohort, repeats, place)
        asked = {name: table.assign(seed=seed) for name, table in asked.items()}
    if readers:
        asked["readers"] = measure_readers(readers, cohort, bias.attributes if bias is not None else ())
    for name, table in asked.items():
        tables[name] = table.assign(cohort=cohort.name, split=part, unit=cohort.unit_name)
    images: dict[str, np.ndarray] = {}
    lines = []
    for number, (line, picture) in enumerate(measured.examples):
        name = f"examples/{subject}/{seed}/{number}"
        images[name] = picture
        lines.append({"image": name, "subject": subject, "cohort": cohort.name, **line})
    if lines:
        tables["examples"] = pd.DataFrame(lines)
    shown = []
    for line, picture in measured.patients:
        name = f"patients/{subject}/{cohort.name}/{part}/{seed}/{line['unit']}"
        images[name] = picture
        shown.append(
            {"image": name, "subject": subject, "cohort": cohort.name, "split": part, "seed": seed, **line}
        )
    if shown:
        tables["patient_pictures"] = pd.DataFrame(shown)
    entry: JSON = {
        "what": "evaluate",
        "subject": subject,
        "cohort": cohort.name,
        "split": part,
        "seed": seed,
        "selection": selection,
        "data": {
            "rows": len(cohort),
            "units": len(np.unique(cohort.units)),
            "unit": cohort.unit_name,
            "fingerprint": cohort.fingerprint(),
            "licence": cohort.notes.get("licence"),
        },
        "model": {"kind": model.spec.kind, "provenance": model.spec.provenance},
        "bootstrap_repeats": repeats,
        "versions": versions(),
        "seconds": round(time.monotonic() - started, 2),
    }
    if bias is not None:
        entry["bias"] = bias.told()
    if model.spec.kind == "segment":
        entry["tolerance_mm"] = tolerance_mm
    warnings = measured.warnings + _warnings(cohort) + _remarks(model, cohort)
    return Evidence(pd.DataFrame(facts), (entry,), tables, images, warnings)


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for package in ("medgraft", "torch", "timm", "numpy"):
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:  # medgraft itself, when it runs from a checkout
            found.append((package, "not installed"))
    return tuple(found)


def versions() -> dict[str, str]:
    """Versions of what results depend on.

    >>> sorted(versions())
    ['medgraft', 'numpy', 'python', 'timm', 'torch']
    """
    return dict(_versions())


def _check(model: Model, cohort: Cohort) -> None:
    spec = model.spec
    if "truth" not in cohort.fields:
        raise DataError(
            "evaluate", "rows with truth", f"{cohort.name} offers {', '.join(sorted(cohort.fields))}",
            "Add labels or masks to the manifest; `medgraft predict` works without.",
        )  # fmt: skip
    if spec.kind not in ("classify", "multilabel", "segment") or spec.kind != cohort.kind:
        raise ModelError(
            "evaluate", f"a model of the kind of {cohort.name}, '{cohort.kind}'",
            f"this one's kind is '{spec.kind}'",
            "Adapt a model to these data first.",
        )  # fmt: skip
    if not len(cohort):
        raise DataError(
            "evaluate", "at least one row", f"this view of {cohort.name} has none",
            "Check the names of site and split.",
        )  # fmt: skip
    unknown = [name for name in cohort.classes if name not in spec.classes]
    if unknown or (spec.kind == "segment" and cohort.classes != spec.classes):
        raise ModelError(
            "evaluate", f"a model with the classes of {cohort.name} ({', '.join(cohort.classes)})",
            f"this one's are {', '.join(spec.classes)}",
            "Rename the classes in the manifest, name them with --classes, or adapt the model to these data.",
        )  # fmt: skip


def _split_of(cohort: Cohort) -> str:
    if not cohort.has_splits:
        return "all"
    return "+".join(dict.fromkeys(cohort.table["split"].astype(str)))


def _warnings(cohort: Cohort) -> tuple[str, ...]:
    count, notes = len(np.unique(cohort.units)), cohort.notes
    found = []
    if cohort.has_splits and (cohort.table["split"] == "train").any():
        found.append(
            f"{cohort.name}: rows of the split 'train' are included; if the model was trained on them, "
            "its scores say nothing about new patients."
        )
    if notes.get("silver_labels"):
        found.append(f"{cohort.name}: the truth is silver, made by a program or a model, not by an expert.")
    if simulated := notes.get("simulated"):
        found.append(
            f"{cohort.name}: {simulated if isinstance(simulated, str) else 'the images are simulated.'}"
        )
    if cohort.unit_name != "patients":
        found.append(f"{cohort.name}: intervals are over {count} {cohort.unit_name}, not patients.")
    if count < FEW_UNITS:
        found.append(
            f"{cohort.name}: {count} {cohort.unit_name} are few, and intervals over so few are too narrow."
        )
    return tuple(found)


def _remarks(model: Model, cohort: Cohort) -> tuple[str, ...]:
    told = tell_remarks([model.remarks.get(row, "") for row in range(len(cohort))])
    return (f"{cohort.name}: {told}",) if told else ()


def tell_remarks(remarks: Sequence[str]) -> str:
    """How often a model had something to say about a prediction, and what it said most often; empty if nothing.

    Args:
        remarks: one for each prediction, mostly empty.

    >>> tell_remarks(["", "too small", "not adapted", "not adapted"])
    'of 4 predictions 3 have a remark (most often: not adapted).'
    """
    counts = Counter(filter(None, remarks))
    if not counts:
        return ""
    (usual, often), total = counts.most_common(1)[0], counts.total()
    words = "most often: " if 1 < often < total else ""
    return f"of {len(remarks)} predictions {total} have a remark ({words}{usual})."


def _facts(
    measured: Measured, cohort: Cohort, subject: str, seed: int, split: str, selection: str, repeats: int
) -> Iterator[Fact]:
    count = len(np.unique(measured.units))
    for metric, part, score in measured.scores:
        interval = bootstrap_interval(score, measured.units, repeats=repeats)
        yield fact(
            subject=subject,
            cohort=cohort.name,
            split=split,
            metric=metric,
            part=part,
            seed=seed,
            value=interval.value,
            low=interval.low,
            high=interval.high,
            n=count,
            unit=cohort.unit_name,
            selection=selection,
        )
