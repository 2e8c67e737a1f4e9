"""`medgraft adapt`: a source model, a target and a method; a folder with the adapted model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medgraft.cli.cohorts import ClassesOption, KindOption, SitesOption, open_cohort
from medgraft.cli.settings import merge_settings, parse_settings, read_toml
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
    SourceOption,
    ThreadsOption,
    WatchEveryOption,
    WatchOption,
    WorkersOption,
    open_watched,
    print_summary,
    required,
    stopped_by_sigterm,
    use_threads,
    words,
)
from medgraft.errors import SettingsError

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort

LISTS = ("at", "source_at", "settings")
BESIDE_A_RECORD = ("config", "out", "method", "allow_changed_data", "log", "workers", "cache", "quiet")
"""What may be said beside a run.json; everything else it decides by itself."""


def _read_config(ctx: typer.Context, path: Path | None) -> Path | None:
    """A TOML file gives defaults to the other options; a run.json is repeated as it is."""
    if path is None or _is_record(path):
        return path
    found = read_toml(path)
    ctx.meta["settings"] = found.pop("settings", {})
    if not isinstance(ctx.meta["settings"], Mapping):
        raise SettingsError(
            f"The file {path}", "settings as a table", f"it has settings = {ctx.meta['settings']!r}",
            "Write [settings] and below it one line for each, for instance scope = \"head\".",
        )  # fmt: skip
    known = {option.name: option for option in ctx.command.params if option.name != "config"}
    names = [name for name in known if name is not None and name != "settings"]
    for key in found:
        if key not in names:
            from medgraft.plugins import nearest

            raise SettingsError(
                f"The file {path}", f"keys among {', '.join(names)}, and a table [settings]",
                f"it has '{key}'{nearest(key, names)}", "Correct the key.",
            )  # fmt: skip
    ctx.default_map = {
        key: [value] if key in LISTS and isinstance(value, str) else _joined(value, key)
        for key, value in found.items()
    }
    return path


def _is_record(path: Path) -> bool:
    """A run.json, or the folder of a run."""
    return path.suffix == ".json" or path.is_dir()


def _joined(value: Any, key: str) -> Any:
    """Classes may be a list in TOML."""
    return ",".join(map(str, value)) if isinstance(value, list) and key not in LISTS else value


def adapt(
    ctx: typer.Context,
    manifest: Annotated[
        Path | None,
        typer.Argument(help="A table, a folder with one folder per class, or a published data set."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the model, run.json and logs; required.")
    ] = None,
    source: SourceOption = None,
    architecture: ArchitectureOption = None,
    method: Annotated[
        str, typer.Option(help="A name from `medgraft methods`, or package.module:Class.")
    ] = "fine_tune",
    settings: SettingsOption = None,
    config: Annotated[
        Path | None,
        typer.Option(
            is_eager=True, callback=_read_config, help="TOML file with options and [settings]; or a run.json."
        ),
    ] = None,
    at: SitesOption = None,
    source_at: Annotated[
        list[str] | None,
        typer.Option(help="Site of the same table that the source model stems from (repeatable)."),
    ] = None,
    few: Annotated[
        int | None, typer.Option(help="Only so many labelled images per class, or patients.")
    ] = None,
    few_by: Annotated[str, typer.Option(help="What --few counts: image or patient.")] = "image",
    kind: KindOption = None,
    classes: ClassesOption = None,
    seed: SeedOption = 0,
    select: Annotated[
        str | None,
        typer.Option(help="Which epoch to keep: last, target_validation, source_validation, oracle."),
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "32-true",
    compile: CompileOption = False,
    processes: ProcessesOption = 1,
    threads: ThreadsOption = None,
    limit_epochs: LimitEpochsOption = None,
    limit_steps: LimitStepsOption = None,
    log: LogOption = None,
    save_optimizer: Annotated[
        bool, typer.Option("--save-optimizer", help="Keep the optimiser's history beside the weights.")
    ] = False,
    record_updates: Annotated[
        bool, typer.Option("--record-updates", help="Record how far each layer moves in a step.")
    ] = False,
    watch: WatchOption = None,
    watch_every: WatchEveryOption = 10,
    allow_leak: AllowLeakOption = False,
    allow_changed_data: Annotated[
        bool, typer.Option("--allow-changed-data", help="With a run.json: go on although the data changed.")
    ] = False,
    workers: WorkersOption = None,
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Adapt a source model to a target site. The same command continues a run that was stopped or killed."""
    folder = required(out, "--out", "--out runs/porto")
    if config is not None and _is_record(config):
        _refuse_besides_run_json(ctx)
        chosen = method if ctx.get_parameter_source("method").name == "COMMANDLINE" else None  # type: ignore[union-attr]
        from medgraft.api.adaptation import repeat
        from medgraft.engine.run import Shared

        shared = Shared()
        with stopped_by_sigterm(shared):
            repeat(
                config,
                folder,
                method=chosen,
                allow_changed_data=allow_changed_data,
                command=words(),
                log=log,  # type: ignore[arg-type]
                workers=workers,
                cache=cache,
                progress=False if quiet else None,
                shared=shared,
            )
    else:
        from medgraft.api.adaptation import adapt as adapt_model
        from medgraft.data.task import Task
        from medgraft.engine.run import Limit, Run
        from medgraft.plugins import resolve_method

        values = dict(ctx.meta.get("settings", {}))
        merge_settings(values, parse_settings(settings or []))
        # words of the user's: Run and its Fabric say what they accept
        run = Run(
            folder,
            seed=seed,
            limit=Limit(limit_epochs, limit_steps),
            device=device,  # type: ignore[arg-type]
            precision=precision,  # type: ignore[arg-type]
            compile=compile,
            processes=processes,
            select=select,
            allow_leak=allow_leak,
            log=log,  # type: ignore[arg-type]
            workers=workers,
            cache=cache,
            save_optimizer=save_optimizer,
            record_updates=record_updates,
            watched=open_watched(watch, watch_every),
            progress=False if quiet else None,
        )
        named_source = required(source, "--source", "--source packaged/efficientnet_lite0")
        resolved = resolve_method(method, values)
        whole = open_cohort(required(manifest, "MANIFEST", "lungs.csv"), kind, classes, quiet=quiet)
        target = _few(whole.at(*at) if at else whole, few, few_by, seed)
        task = Task(source=whole.at(*source_at) if source_at else None, target=target)
        use_threads(threads)
        shared = run.shared
        with stopped_by_sigterm(shared):
            adapt_model(named_source, task, resolved, run, architecture=architecture, command=words())
    if not quiet:
        print_summary(folder, shared.warnings)


def _few(cohort: Cohort, few: int | None, by: str, seed: int) -> Cohort:
    if by not in ("image", "patient"):
        raise SettingsError("--few-by", "image or patient", f"it got {by!r}", "Choose one of these.")
    return cohort if few is None else cohort.few(few, by=by, seed=seed)  # type: ignore[arg-type]


def _refuse_besides_run_json(ctx: typer.Context) -> None:
    for option in ctx.command.params:
        given = ctx.get_parameter_source(str(option.name))
        if option.name not in BESIDE_A_RECORD and given is not None and given.name == "COMMANDLINE":
            raise SettingsError(
                "Repeating a run.json",
                "no other options than --out, --method, --allow-changed-data, --log, --workers, --cache and --quiet",
                f"it got {option.opts[0]} too",
                "Leave it out, or write a TOML file with what you want to change.",
            )  # fmt: skip
