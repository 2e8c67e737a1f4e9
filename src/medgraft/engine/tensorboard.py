"""Losses, scores and learning rates of a training as TensorBoard shows them, one point per epoch."""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from medgraft.errors import SettingsError, cannot_write
from medgraft.types import JSON

FOLDER = "tensorboard"
NOT_SHOWN = ("epoch", "step", "seconds")


def require_tensorboard() -> None:
    """Raise `SettingsError` where the package is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise SettingsError(
            "Logging for TensorBoard", "the package tensorboard", "it is not installed",
            "Run: pip install 'medgraft[tensorboard]'.",
        )  # fmt: skip


class EventFile:
    """The one event file of a training; one that an earlier, interrupted attempt left is replaced.

    It is written by tensorboard's own record writer, epoch by epoch, and not by a `SummaryWriter`: that one writes
    from a thread, where a full disk is met too late for a sentence.

    Args:
        folder: of the run; the file comes into `tensorboard/` in it.
        rows: history of the epochs before, written again, so that no point is missing or doubled.

    Raises:
        RunError: no room or no permission.
    """

    def __init__(self, folder: Path, rows: Sequence[JSON]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        place = folder / FOLDER
        # later names sort behind earlier ones, so that a TensorBoard that is watching goes on to this file
        self.path = place / f"events.out.tfevents.{time.time_ns()}"
        try:
            place.mkdir(parents=True, exist_ok=True)
            for earlier in place.glob("events.out.tfevents.*"):
                earlier.unlink()
            self._file = self.path.open("wb")
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        # tells a TensorBoard that is watching to forget the points of the attempt before
        self._write(Event(wall_time=time.time(), session_log=SessionLog(status=SessionLog.START)))
        for row in rows:
            self.add(row)

    def __enter__(self) -> EventFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError as problem:  # what a full disk did not take is tried once more here
            if error is None:
                raise cannot_write(self.path, problem) from problem

    def add(self, row: JSON) -> None:
        """Write the numbers of one epoch; those that are undefined are left out.

        Args:
            row: one of `History.rows`.
        """
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=name, simple_value=number)
            for name, number in row.items()
            if name not in NOT_SHOWN and math.isfinite(number)
        ]
        self._write(Event(wall_time=time.time(), step=row["epoch"], summary=Summary(value=values)))

    def _write(self, event: Any) -> None:
        try:
            self._records.write(event.SerializeToString())
            self._file.flush()
        except OSError as error:
            raise cannot_write(self.path, error) from error
