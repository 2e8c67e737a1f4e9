"""`medgraft check`: every problem of a data set at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medgraft.cli.cohorts import ClassesOption, KindOption, class_names


def check(
    manifest: Annotated[
        Path, typer.Argument(help="A table, a folder with one folder per class, or a published data set.")
    ],
    kind: KindOption = None,
    classes: ClassesOption = None,
) -> None:
    """List every problem of a data set, with row and file.

    Exits with 1 where there are errors; warnings deserve a look and do not stop a training.
    """
    from medgraft.data.checks import check as find_problems
    from medgraft.engine.progress import progress_bar
    from medgraft.plugins import activate

    activate()
    with progress_bar("checking", None) as advance:
        names = class_names(classes)
        problems = find_problems(manifest, kind=kind, classes=names, advance=lambda: advance(None))  # type: ignore[arg-type]
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


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
