"""The table that says what is where: CSV, TSV or Parquet; without one, a folder per class or a published data set."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from medgraft.data.boxes import parse_boxes
from medgraft.data.cohort import TRUTH_COLUMNS, Cohort
from medgraft.data.folders import table_of_folder
from medgraft.data.labels import LABEL_PREFIX, UNCERTAIN, Uncertain, natural_order, split_labels
from medgraft.data.layouts import find_layout, refuse_part_of_layout
from medgraft.data.opened import Opened
from medgraft.data.readers import read_mask
from medgraft.data.tables import read_table
from medgraft.errors import DataError, MedgraftError
from medgraft.types import JSON, KINDS, Kind

KIND_OF_COLUMN: dict[str, Kind] = {
    "label": "classify",
    "labels": "multilabel",
    "mask": "segment",
    "boxes": "detect",
}
SIDECAR_KEYS = ("kind", "classes", "uncertain", "name", "notes")
WHITE = 255


def read_manifest(
    path: Path | str,
    *,
    kind: Kind | None = None,
    classes: Sequence[str] | None = None,
    uncertain: Uncertain | None = None,
) -> Cohort:
    """Open a data set.

    Args:
        path: a table with the columns image, label | labels | label:NAME ... | mask | boxes, and where known patient,
            site, split, split_unit and any attribute (paths relative to the table); or a folder with one folder per
            class (of kind `encode`, images in it at any depth, each its own patient); or a published data set as it was
            unpacked (`docs/layouts.md`). NAME.toml beside NAME.csv, or medgraft.toml in a folder, may hold kind,
            classes, uncertain, name and notes.
        kind: what the truth is; needed where the table has several kinds of it.
        classes: names in output order; None takes those that occur (masks: background and numbers). Of kind `encode`
            there are none.
        uncertain: what -1 becomes in label columns: ignore, zeros, ones or smooth (0.7); None takes the sidecar's,
            else ignore.

    Raises:
        DataError: the table cannot be opened or understood. Single bad rows and files are found by `check`.
    """
    path = Path(path)
    opened = open_manifest(path, labelled=kind != "encode")
    kind = kind or opened.sidecar.get("kind") or _infer_kind(opened.table, path)
    if kind not in KINDS:
        raise DataError(
            f"The manifest {path}", f"a kind among {', '.join(KINDS)}", f"it is {kind!r}", "Correct it."
        )
    uncertain = uncertain or opened.sidecar.get("uncertain") or "ignore"
    if uncertain not in get_args(Uncertain):
        raise DataError(
            f"The manifest {path}",
            f"uncertain to be one of {', '.join(UNCERTAIN)}",
            f"it is {uncertain!r}",
            "Correct it.",
        )
    table = _only_this_kind(_with_unlabelled(opened) if kind == "encode" else opened.table, kind)
    names = [] if kind == "encode" else [str(name) for name in classes or opened.sidecar.get("classes") or ()]
    names = names or _infer_classes(table, kind, opened.root)
    _refuse_classes(table, kind, names, path)
    return Cohort(
        table,
        kind=kind,
        classes=tuple(names),
        root=opened.root,
        name=str(opened.sidecar.get("name", path.stem)),
        notes=opened.sidecar.get("notes", {}),
        uncertain=uncertain,
        recipe={
            "path": str(path),
            "kind": kind,
            "classes": names,
            "uncertain": uncertain,
            "operations": [],
        },
    )


def open_manifest(path: Path, labelled: bool = True) -> Opened:
    """Read the table (all cells as text) and its sidecar; make the table of a class folder or published data set.

    Args:
        path: of any of them.
        labelled: False also takes images of a folder that lie in no class.

    Raises:
        DataError: no such file, not a table, no column `image`.
    """
    if not path.exists():
        raise DataError(
            "The manifest", "an existing file or folder", f"{path} does not exist", "Correct the path."
        )
    own = _sidecar(path / "medgraft.toml" if path.is_dir() else path.with_suffix(".toml"))
    layout = find_layout(path)
    if layout is not None:
        opened = layout.read(path)
        told = {**opened.sidecar, **own}
        told["notes"] = {**opened.sidecar.get("notes", {}), **own.get("notes", {})}
        return opened._replace(sidecar=told)
    refuse_part_of_layout(path)
    if path.is_dir():
        return Opened(table_of_folder(path, labelled), path, own)
    return Opened(read_table(path), path.parent, own)


def _with_unlabelled(opened: Opened) -> pd.DataFrame:
    """Where no truth is asked for, images published without it too; as a test split, which training leaves alone."""
    if opened.unlabelled is None or len(opened.unlabelled) == 0:
        return opened.table
    labelled = opened.table if "split" in opened.table.columns else opened.table.assign(split="train")
    return pd.concat([labelled, opened.unlabelled.assign(split="test")]).fillna("")


def _sidecar(path: Path) -> JSON:
    if not path.exists():
        return {}
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"The file {path}", "valid TOML", f"it is not: {error}", "Correct it.") from error
    unknown = sorted(set(found) - set(SIDECAR_KEYS))
    if unknown:
        raise DataError(
            f"The file {path}", f"the keys {', '.join(SIDECAR_KEYS)}", f"it also has {', '.join(unknown)}",
            "Move them under [notes].",
        )  # fmt: skip
    names = found.get("classes", [])
    if not (isinstance(names, list) and isinstance(found.get("notes", {}), dict)):
        raise DataError(
            f"The file {path}", "classes as a list and notes as a table", "it has something else",
            'Write classes = ["a", "b"] and a section [notes].',
        )  # fmt: skip
    return found


def truth_kinds(table: pd.DataFrame) -> list[Kind]:
    """The kinds of truth whose columns a table has."""
    kinds = [kind for column, kind in KIND_OF_COLUMN.items() if column in table.columns]
    if any(str(column).startswith(LABEL_PREFIX) for column in table.columns) and "multilabel" not in kinds:
        kinds.append("multilabel")
    return kinds


def _infer_kind(table: pd.DataFrame, path: Path) -> Kind:
    kinds = truth_kinds(table)
    if len(kinds) > 1:
        raise DataError(
            f"The manifest {path}", "to be told which truth to use", f"it has columns for {', '.join(kinds)}",
            f"Pass kind='{kinds[0]}' (--kind {kinds[0]}).",
        )  # fmt: skip
    return kinds[0] if kinds else "encode"


def _only_this_kind(table: pd.DataFrame, kind: Kind) -> pd.DataFrame:
    """Without the truth columns of other kinds: they must not pass as attributes."""

    def belongs(column: str) -> bool:
        if column.startswith(LABEL_PREFIX):
            return kind == "multilabel"
        return column not in TRUTH_COLUMNS or KIND_OF_COLUMN[column] == kind

    return table[[column for column in table.columns if belongs(str(column))]]


def _infer_classes(table: pd.DataFrame, kind: Kind, root: Path) -> list[str]:
    if kind == "classify" and "label" in table.columns:
        return natural_order(cell for cell in table["label"] if cell)
    if kind == "multilabel":
        named = _label_columns(table)
        cells = table["labels"] if "labels" in table.columns else ()
        return named or natural_order(label for cell in cells for label in split_labels(cell))
    if kind == "segment" and "mask" in table.columns:
        return _classes_of_masks(table, root)
    if kind == "detect" and "boxes" in table.columns:
        return _classes_of_boxes(table)
    return []


def _label_columns(table: pd.DataFrame) -> list[str]:
    names = [str(column) for column in table.columns]
    return [name.removeprefix(LABEL_PREFIX) for name in names if name.startswith(LABEL_PREFIX)]


def _classes_of_masks(table: pd.DataFrame, root: Path) -> list[str]:
    """Reads every mask; name the classes in the sidecar where that takes too long."""
    found = {0, 1}
    for cell in dict.fromkeys(cell for cell in table["mask"] if cell):
        try:
            found.update(np.unique(read_mask(str(root / cell)).array).tolist())
        except MedgraftError:
            continue  # `check` tells
    if max(found) == WHITE and WHITE - 1 not in found:
        raise DataError(
            "The masks", "labels 0, 1, 2 and so on",
            f"the highest in those of {root or Path()} is {WHITE}, which is white in a black-and-white mask",
            "Save it as 1, or, where it marks pixels to ignore, name the classes (classes, --classes) without it.",
        )  # fmt: skip
    return ["background", *(f"class {index}" for index in range(1, max(found) + 1))]


def _classes_of_boxes(table: pd.DataFrame) -> list[str]:
    names: set[str] = set()
    for cell in table["boxes"]:
        try:
            names.update(box.label for box in parse_boxes(cell))
        except MedgraftError:
            continue  # `check` tells, with the row
    return natural_order(names)


def _refuse_classes(table: pd.DataFrame, kind: Kind, names: Sequence[str], path: Path) -> None:
    if len(set(names)) < len(names):
        raise DataError(
            f"The manifest {path}", "every class once", f"it got {', '.join(names)}", "Remove the repeats."
        )
    columns = _label_columns(table)
    if kind == "multilabel" and columns and "labels" in table.columns:
        raise DataError(
            f"The manifest {path}",
            "either 'labels' or 'label:NAME' columns",
            "it has both",
            "Remove one of the two.",
        )
    absent = [name for name in names if name not in columns]
    if kind == "multilabel" and columns and absent:
        raise DataError(
            f"The manifest {path}", "a column 'label:NAME' for every class", f"it has none for {', '.join(absent)}",
            f"Choose among {', '.join(columns)}.",
        )  # fmt: skip
