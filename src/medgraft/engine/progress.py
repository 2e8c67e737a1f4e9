"""Progress bars for people at a terminal; silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_shown: Any = None  # rich allows one live display at a time, so nested bars join the one that is shown

Advance = Callable[[str | None], None]


@contextmanager
def progress_bar(title: str, total: int | None, shown: bool | None = None) -> Iterator[Advance]:
    """Show how far a loop is; call what it yields once per item, with a note or None.

    Args:
        title: what is being done, in one to four words.
        total: number of items, or None where unknown.
        shown: None shows the bar when standard error is a terminal.

    >>> with progress_bar("training", 2, shown=False) as advance:
    ...     advance(None)
    """
    global _shown
    if not (sys.stderr.isatty() if shown is None else shown):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    owner = _shown is None
    if owner:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        _shown = Progress(
            *columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True), transient=True
        )
        _shown.start()
    bar, task = _shown, _shown.add_task(title, total=total, note="")

    def advance(note: str | None) -> None:
        if note is None:
            bar.advance(task)
        else:
            bar.update(task, advance=1, note=note)

    try:
        yield advance
    finally:
        bar.remove_task(task)
        if owner:
            bar.stop()
            _shown = None
