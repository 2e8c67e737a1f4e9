"""`medgraft report`: one HTML file from evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    evidence: Annotated[list[Path], typer.Argument(help="Folders of evidence, of evaluations or of runs.")],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("report.html"),
    no_images: Annotated[
        bool, typer.Option("--no-images", help="Leave images out: the page may go where images may not.")
    ] = False,
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "medgraft report",
) -> None:
    """Write one HTML file from saved evidence.

    Needs neither data nor model; the page loads nothing from elsewhere.
    """
    from medgraft.api.evidence import load_evidence
    from medgraft.evidence import Evidence
    from medgraft.reports import report as write_report

    whole = Evidence.empty()
    for folder in evidence:
        inner = folder / "evidence"
        whole += load_evidence(inner if inner.is_dir() else folder, subject=folder.resolve().name)
    typer.echo(f"Report: {write_report(whole, out, images=not no_images, title=title)}")
