"""`medgraft check`: every problem of a data set at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medgraft.cli.cohorts import ClassesOption, KindOption, class_names
from medgraft.errors import DataError

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort


def check(
    manifest: Annotated[
        Path, typer.Argument(help="A table, a folder with one folder per class, or a published data set.")
    ],
    kind: KindOption = None,
    classes: ClassesOption = None,
    pretraining: Annotated[
        Path | None,
        typer.Option(
            help="What the source model was trained on, as a table: patients and images that occur there are told."
        ),
    ] = None,
) -> None:
    """List every problem of a data set, with row and file.

    Files, labels, patients in two splits, exact and near copies of images, and what differs between sites. Exits
    with 1 where there are errors; warnings deserve a look and do not stop a training.
    """
    from medgraft.data.checks import check as find_problems
    from medgraft.engine.progress import progress_bar
    from medgraft.plugins import activate

    activate()
    names = class_names(classes)
    data = _open(manifest, kind, names)
    before = None if pretraining is None else _open(pretraining, None, None)
    with progress_bar("checking", _count(data, before)) as advance:
        problems = find_problems(
            data,
            kind=kind,  # type: ignore[arg-type]
            classes=names,
            pretraining=before,
            advance=lambda: advance(None),
        )
    if not problems:
        typer.echo(f"{manifest}: no problems found.")
        return
    lines = [
        (one.severity, f"row {one.row}" if one.row else "table", one.file, one.message) for one in problems
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for line in lines:
        typer.echo("  ".join([*(text.ljust(width) for text, width in zip(line, widths)), line[3]]))
    errors = sum(one.severity == "error" for one in problems)
    told = ", ".join(_counted(*pair) for pair in ((errors, "error"), (len(problems) - errors, "warning")))
    typer.echo(f"\n{manifest}: {told}. Rows are counted from 1 below the header.")
    if errors:
        raise typer.Exit(1)


def _open(manifest: Path, kind: str | None, classes: Sequence[str] | None) -> Path | Cohort:
    """A cohort, so that it is known how long a check takes; what cannot be opened is told by the check."""
    from medgraft.data.manifest import read_manifest

    try:
        return read_manifest(manifest, kind=kind, classes=classes)  # type: ignore[arg-type]
    except DataError:
        return manifest


def _count(data: Path | Cohort, before: Path | Cohort | None) -> int | None:
    """How often `check` advances: once per image, and again for both sides of an overlap."""
    if isinstance(data, Path):
        return None
    again = len(data) + len(before) if before is not None and not isinstance(before, Path) else 0
    return len(data) + again


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
