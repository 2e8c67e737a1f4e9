"""`medgraft evaluate`: scores with intervals, evidence and a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medgraft.cli.cohorts import ClassesOption, KindOption, SitesOption, open_cohort
from medgraft.errors import DataError, SettingsError

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.evaluation.bias import BiasAudit
    from medgraft.evidence import Evidence


def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a model or of a run.")],
    manifest: Annotated[
        Path, typer.Argument(help="Labelled images: a table, a class folder or a published data set.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for evidence and report.html.")],
    split: Annotated[
        str, typer.Option(help="train, validation, test, or all (data the model never saw).")
    ] = "test",
    at: SitesOption = None,
    kind: KindOption = None,
    classes: ClassesOption = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Also score each group of this column (site, sex, scanner, ...); may be repeated."),
    ] = None,
    bias: Annotated[
        list[str] | None,
        typer.Option(
            help="Is the model worse for some values of this column (fitzpatrick, camera, ...), did it learn "
            "a shortcut from it? May be repeated."
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="What the model was trained on, for --bias: its training rows, or all where it has no column 'split'. "
            "Default: the training rows of the manifest."
        ),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(help="For --bias: a model trained without the bias, whose features are probed, too."),
    ] = None,
    subject: Annotated[str | None, typer.Option("--name", help="Name of the model in tables.")] = None,
    tolerance_mm: Annotated[
        float, typer.Option(min=0.0, help="Of surface Dice, for segmentations whose spacing is known.")
    ] = 2.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    no_images: Annotated[
        bool, typer.Option("--no-images", help="Leave example images out of the report.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar and no summary.")] = False,
) -> None:
    """Score a model on labelled images and write a report.

    Intervals are over patients, or over what the table calls split units.
    """
    from medgraft.api.evaluation import evaluate as measure
    from medgraft.reports import report

    if out.exists() and not out.is_dir():
        raise DataError("evaluate", "a folder for its results", f"{out} is a file", "Choose another --out.")
    cohort = open_cohort(manifest, kind, classes, quiet=quiet, divide=split != "all")
    audit = _audit(bias or [], reference, beside or [], cohort, kind, classes)
    if at:
        cohort = cohort.at(*at)
    if split != "all":
        cohort = cohort.split(split)
    evidence = measure(
        model,
        cohort,
        subject=subject or model_name(model),
        split=split,
        by=by or (),
        bias=audit,
        device=device,
        examples=0 if no_images else 6,
        tolerance_mm=tolerance_mm,
        progress=False if quiet else None,
    )
    evidence.save(out / "evidence")
    page = report(
        evidence, out / "report.html", images=not no_images, title=f"{model_name(model)} on {cohort.name}"
    )
    if not quiet:
        _print_scores(evidence)
        typer.echo(f"\nReport: {page}\nEvidence: {out / 'evidence'}")


def _audit(
    attributes: list[str],
    reference: Path | None,
    beside: list[Path],
    cohort: Cohort,
    kind: str | None,
    classes: str | None,
) -> BiasAudit | None:
    """What is asked about attributes; training rows are those of the reference, or of the manifest itself."""
    from medgraft.api.adaptation import adapted_model
    from medgraft.evaluation.bias import BiasAudit
    from medgraft.models.storage import load_model

    if not attributes:
        if reference is not None or beside:
            raise SettingsError(
                "evaluate",
                "--bias with --reference and --beside",
                "it is missing",
                "Name a column with --bias.",
            )
        return None
    known = cohort if reference is None else open_cohort(reference, kind, classes, divide=False)
    trained = known.split("train") if known.has_splits else None if reference is None else known
    if trained is not None and not len(trained):
        trained = None
    return BiasAudit(
        attributes, trained, {model_name(path): load_model(adapted_model(path)) for path in beside}
    )


def model_name(model: Path) -> str:
    """The last folder that says something: that of the run, not the "model" inside it."""
    path = model.resolve()
    return path.parent.name if path.name == "model" else path.name


def _print_scores(evidence: Evidence) -> None:
    import math

    facts = evidence.facts.to_dict("records")
    for fact in facts:
        name = f"{fact['metric']} {fact['part']}".strip()
        interval = "" if math.isnan(fact["low"]) else f"  {fact['low']:.3f} to {fact['high']:.3f}"
        typer.echo(f"{name:32} {fact['value']:.3f}{interval}")
    typer.echo(f"95 % intervals over {facts[0]['n']} {facts[0]['unit']}")
    _print_subgroups(evidence)
    _print_bias(evidence)
    for table in evidence.tables.values():
        if "undefined" in table and (count := int(table["undefined"].sum())):
            typer.echo(
                f"Surface distances are undefined for {count} of {int(table['images'].sum())} images, counted once per "
                "class, that show it in only one of truth and prediction; means leave them out."
            )
    for warning in evidence.warnings:
        typer.echo(f"Warning: {warning}", err=True)


def _print_bias(evidence: Evidence) -> None:
    """What an audit found, the gap never alone."""
    import math

    table = evidence.tables.get("bias")
    if table is None:
        return
    for line in table[(table["metric"] == "auroc") & (table["part"] != "group")].to_dict("records"):
        interval = "" if math.isnan(line["low"]) else f"  {line['low']:.3f} to {line['high']:.3f}"
        group = f" ({line['group']})" if line["group"] else ""
        told = f"{line['value']:.3f}{interval}" if math.isfinite(line["value"]) else line["reason"]
        part = line["part"].replace("_", " ")
        typer.echo(f"{'auroc, ' + line['attribute'] + ': ' + part + group:32} {told}")


def _print_subgroups(evidence: Evidence) -> None:
    """The first score of each group; the report tells the rest."""
    import math

    if "subgroups" not in evidence.tables:
        return
    lines = evidence.tables["subgroups"].to_dict("records")
    for line in lines:
        if line["metric"] == lines[0]["metric"]:
            interval = "" if math.isnan(line["low"]) else f"  {line['low']:.3f} to {line['high']:.3f}"
            name = f"{line['metric']}, {line['attribute']} {line['group']}"
            typer.echo(f"{name:32} {line['value']:.3f}{interval}  ({line['n']} {line['unit']})")
