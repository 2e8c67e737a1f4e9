"""`medgraft pretrain`: images without labels, of one data set or several; a folder with an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medgraft.cli.settings import parse_settings
from medgraft.cli.training import (
    AllowLeakOption,
    ArchitectureOption,
    CacheOption,
    CompileOption,
    DeviceOption,
    LimitEpochsOption,
    LimitStepsOption,
    LogOption,
    PrecisionOption,
    ProcessesOption,
    QuietOption,
    SeedOption,
    SettingsOption,
    ThreadsOption,
    WatchEveryOption,
    WatchOption,
    WorkersOption,
    open_watched,
    print_summary,
    stopped_by_sigterm,
    use_threads,
    words,
)
from medgraft.errors import SettingsError

if TYPE_CHECKING:
    from medgraft.engine.method import Method


def pretrain(
    manifests: Annotated[
        list[Path],
        typer.Argument(help="Tables, folders of images, or published data sets; no labels are used."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the encoder, run.json and logs.")],
    source: Annotated[
        str,
        typer.Option(
            help="What to go on from: packaged/efficientnet_lite0, timm/NAME, a folder, a file; "
            "random/NAME: from scratch."
        ),
    ],
    method: Annotated[
        str, typer.Option(help="A name from `medgraft methods`, or package.module:Class.")
    ] = "barlow_twins",
    settings: SettingsOption = None,
    architecture: ArchitectureOption = None,
    weight: Annotated[
        list[float] | None,
        typer.Option(
            help="How often images of each data set are seen, in their order; without it, every image once an epoch."
        ),
    ] = None,
    watch: WatchOption = None,
    watch_every: WatchEveryOption = 10,
    allow_leak: AllowLeakOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "32-true",
    compile: CompileOption = False,
    processes: ProcessesOption = 1,
    threads: ThreadsOption = None,
    limit_epochs: LimitEpochsOption = None,
    limit_steps: LimitStepsOption = None,
    log: LogOption = None,
    workers: WorkersOption = None,
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Train an encoder on images without labels. The same command continues a run that was stopped or killed."""
    from medgraft.api.adaptation import adapt
    from medgraft.data.manifest import read_manifest
    from medgraft.data.pooled import pool_images
    from medgraft.data.task import Task
    from medgraft.engine.run import Limit, Run
    from medgraft.plugins import activate, resolve_method

    run = Run(
        out,
        seed=seed,
        limit=Limit(limit_epochs, limit_steps),
        device=device,  # type: ignore[arg-type]
        precision=precision,  # type: ignore[arg-type]
        compile=compile,
        processes=processes,
        allow_leak=allow_leak,
        log=log,  # type: ignore[arg-type]
        workers=workers,
        cache=cache,
        watched=open_watched(watch, watch_every),
        progress=False if quiet else None,
    )
    resolved = resolve_method(method, parse_settings(settings or []))
    _refuse_if_it_needs_more(resolved)
    activate()
    cohorts = [read_manifest(manifest, kind="encode") for manifest in manifests]
    table = out.with_name(f"{out.name}.images.csv")
    if len(cohorts) > 1 or weight:
        table.parent.mkdir(parents=True, exist_ok=True)
        images = pool_images(cohorts, table, weights=weight or None, seed=seed)
    else:
        (images,) = cohorts
    use_threads(threads)
    try:
        with stopped_by_sigterm(run.shared):
            adapt(source, Task(source=images), resolved, run, architecture=architecture, command=words())
    finally:
        if not out.exists():  # it failed before anything was begun
            table.unlink(missing_ok=True)
    if not quiet:
        print_summary(out, run.shared.warnings)


def _refuse_if_it_needs_more(method: Method) -> None:
    import medgraft.pretraining
    from medgraft.engine.method import learns_from_images_alone

    if not learns_from_images_alone(method):
        own = [getattr(medgraft.pretraining, name).name for name in medgraft.pretraining.__all__]
        raise SettingsError(
            "medgraft pretrain", f"a method that learns from images alone ({', '.join(own)})",
            f"{method.name} needs more", "Choose one of these, or use `medgraft adapt`.",
        )  # fmt: skip
