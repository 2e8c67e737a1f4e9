"""The rows that a command line names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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


def open_cohort(manifest: Path, kind: str | None, classes: str | None, *, quiet: bool = False) -> Cohort:
    """Open a manifest, a folder or a MedMNIST file; one without splits is divided by patient."""
    from medgraft.data.manifest import read_manifest
    from medgraft.data.splits import split_by_patient
    from medgraft.plugins import activate

    activate()
    cohort = read_manifest(manifest, kind=kind, classes=class_names(classes))  # type: ignore[arg-type]
    if cohort.has_splits:
        return cohort
    if not quiet:
        typer.echo(
            f"{cohort.name} has no column 'split': its {cohort.unit_name} are divided 70/15/15 into train, "
            "validation and test, the same way each time.",
            err=True,
        )
    return split_by_patient(cohort)


def class_names(text: str | None) -> Sequence[str] | None:
    """Names separated by commas.

    >>> class_names("benign, malignant")
    ['benign', 'malignant']
    """
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
