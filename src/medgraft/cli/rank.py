"""`medgraft rank`: which source model to start from, as a table, evidence and a report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medgraft.cli.cohorts import ClassesOption, KindOption, SitesOption, open_cohort
from medgraft.errors import DataError

if TYPE_CHECKING:
    from medgraft.evidence import Evidence
    from medgraft.ranking.rank import Ranking


def rank(
    manifest: Annotated[
        Path, typer.Argument(help="Labelled target images: a table, a class folder or a published data set.")
    ],
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Two or more: packaged/efficientnet_lite0, timm/NAME, random/NAME, folders, patterns ('models/*')."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for forward passes, evidence and report.html.")],
    by: Annotated[
        list[str] | None,
        typer.Option(help="A score, such as log_me (repeatable); the first decides. Without it, several."),
    ] = None,
    finetune_top: Annotated[
        int, typer.Option(min=0, help="Fine-tune so many of the leaders and score them on test rows.")
    ] = 0,
    finetune_seeds: Annotated[
        int, typer.Option(min=1, help="Fine-tune each so often; 5 or more tell their worth from chance.")
    ] = 1,
    at: SitesOption = None,
    kind: KindOption = None,
    classes: ClassesOption = None,
    resamples: Annotated[
        int, typer.Option(min=0, help="Of patients, for intervals of ranks; 0 leaves them out.")
    ] = 30,
    seed: Annotated[int, typer.Option(help="Decides every random choice.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    projections: Annotated[
        bool,
        typer.Option(
            "--projections/--no-projections",
            help="Draw the images as the best source sees them, or save the seconds.",
        ),
    ] = True,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar and no table.")] = False,
) -> None:
    """Tell which source model to start from, without fine-tuning them all.

    Training rows of the target with labels are looked at once per source; the same command continues.
    """
    from medgraft.api.ranking import rank as rank_models
    from medgraft.data.task import Task
    from medgraft.reports import report

    if out.exists() and not out.is_dir():
        raise DataError("rank", "a folder for its results", f"{out} is a file", "Choose another --out.")
    whole = open_cohort(manifest, kind, classes, quiet=quiet)
    ranked = rank_models(
        sources,
        Task(target=whole.at(*at) if at else whole),
        by=by or (),
        finetune_top=finetune_top,
        finetune_seeds=finetune_seeds,
        folder=out,
        resamples=resamples,
        seed=seed,
        device=device,  # type: ignore[arg-type]
        projections=projections,
        progress=False if quiet else None,
    )
    ranked.evidence.save(out / "evidence")
    page = report(ranked.evidence, out / "report.html", title=f"Source models for {whole.name}")
    if not quiet:
        _print_table(ranked.ranking)
        _print_reliability(ranked.evidence)
        typer.echo(f"\nReport: {page}\nEvidence: {out / 'evidence'}")
    for warning in ranked.evidence.warnings:
        typer.echo(f"Warning: {warning}", err=True)


def _print_reliability(evidence: Evidence) -> None:
    """That fine-tuning tells the leaders apart; that it does not is a warning."""
    table = evidence.tables.get("ranking_reliability")
    if table is not None and table["tells_apart"].all():
        typer.echo(f"\n{table['sentence'].iloc[0]}")


def _print_table(ranking: Ranking) -> None:
    """Sources from best to worst; every score with its rank and, where known, the interval of the rank."""
    scores = ranking.scores
    names = list(dict.fromkeys(scores["score"]))
    rows = [["source", *names]]
    for source in ranking.order:
        own = scores[scores["source"] == source].set_index("score")
        rows.append([source, *(_cell(*own.loc[name, ["value", "rank", "low", "high"]]) for name in names)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
    typer.echo("Each cell: the score, higher is better; its rank; in brackets the rank with other patients.")


def _cell(value: float, rank: float, low: float, high: float) -> str:
    """A score in a table.

    >>> _cell(-0.41234, 2.0, 1.0, 3.0), _cell(0.5, math.nan, math.nan, math.nan), _cell(*[math.nan] * 4)
    ('-0.412  2 [1-3]', '0.500  -', '-')
    """
    if math.isnan(value):
        return "-"
    place = "-" if math.isnan(rank) else f"{rank:g}"
    interval = "" if math.isnan(low) else f" [{low:g}-{high:g}]"
    return f"{value:.3f}  {place}{interval}"
