"""`medgraft demo`: what the package does, on real images that come with it."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class DemoTask(StrEnum):
    """What the demo shows."""

    classification = "classification"
    segmentation = "segmentation"


def demo(
    task: Annotated[
        DemoTask,
        typer.Option(help="classification: H&E nuclei. segmentation: the brain in MR slices of two sites."),
    ] = DemoTask.classification,
    out: Annotated[Path, typer.Option(help="Folder for models, evidence and the report.")] = Path(
        "medgraft-demo"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed, fewer methods, short trainings: about a minute.")
    ] = False,
    seeds: Annotated[
        int, typer.Option(min=1, help="Repetitions: other labelled images, other initial weights.")
    ] = 3,
    no_images: Annotated[
        bool, typer.Option("--no-images", help="Leave example images out of the report.")
    ] = False,
) -> None:
    """Adapt networks to real images of another site, compare them with simple baselines, and write a report.

    Repeating the command continues where it stopped and does not train again what is finished.
    """
    import medgraft as mg
    from medgraft.cli.demos import brain, nuclei
    from medgraft.cli.demos.tables import print_tables

    started = time.monotonic()
    used = range(1 if quick else seeds)
    if task is DemoTask.segmentation:
        runs = out / "runs" / ("segmentation-quick" if quick else "segmentation")
        evidence = brain.run_brain(runs, used, quick)
        title, shown, trained_on = brain.TITLE, brain.SHOWN, brain.TRAINED_ON
    else:
        runs = out / "runs" / ("quick" if quick else "full")
        evidence = nuclei.run_nuclei(runs, used, quick)
        title, shown, trained_on = nuclei.TITLE, nuclei.SHOWN, nuclei.TRAINED_ON
    evidence.save(out / "evidence")
    page = mg.report(evidence, out / "report.html", images=not no_images, title=title)
    print_tables(evidence, shown, trained_on)
    typer.echo(f"\nreport  {page}\nmodels  {runs}\n{time.monotonic() - started:.0f} s in all")
