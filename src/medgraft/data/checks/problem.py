"""Something to mend in a data set, and where it is told to be."""

from __future__ import annotations

from typing import Literal, NamedTuple

from medgraft.data.cohort import Cohort

Severity = Literal["error", "warning"]


class Problem(NamedTuple):
    """Something to mend.

    severity: an error stops training or spoils its scores; a warning deserves a look.
    file, row: where, as the user named it; row 0 where it concerns the whole table.
    """

    severity: Severity
    file: str
    row: int
    message: str


class Checked:
    """A cohort under check; its table is copied once, not for every row."""

    def __init__(self, cohort: Cohort) -> None:
        self.cohort, self.table = cohort, cohort.table
        self.columns = frozenset(map(str, self.table.columns))
        self.rows = [int(row) for row in self.table.index]
        self.files = [str(cell) for cell in self.table["image"]]
        self.splits = self.table["split"].tolist() if cohort.has_splits else None
        self.has_truth = "truth" in cohort.fields

    def of_table(self, message: str, severity: Severity = "warning") -> Problem:
        """A problem of the whole table."""
        return Problem(severity, self.cohort.name, 0, message)

    def of_row(
        self, position: int, message: str, severity: Severity = "error", column: str = "image"
    ) -> Problem:
        """A problem of the row at a position, with the file that its column names."""
        file = self.files[position] if column == "image" else str(self.table[column].iloc[position])
        return Problem(severity, file, self.rows[position], message)
