"""A worker of a pool: cells come as lines of JSON on standard input; answers are done and busy."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import TextIO

from medgraft.benchmarks.cell import Cell, run_cell
from medgraft.benchmarks.stop import Stop
from medgraft.benchmarks.store import Store
from medgraft.engine.run import Interrupted


def work(folder: Path, lines: TextIO, answers: TextIO) -> int:
    """Compute cells until the input ends or a stop is asked for.

    Returns: the exit code, 75 where a cell was interrupted.
    """
    stop, store = Stop(), Store(folder)
    signal.signal(signal.SIGTERM, lambda *_: stop.ask())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us too; who started us asks us to stop
    waiting: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        """Who started us may be gone: then nobody waits for what is under way."""
        for line in lines:
            waiting.put(line)
        waiting.put(None)
        stop.ask()

    threading.Thread(target=read, daemon=True).start()
    while (line := waiting.get()) is not None:
        try:
            ended = run_cell(Cell.model_validate_json(line), store, stop)
        except Interrupted as error:
            return error.exit_code
        answers.write(f"{ended}\n")
        answers.flush()
    return 0


def main() -> None:
    """Answers go where the pool reads; what libraries print goes to the log."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    code = work(Path(sys.argv[1]), sys.stdin, answers)
    answers.close()
    os._exit(code)  # the thread that reads may still wait


if __name__ == "__main__":
    main()
