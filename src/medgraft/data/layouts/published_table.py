"""The csv tables that come with published data sets: known columns, hundreds of thousands of rows, text cells."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path

from medgraft.data.tables import split_name
from medgraft.errors import DataError

LONGEST_HEADER = 10_000
"""Characters; more is no header."""
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""Of a file or folder."""


def header_of(path: Path) -> list[str]:
    """The column names in the first line of a csv file; empty where there is no such file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        line = file.readline(LONGEST_HEADER)
    try:
        return next(csv.reader([line]), [])
    except csv.Error:  # no text
        return []


def read_columns(path: Path, columns: Sequence[str]) -> dict[str, list[str]]:
    """These columns of a csv file as text, empty lines left out.

    Raises:
        DataError: a column is missing; a row is cut off or has too much; not a table; no rows.
    """
    absent = [column for column in columns if column not in header_of(path)]
    if absent:
        raise _misfit(path, f"the columns {', '.join(columns)}", f"it has no {', '.join(absent)}")
    try:
        # not by pandas, which takes rows that are cut off for empty cells, and leaves out what is too much
        with path.open(encoding="utf-8-sig", newline="") as file:
            cells = list(chain.from_iterable(_rows(csv.reader(file), columns, path)))
    except (ValueError, OSError, csv.Error) as error:
        raise _misfit(path, "a readable csv table", f"it cannot be read: {str(error).rstrip('.')}") from error
    if not cells:
        raise _misfit(path, "at least one row", "it has none")
    # one flat list: hundreds of thousands of small ones would keep the garbage collector busy for as long again
    return {column: cells[place :: len(columns)] for place, column in enumerate(columns)}


def other_columns(path: Path, used: Collection[str], made: Collection[str]) -> list[str]:
    """The named columns of a csv file beyond those that a layout uses: they stay what they are called.

    Args:
        path: the csv file.
        used: columns that the layout reads.
        made: names that it gives to columns itself.

    Raises:
        DataError: two columns have one name, or one has a name that is made.
    """
    header = [name for name in header_of(path) if name.strip()]
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise _misfit(path, "a name of its own for each column", f"it has {twice[0]!r} twice")
    others = [name for name in header if name not in used]
    taken = [name for name in others if name in made]
    if taken:
        raise DataError(
            f"The table {path}", f"no column of its own called {', '.join(taken)}, which medgraft makes", "it has one",
            "Give it another name.",
        )  # fmt: skip
    return others


def kept_columns(stored: Mapping[str, list[str]], others: Collection[str]) -> dict[str, list[str]]:
    """Other columns as a manifest has them: what is called split, site or patient there is that here too."""
    return {name: list(map(split_name, stored[name])) if name == "split" else stored[name] for name in others}


def refuse_cells(
    path: Path, column: str, cells: Sequence[str], fits: Callable[[str], bool], needs: str
) -> None:
    """Name the first row of a column whose cell does not fit; each spelling is looked at once.

    Raises:
        DataError: with what is needed.
    """
    odd = {cell for cell in set(cells) if not fits(cell)}
    if odd:
        row, cell = next((row, cell) for row, cell in enumerate(cells, start=1) if cell in odd)
        got = f"row {row} has {cell!r} in '{column}'"
        raise DataError(f"The table {path}", needs, got, "Correct the cell or remove the row.")


def refuse_names(path: Path, column: str, cells: Sequence[str]) -> None:
    """Name the first row of a column that names no file, by its number alone: it may tell a patient.

    Raises:
        DataError: with what is needed.
    """
    odd = {cell for cell in set(cells) if re.fullmatch(NAME, cell) is None}
    if odd:
        row = next(row for row, cell in enumerate(cells, start=1) if cell in odd)
        raise _misfit(
            path, f"letters, digits, dots and hyphens in '{column}'", f"row {row} has none or others"
        )


def refuse_repeats(path: Path, images: Sequence[str]) -> None:
    """Name the first row whose image an earlier row has.

    Raises:
        DataError: with both rows.
    """
    if len(set(images)) == len(images):
        return
    first: dict[str, int] = {}
    for row, image in enumerate(images, start=1):
        if first.setdefault(image, row) != row:
            raise DataError(
                f"The table {path}", "one row for each image", f"row {row} has that of row {first[image]}",
                "Remove one of the two rows.",
            )  # fmt: skip


def rows_by(path: Path, columns: Sequence[str], key: str) -> dict[str, dict[str, str]]:
    """Rows of a csv file by their cell in one column, without spaces around cells; what is repeated counts once.

    Raises:
        DataError: as for `read_columns`; a cell of `key` is empty, or two rows of one name differ.
    """
    stored = read_columns(path, columns)
    rows: dict[str, dict[str, str]] = {}
    for number, cells in enumerate(zip(*stored.values()), start=1):
        row = dict(zip(stored, map(str.strip, cells)))
        if not any(row.values()):
            continue
        if not row[key]:
            raise _misfit(path, f"a name in every cell of '{key}'", f"that of row {number} is empty")
        if rows.setdefault(row[key], row) != row:
            got = f"row {number} says something else of {row[key]} than an earlier row"
            raise _misfit(path, f"one row for each cell of '{key}'", got)
    return rows


def _rows(lines: Iterator[list[str]], columns: Sequence[str], path: Path) -> Iterator[tuple[str, ...]]:
    header = next(lines)
    chosen = itemgetter(*map(header.index, columns))
    fewest = max(
        place for place, name in enumerate(header, start=1) if name
    )  # it may end with a comma, or its rows
    for number, line in enumerate(lines, start=1):
        if len(line) < fewest or any(line[len(header) :]):
            if line:
                compared = "more" if len(line) > fewest else "fewer"
                raise _misfit(path, "a cell for every column", f"row {number} has {compared}")
            continue  # an empty line
        yield chosen(line)


def _misfit(path: Path, needs: str, got: str) -> DataError:
    return DataError(f"The table {path}", needs, got, "Download it again, or correct it.")
