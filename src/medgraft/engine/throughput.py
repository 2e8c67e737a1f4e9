"""How many images a training works on per second, and how long it waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from medgraft.types import Step


class Throughput:
    """Count the rows of the steps that pass, and how long each step was waited for.

    A row is what steps count: an image, a crop of a volume, an image of every site. Times are the caller's: an
    accelerator may still be at work meanwhile, so waiting is the most that faster loading could save.

    Args:
        clock: gives seconds; it is read now for the first time.

    >>> import torch
    >>> times = iter([0.0, 0.0, 1.0, 3.0, 3.0, 4.0])  # begin, ask, get, ask, hear that it was the last, tell
    >>> throughput = Throughput(clock=lambda: next(times))
    >>> [len(step.tensors["images"]) for step in throughput.watch([Step({"images": torch.zeros(120, 1)})])]
    [120]
    >>> throughput.tell()
    '30 images/s, 25 % waiting'
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._rows, self._waited = 0, 0.0

    def watch(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Pass steps on, each when it is asked for."""
        coming = iter(steps)
        while True:
            asked = self._clock()
            step = next(coming, None)
            self._waited += self._clock() - asked
            if step is None:
                return
            self._rows += len(next(iter(step.tensors.values())))
            yield step

    def tell(self) -> str:
        """Rows per second and the share of waiting since the beginning, in words; empty where no time has passed."""
        seconds = self._clock() - self._started
        if seconds <= 0:
            return ""
        rate = self._rows / seconds
        return f"{rate:.{0 if rate >= 10 else 1}f} images/s, {100 * self._waited / seconds:.0f} % waiting"
