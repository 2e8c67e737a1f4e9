"""The rows that a command line names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medgraft.errors import DataError, SettingsError

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort

KindOption = Annotated[
    str | None,
    typer.Option("--kind", help="What the truth is, where there are several: classify, multilabel, segment."),
]
ClassesOption = Annotated[
    str | None,
    typer.Option("--classes", help="Class names in order, separated by commas; default: those found."),
]
SitesOption = Annotated[list[str] | None, typer.Option("--at", help="Only rows of this site (repeatable).")]


def open_cohort(
    manifest: Path, kind: str | None, classes: str | None, *, quiet: bool = False, divide: bool = True
) -> Cohort:
    """Open a manifest, a folder, a published data set, samples/NAME or phantoms/NAME.

    One without splits is divided by patient.

    Raises:
        DataError: it cannot be opened, or has to be divided and a class is too rare to stand on three sides.
        SettingsError: there is no such phantom.
    """
    from medgraft.data.manifest import read_manifest
    from medgraft.data.splits import split_by_patient
    from medgraft.plugins import activate

    activate()
    group, name = manifest.parts[:1], "/".join(manifest.parts[1:])
    if group == ("samples",) and not manifest.exists():
        from medgraft.data.samples import load_samples

        return load_samples(name)
    if group == ("phantoms",) and not manifest.exists():
        from medgraft.phantoms import load_phantom

        return load_phantom(name)
    cohort = read_manifest(manifest, kind=kind, classes=class_names(classes))  # type: ignore[arg-type]
    if cohort.has_splits or not divide:
        return cohort
    _refuse_rare_classes(cohort)
    if not quiet:
        typer.echo(
            f"{cohort.name} has no column 'split': its {cohort.unit_name} are divided 70/15/15 into train, "
            "validation and test, the same way each time.",
            err=True,
        )
    return split_by_patient(cohort)


def _refuse_rare_classes(cohort: Cohort) -> None:
    if cohort.kind != "classify" or "truth" not in cohort.fields:
        return
    units, labels = cohort.units, cohort.labels
    for index, name in enumerate(cohort.classes):
        count = len(set(units[labels == index]))
        if 0 < count < 3:
            raise DataError(
                f"Dividing {cohort.name} into train, validation and test",
                f"at least three {cohort.unit_name} of every class",
                f"'{name}' has {count} (the first in row {cohort.table.index[(labels == index).argmax()]})",
                "Add some, remove the class, or write the column 'split' yourself.",
            )


def class_names(text: str | None) -> Sequence[str] | None:
    """Names separated by commas.

    >>> class_names("benign, malignant")
    ['benign', 'malignant']
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if "" in names or len(set(names)) < len(names):
        raise SettingsError(
            "--classes", "different names, separated by commas", f"it got {text!r}",
            "Write for instance --classes benign,malignant.",
        )  # fmt: skip
    return names
