"""The table "grid" of evidence: which method, source, target, budget and seed each cell was, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.reports.panels import Panel
from medgraft.reports.wording import counted

TEXTS = ("subject", "method", "source", "source_cohort", "cohort", "budget_by", "role", "selection", "state",
         "error", "settings")  # fmt: skip
COUNTS = ("budget", "labelled_images", "seed", "tried")
MEASURES = ("seconds", "peak_mib", "gpu_seconds")
FINISHED, FAILED = "finished", "failed"
BASELINE, UPPER_BOUND = "baseline", "upper bound"
TEST = "test"
ALL = -1


@dataclass(frozen=True)
class Grid:
    """The cells of a grid, one row each, in the order in which the evidence holds them.

    cells: subject, method, source, source_cohort, cohort (of the target), budget (labelled images or patients at
        the target; 0 none, -1 all), budget_by, labelled_images, seed, role, selection, state, error, tried,
        settings, seconds, peak_mib, gpu_seconds.
    """

    cells: pd.DataFrame

    @property
    def targets(self) -> list[str]:
        """Names of the target cohorts."""
        return list(dict.fromkeys(self.cells["cohort"]))

    @property
    def methods(self) -> list[str]:
        """Names of the methods, baselines among them, in the order that colours and legends go by."""
        return list(dict.fromkeys(self.cells["method"]))

    @property
    def several_sources(self) -> bool:
        """True where a method was adapted from more than one source model."""
        return len(self.sources) > 1

    @property
    def finished(self) -> pd.DataFrame:
        """The cells that have a result."""
        return self.cells[self.cells["state"] == FINISHED]

    @property
    def failed(self) -> pd.DataFrame:
        """The cells that ended with an error."""
        return self.cells[self.cells["state"] == FAILED]

    def is_target(self, panel: Panel) -> bool:
        """True where a panel is the test of a target, and not what a source's own cohort says afterwards."""
        return panel.cohort in self.targets and panel.split == TEST

    def at(self, cohort: str) -> pd.DataFrame:
        """The cells of one target."""
        return self.cells[self.cells["cohort"] == cohort]

    def no_adaptation(self, cohort: str, source: str) -> str:
        """The subject that is the source model as it came, at a target; "" where the grid has none."""
        return self._unadapted.get((cohort, source), "")

    @cached_property
    def _unadapted(self) -> dict[tuple[str, str], str]:
        """Source models as they came, by target and source."""
        cells = self.cells[(self.cells["role"] == BASELINE) & (self.cells["budget"] == 0)]
        keys = zip(cells["cohort"], cells["source"], strict=True)
        return dict(zip(keys, cells["subject"], strict=True))

    @property
    def sources(self) -> list[str]:
        """Names of the source models."""
        return list(dict.fromkeys(self.cells["source"]))

    @cached_property
    def curves(self) -> dict[str, int]:
        """Methods that had label budgets, and their numbers, by which colour, dash and marker go in every chart."""
        labelled = self.cells[(self.cells["budget"] > 0) & (self.cells["role"] != UPPER_BOUND)]
        return {str(name): index for index, name in enumerate(dict.fromkeys(labelled["method"]))}

    @property
    def summary(self) -> str:
        """How large the grid is, in a line.

        Of sources it speaks where methods share several: from what a method starts that names its own, no table tells.
        """
        cells = self.cells
        parts = [counted(len(self.methods), "method")]
        if self.several_sources:
            parts.append(counted(len(self.sources), "source"))
        parts += [
            counted(len(self.targets), "target"), counted(cells["budget"].nunique(), "label budget"),
            counted(cells["seed"].nunique(), "seed"), counted(len(cells), "cell"),
        ]  # fmt: skip
        return " · ".join(parts)


def read_grid(evidence: Evidence) -> Grid | None:
    """The grid that evidence is of; None where it is of none.

    Raises:
        DataError: the table "grid" lacks a column, or holds what does not belong there.
    """
    table = evidence.tables.get("grid")
    if table is None or table.empty:
        return None
    wanted = (*TEXTS, *COUNTS, *MEASURES)
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise _error(f"the columns {', '.join(wanted)}", f"it lacks {', '.join(missing)}")
    columns = {name: table[name].fillna("").astype(str) for name in TEXTS}
    counts = {name: _numbers(table[name]).astype("int64") for name in COUNTS}
    measures = {name: _numbers(table[name], gaps=True) for name in MEASURES}
    cells = pd.DataFrame({**columns, **counts, **measures}).reset_index(drop=True)
    strange = sorted(set(cells["state"]) - {FINISHED, FAILED})
    if strange:
        raise _error(f"a state that is {FINISHED!r} or {FAILED!r}", f"it holds {strange[0]!r}")
    return Grid(cells)


def _numbers(column: pd.Series, gaps: bool = False) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce")
    unfit = numbers.isna() & (column.notna() if gaps else True)
    if unfit.any():
        row = int(unfit.to_numpy().argmax())
        raise _error(f"a number in every cell of '{column.name}'", f"row {row} holds '{column.iloc[row]}'")
    return numbers.astype("float64")


def _error(needs: str, got: str) -> DataError:
    return DataError("The table 'grid'", needs, got, "Write the evidence again with `medgraft benchmark`.")
