"""`medgraft report`: one HTML file from evidence, its numbers as JSON, or a card for a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medgraft.errors import DataError, SettingsError

if TYPE_CHECKING:
    from medgraft.evidence import Evidence


def report(
    evidence: Annotated[
        list[Path] | None, typer.Argument(help="Folders of evidence, of evaluations, of runs or of grids.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The HTML file to write; a card may also end in .md.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Also write the numbers of the page as JSON.")
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option("--card", help="Write a model card for this saved model (or finished run) instead."),
    ] = None,
    no_images: Annotated[
        bool, typer.Option("--no-images", help="Leave images out: the page may go where images may not.")
    ] = False,
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "medgraft report",
) -> None:
    """Write one HTML file from saved evidence.

    Needs neither data nor the weights of a model; the page loads nothing from elsewhere. With --card, a card
    for a saved model: what it is for, what it learnt from, how good it is in this evidence, and its limits.
    """
    from medgraft.reports import model_card, write_numbers
    from medgraft.reports import report as write_report

    if card is not None and json is not None:
        raise SettingsError("report", "--card or --json", "it got both", "Call it once for each.")
    if card is not None:
        typer.echo(f"Card: {model_card(card, out or Path('card.html'), _read(evidence or []))}")
        return
    if not evidence:
        raise SettingsError(
            "report", "a folder of evidence", "none was named", "Name the folder that `evaluate` wrote."
        )
    whole = _read(evidence)
    typer.echo(
        f"Report: {write_report(whole, out or Path('report.html'), images=not no_images, title=title)}"
    )
    if json is not None:
        typer.echo(f"Numbers: {write_numbers(whole, json, title=title)}")


def _read(folders: list[Path]) -> Evidence:
    """The evidence of all these folders, added up, and what differs between models that were audited."""
    from medgraft.api.evidence import load_evidence
    from medgraft.evidence import Evidence

    whole = Evidence.empty()
    for folder in folders:
        inner = folder / "evidence"
        whole += load_evidence(inner if inner.is_dir() else folder, subject=folder.resolve().name)
    return _with_audits_compared(whole)


def _with_audits_compared(evidence: Evidence) -> Evidence:
    """The first model that was audited is the one that others are compared with."""
    from dataclasses import replace

    from medgraft.evaluation.compare_audits import compare_audits

    audits = evidence.tables.get("bias")
    if audits is None or audits["subject"].nunique() < 2 or "bias_comparisons" in evidence.tables:
        return evidence
    try:
        found = compare_audits(evidence)
    except DataError as error:
        typer.echo(f"Warning: audits are shown without intervals of what differs. {error}", err=True)
        return evidence
    return replace(evidence, tables=evidence.tables | found.tables)
