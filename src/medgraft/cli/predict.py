"""`medgraft predict`: classes, labels or masks of new images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a model or of a run.")],
    images: Annotated[list[Path], typer.Argument(help="A manifest, a folder of images, or image files.")],
    out: Annotated[Path, typer.Option(help="Folder for predictions.csv, and masks where there are any.")],
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    flip: Annotated[
        list[str],
        typer.Option(
            help="Also predict mirrored along this axis (depth, height, width) and average; repeatable."
        ),
    ] = [],  # noqa: B006 - typer copies it
    masks: Annotated[str, typer.Option(help="auto (as the image), nifti, png, dicom_seg or npy.")] = "auto",
    adapt: Annotated[
        str | None, typer.Option(help="Adapt the model to these images: fourier, normalise_stain or ada_bn.")
    ] = None,
    donors: Annotated[
        Path | None,
        typer.Option(help="With fourier and normalise_stain: a manifest or folder of images of the source."),
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="With fourier: radius that is swapped, 0.015 without it.")
    ] = None,
    choose: Annotated[
        str | None, typer.Option(help="With fourier, donors by: 3d (without it), 2d, 2.5d or random.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar and no summary.")] = False,
) -> None:
    """Predict classes, labels or masks of new images and volumes.

    Writes predictions.csv, and masks in each image's own place and size. A stopped segmentation goes on when the same
    command is given again.
    """
    from medgraft.api.prediction import FILE
    from medgraft.api.prediction import predict as predict_images
    from medgraft.evaluation.evaluate import tell_remarks

    given = images[0] if len(images) == 1 else images
    table = predict_images(
        model,
        given,
        out,
        device=device,
        flips=flip,  # type: ignore[arg-type] # refused in a sentence
        masks=masks,  # type: ignore[arg-type]
        progress=False if quiet else None,
        adapt=adapt,  # type: ignore[arg-type]
        donors=donors,
        beta=beta,
        choose=choose,  # type: ignore[arg-type]
    )
    if not quiet:
        typer.echo(f"{len(table)} images predicted: {out / FILE}")
        if "remark" in table:
            typer.echo(f"Warning: {tell_remarks(table['remark'].tolist())}", err=True)
