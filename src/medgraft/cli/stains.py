"""`medgraft stains`: how laboratories differ in colour, and what models make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medgraft.cli.cohorts import ClassesOption, KindOption, SitesOption, open_cohort
from medgraft.cli.evaluate import model_name
from medgraft.errors import SettingsError


def stains(
    manifest: Annotated[Path, typer.Argument(help="Tiles of several sites, in red, green and blue.")],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("stains.html"),
    model: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a model or of a run (repeatable): first before, then after."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Site that models were trained at; default: the first.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="train, validation, test, or all (data no model has seen).")
    ] = "test",
    at: SitesOption = None,
    kind: KindOption = None,
    classes: ClassesOption = None,
    images: Annotated[int, typer.Option(min=1, help="Tiles of each site that are looked at, at most.")] = 100,
    seed: Annotated[int, typer.Option(help="Decides which tiles.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    evidence: Annotated[Path | None, typer.Option(help="Also save the evidence in this folder.")] = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Leave tiles out of the page.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing.")] = False,
) -> None:
    """Show how laboratories stain: colours, tiles under every normaliser, and overlap in the features of models.

    Where the tiles have labels, models are also scored at each site. Nothing is trained.
    """
    from medgraft.api.stains import compare_stains
    from medgraft.reports import report
    from medgraft.reports.stains import stain_comparisons

    names = [model_name(folder) for folder in model or ()]
    if len(set(names)) < len(names):
        raise SettingsError(
            "stains", "models in folders of different names", f"it got {', '.join(names)}", "Rename one."
        )
    cohort = open_cohort(manifest, kind, classes, quiet=quiet, divide=split != "all")
    cohort = cohort.at(*at) if at else cohort
    cohort = cohort if split == "all" else cohort.split(split)
    found = compare_stains(
        cohort, dict(zip(names, model or ())), reference=reference, images=images, seed=seed, device=device
    )
    if evidence is not None:
        found.save(evidence)
    page = report(found, out, images=not no_images, title=f"Stains of {cohort.name}")
    if not quiet:
        typer.echo(" ".join(stain_comparisons(found, images=False)[0].sentences))
        typer.echo(f"Report: {page}")
    for warning in found.warnings:
        typer.echo(f"Warning: {warning}", err=True)
