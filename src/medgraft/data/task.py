"""From where to where."""

from __future__ import annotations

from dataclasses import dataclass

from medgraft.data.cohort import Cohort
from medgraft.errors import DataError
from medgraft.types import Kind


@dataclass(frozen=True)
class Task:
    """A source site, a target site, or both.

    source: the data the source model comes from, where the user has them.
    target: the new site.
    """

    source: Cohort | None = None
    target: Cohort | None = None

    def __post_init__(self) -> None:
        if self.source is None and self.target is None:
            raise DataError("A task", "a source or a target", "it has neither", "Pass Task(target=cohort).")

    @property
    def main(self) -> Cohort:
        """The target, or the source where there is no target."""
        cohort = self.target if self.target is not None else self.source
        assert cohort is not None
        return cohort

    @property
    def kind(self) -> Kind:
        """What is to be predicted."""
        return self.main.kind

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of what is to be predicted, in output order."""
        return self.main.classes
