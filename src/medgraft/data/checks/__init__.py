"""Every problem of a data set at once, each with its file, row and remedy, before anything is trained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from medgraft.data.checks.copies import check_copies, check_overlap
from medgraft.data.checks.files import Look, look_at_all
from medgraft.data.checks.problem import Checked, Problem
from medgraft.data.checks.sites import check_geometry, check_label_rates
from medgraft.data.checks.table import Shown, check_patients, check_table, check_truth
from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.data.near_duplicates import Collector
from medgraft.errors import DataError
from medgraft.types import Kind

__all__ = ["Problem", "check"]


def check(
    data: Path | str | Cohort,
    *,
    kind: Kind | None = None,
    classes: Sequence[str] | None = None,
    pretraining: Path | str | Cohort | None = None,
    advance: Callable[[], None] = lambda: None,
) -> list[Problem]:
    """List every problem of a data set.

    Args:
        data: what `read_manifest` opens, or a cohort.
        kind, classes: as for `read_manifest`.
        pretraining: what the source model was trained on: patients and images that occur there too are told.
        advance: called once per image, for a progress bar; images of `pretraining` included.

    Returns: errors first, then warnings, in row order; empty where all is well. Two images are in memory at a time.
    """
    try:
        cohort = data if isinstance(data, Cohort) else read_manifest(data, kind=kind, classes=classes)
    except DataError as error:
        return [Problem("error", str(data), 0, str(error))]
    checked = Checked(cohort)
    problems = [*check_table(checked), *_check_rows(checked, advance)]
    if pretraining is not None:
        problems += _check_pretraining(checked, pretraining, advance)
    return sorted(problems, key=lambda problem: (problem.severity, problem.row))


def _check_rows(checked: Checked, advance: Callable[[], None]) -> Iterator[Problem]:
    cohort = checked.cohort
    number = len(cohort)
    shown = {name: Shown(np.zeros(number, bool), np.ones(number, bool)) for name in cohort.classes}
    yield from check_truth(checked, shown)
    units = np.unique(cohort.units, return_inverse=True)[1]
    collected = Collector(number)
    looks: list[Look] = []
    for position, look in enumerate(look_at_all(checked)):
        advance()
        yield from look.problems
        collected.add_signature(look.signature, look.side, int(units[position]))
        for label, name in enumerate(cohort.classes if cohort.kind == "segment" else ()):
            shown[name].rows[position] = label in look.labels
            shown[name].known[position] = len(look.labels) > 0
        looks.append(look._replace(signature=None))
    yield from _check_channels(checked, looks)
    yield from _tell_headers(checked, looks)
    if checked.has_truth:
        yield from check_patients(checked, shown)
        yield from check_label_rates(checked, shown)
    yield from check_geometry(checked, looks)
    yield from check_copies(checked, [look.pixels for look in looks], collected)


def _check_channels(checked: Checked, looks: Sequence[Look]) -> Iterator[Problem]:
    channels: dict[int, list[int]] = defaultdict(list)
    for position, look in enumerate(looks):
        if look.shape is not None:
            channels[look.shape[-1]].append(position)
    common = max((len(positions), count) for count, positions in channels.items())[1] if channels else 0
    for count, positions in channels.items():
        if count != common:
            what = f"The image has {count} channels, most have {common}"
            told = f"{what}: convert it, or let the model's preparation do so."
            yield checked.of_row(positions[0], told, "warning")


def _tell_headers(checked: Checked, looks: Sequence[Look]) -> Iterator[Problem]:
    headers: dict[str, list[int]] = defaultdict(list)
    for position, look in enumerate(looks):
        for told in look.headers:
            headers[told].append(position)
    for told, positions in headers.items():
        others = f" The same holds for {len(positions) - 1} more rows." if len(positions) > 1 else ""
        yield checked.of_row(positions[0], told + others, "warning")


def _check_pretraining(
    checked: Checked, pretraining: Path | str | Cohort, advance: Callable[[], None]
) -> Iterator[Problem]:
    try:
        other = pretraining if isinstance(pretraining, Cohort) else read_manifest(pretraining)
    except DataError as error:
        yield Problem("error", str(pretraining), 0, str(error))
        return
    yield from check_overlap(checked, other, advance)
