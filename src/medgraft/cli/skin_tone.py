"""`medgraft skin-tone`: which tones of skin a data set shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def skin_tone(
    manifest: Annotated[Path, typer.Argument(help="Pictures of lesions, in colour: a table or a folder.")],
    out: Annotated[Path, typer.Option(help="The new table, as NAME.csv; the given one is never changed.")],
    human: Annotated[
        str | None,
        typer.Option(help="Column with Fitzpatrick types that people gave, 1 to 6: how far they agree."),
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Fit the thresholds between types to --human.")
    ] = False,
    balanced: Annotated[
        bool,
        typer.Option(
            "--balanced", help="Calibrate with all types counted equally; otherwise rare ones may vanish."
        ),
    ] = False,
    labeller: Annotated[
        str, typer.Option(help="border (lightest of eight boxes near it) or skin (all that looks like skin).")
    ] = "border",
    as_published: Annotated[
        bool,
        typer.Option("--as-published", help="Boxes by the published rule: grey and blue count as light."),
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option(help="Also write an HTML page: histogram, and pictures with the measured patch."),
    ] = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Leave pictures out of the page.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar and no summary.")] = False,
) -> None:
    """Estimate the tone of skin in every picture, as columns of a new table.

    `ita_angle` is the individual typology angle in degrees, `fitzpatrick_ita` the type that goes with it. Light and
    camera change both: they make groups for audits and debiasing, and are never a finding about a person.
    """
    from medgraft.api.skin_tone import measure_skin_tone
    from medgraft.reports.skin_tone import skin_tone_page, tone_counts

    evidence = measure_skin_tone(
        manifest,
        out,
        human=human,
        calibrate=calibrate,
        balanced=balanced,
        labeller=labeller,  # type: ignore[arg-type]
        as_published=as_published,
        pictures=page is not None and not no_images,
        progress=False if quiet else None,
    )
    written = (
        None if page is None else skin_tone_page(evidence, page, title=f"Tones of skin in {manifest.stem}")
    )
    if quiet:
        return
    counts = tone_counts(evidence)
    most = max(max(line[1:]) for line in counts)
    for name, *numbers in counts:
        people = f"   people: {numbers[1]}" if len(numbers) > 1 else ""
        typer.echo(f"{name:8} {numbers[0]:6}  {'#' * round(40 * numbers[0] / most)}{people}")
    if "skin_tone_agreement" in evidence.tables:
        for line in evidence.tables["skin_tone_agreement"].to_dict("records"):
            left_out = ", patients left out" if line["how"] == "calibrated" else ""
            typer.echo(
                f"Agreement with people, {line['labeller']}, {line['how']} thresholds "
                f"({line['thresholds']}{left_out}): exact {line['exact']:.2f}, within one type "
                f"{line['within_one']:.2f}, unknown {line['unknown']:.2f}, {line['n']} images"
            )
    typer.echo(f"Table: {out}" + (f"\nPage: {written}" if written else ""))
