"""Ending a benchmark early, so that it can be continued."""

from __future__ import annotations

from medgraft.engine.run import Interrupted, Shared


class Stop:
    """A request to stop, which reaches the training under way."""

    def __init__(self) -> None:
        self.asked = False
        self._under_way: Shared | None = None

    def ask(self) -> None:
        """Stop after the current step."""
        self.asked = True
        if self._under_way is not None:
            self._under_way.stop = True

    def share(self) -> Shared:
        """For the next training."""
        self._under_way = Shared()
        self._under_way.stop = self.asked
        return self._under_way

    def raise_if_asked(self) -> None:
        """Raise `Interrupted` once a stop was asked for."""
        if self.asked:
            raise interrupted()


def interrupted() -> Interrupted:
    """What ends a benchmark that was asked to stop."""
    return Interrupted(
        "The benchmark", "to be continued", "it was asked to stop", "Repeat the same command to continue."
    )
