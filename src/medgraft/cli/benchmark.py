"""`medgraft benchmark`: a grid file; a folder with evidence and a report."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medgraft.cli.settings import merge_settings, parse_settings

if TYPE_CHECKING:
    from medgraft.benchmarks.stop import Stop
    from medgraft.evidence import Evidence


def benchmark(
    grid: Annotated[Path, typer.Argument(help="TOML file: cohorts, sources, methods, budgets, seeds.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for results; without it, one named as the file, beside it.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Replace a part of the file, e.g. cohorts.films.data=/data/films (repeatable)."
        ),
    ] = None,
    runner: Annotated[
        str, typer.Option(help="local (this process), pool (several processes) or ray.")
    ] = "local",
    workers: Annotated[int, typer.Option(help="Processes of a pool, or of a Ray that is started here.")] = 2,
    address: Annotated[
        str | None, typer.Option(help="Of a running Ray: auto, or HOST:PORT; without it one is started.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume/--no-resume", help="Keep finished cells, or compute all of this grid anew."),
    ] = True,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Compute cells anew that failed.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar, lines or summary.")] = False,
) -> None:
    """Compare methods fairly: equal search, named selection, baselines, several seeds, intervals over patients.

    A grid that was stopped or killed continues with the same command; finished cells are never computed again.
    """
    from medgraft.benchmarks.benchmark import benchmark as compute
    from medgraft.benchmarks.grid import parse_grid
    from medgraft.benchmarks.stop import Stop
    from medgraft.reports import report

    folder = out or grid.with_suffix("")
    asked = replaced(grid, settings) if settings else grid
    stop = Stop()
    with stopped_politely(stop):
        evidence = compute(
            asked,
            folder,
            runner=runner,
            workers=workers,
            address=address,
            resume=resume,
            retry_failed=retry_failed,
            progress=False if quiet else None,
            tell=typer.echo if sys.stdout.isatty() and not quiet else None,
            stop=stop,
        )
    known, _ = parse_grid(asked)
    page = None
    if not evidence.facts.empty and known is not None:
        page = report(evidence, folder / "report.html", title=known.name)
    if not quiet:
        _print_summary(evidence)
        typer.echo(f"\nReport: {page or 'none, for no cell finished'}\nEvidence: {folder / 'evidence'}")
    if failed := _count_failed(evidence):
        typer.echo(
            f"medgraft: {failed}. The table of cells in the report tells why; mend it and repeat the command with "
            "--retry-failed.",
            err=True,
        )
        raise typer.Exit(1)


@contextmanager
def stopped_politely(stop: Stop) -> Iterator[None]:
    """Take SIGTERM and the first Ctrl-C as a request: finish the step, exit 75, continue another time."""

    def ask(number: int, _: object) -> None:
        stop.ask()
        signal.signal(number, earlier[signal.Signals(number)])  # a second one does what it always did

    earlier = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _count_failed(evidence: Evidence) -> str:
    """How many cells failed, in words; empty where none did."""
    states = list(evidence.tables["grid"]["state"]) if "grid" in evidence.tables else []
    failed, unscored = sum(state == "failed" for state in states), _count_unscored(evidence)
    told = [f"{failed} of {len(states)} cells failed"] if failed else []
    told += [f"{unscored} times a source could not be scored"] if unscored else []
    return ", and ".join(told)


def _count_unscored(evidence: Evidence) -> int:
    return sum("could not be scored on" in warning for warning in evidence.warnings)


def replaced(path: Path, settings: list[str]) -> dict[str, Any]:
    """A grid file with parts in the place of its own; paths among them are relative to the current folder."""
    from medgraft.benchmarks.grid import read_grid

    values = read_grid(path).model_dump(mode="json", exclude_unset=True)
    merge_settings(values, parse_settings(settings))
    return values


def _print_summary(evidence: Evidence) -> None:
    """One line per subject and target: the main score over seeds, and what it took."""
    from medgraft.benchmarks.summary import summarise

    lines = summarise(evidence)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = [text.ljust(width) for text, width in zip(line[:4], widths[:4])]
        cells += [text.rjust(width) for text, width in zip(line[4:], widths[4:])]
        typer.echo("  ".join(cells).rstrip())
    for warning in evidence.warnings:
        typer.echo(f"Warning: {warning}", err=True)
