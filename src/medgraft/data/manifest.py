"""The table that says what is where: CSV, TSV or Parquet; or a folder per class, or a MedMNIST file, without one."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pandas as pd

from medgraft.data.cohort import TRUTH_COLUMNS, Cohort
from medgraft.data.labels import LABEL_PREFIX, UNCERTAIN, Uncertain, natural_order, split_labels
from medgraft.data.readers import known_extensions, read_mask
from medgraft.errors import DataError, MedgraftError
from medgraft.types import JSON, KINDS, SPLITS, Kind

KIND_OF_COLUMN: dict[str, Kind] = {"label": "classify", "labels": "multilabel", "mask": "segment", "boxes": "detect"}
SIDECAR_KEYS = ("kind", "classes", "uncertain", "name", "notes")
MEDMNIST_SPLITS = {"train": "train", "val": "validation", "test": "test"}


class Opened(NamedTuple):
    """A manifest as it was found, before anything is concluded from it."""

    table: pd.DataFrame
    root: Path
    sidecar: JSON


def read_manifest(
    path: Path | str,
    *,
    kind: Kind | None = None,
    classes: Sequence[str] | None = None,
    uncertain: Uncertain | None = None,
) -> Cohort:
    """Open a data set.

    Args:
        path: a table with the columns image, label | labels | label:NAME ... | mask | boxes, and where known patient, site,
            split, split_unit and any attribute (paths relative to the table); or a folder with one folder per class; or a
            MedMNIST npz. A file NAME.toml beside NAME.csv may hold kind, classes, uncertain, name and notes.
        kind: what the truth is; needed where the table has several kinds of it.
        classes: names in output order; None takes those that occur (masks: background and numbers).
        uncertain: what -1 becomes in label columns: ignore, zeros, ones or smooth (0.7); None takes the sidecar's, else ignore.

    Raises:
        DataError: the table cannot be opened or understood. Single bad rows and files are found by `check`.
    """
    path = Path(path)
    opened = open_manifest(path)
    kind = kind or opened.sidecar.get("kind") or _infer_kind(opened.table, path)
    if kind not in KINDS:
        raise DataError(f"The manifest {path}", f"a kind among {', '.join(KINDS)}", f"it is {kind!r}", "Correct it.")
    uncertain = uncertain or opened.sidecar.get("uncertain") or "ignore"
    if uncertain not in get_args(Uncertain):
        raise DataError(
            f"The manifest {path}", f"uncertain to be one of {', '.join(UNCERTAIN)}", f"it is {uncertain!r}", "Correct it."
        )
    table = _only_this_kind(opened.table, kind)
    names = classes or opened.sidecar.get("classes") or _infer_classes(table, kind, opened.root)
    return Cohort(
        table,
        kind=kind,
        classes=tuple(str(name) for name in names),
        root=opened.root,
        name=str(opened.sidecar.get("name", path.stem)),
        notes=opened.sidecar.get("notes", {}),
        uncertain=uncertain,
        recipe={
            "path": str(path),
            "kind": kind,
            "classes": list(names),
            "uncertain": uncertain,
            "operations": [],
        },
    )


def open_manifest(path: Path) -> Opened:
    """Read the table (all cells as text) and its sidecar; make the table of a class folder or MedMNIST file.

    Raises:
        DataError: no such file, not a table, no column `image`.
    """
    if not path.exists():
        raise DataError("The manifest", "an existing file or folder", f"{path} does not exist", "Correct the path.")
    if path.is_dir():
        return Opened(_table_of_folder(path), path, _sidecar(path / "medgraft.toml"))
    if path.suffix == ".npz":
        table, kind = _table_of_medmnist(path)
        return Opened(table, path.parent, {"kind": kind, **_sidecar(path.with_suffix(".toml"))})
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
            table = table.map(lambda cell: "" if pd.isna(cell) else str(cell)) if len(table) else table
        else:
            separator = "\t" if path.suffix in (".tsv", ".tab") else ","
            table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The manifest {path}", "a CSV, TSV or Parquet table", f"it cannot be read: {str(error).splitlines()[0]}",
            "Save it as CSV with one header line.",
        ) from error  # fmt: skip
    table.columns = pd.Index([str(column).strip() for column in table.columns])
    table.index = pd.RangeIndex(1, len(table) + 1)
    if "image" not in table.columns:
        raise DataError(
            f"The manifest {path}", "a column 'image'", f"it has: {', '.join(table.columns)}",
            "Rename the column that holds the image files to 'image'.",
        )  # fmt: skip
    if len(table) == 0:
        raise DataError(f"The manifest {path}", "at least one row", "it has none", "Add rows.")
    return Opened(table.astype(object), path.parent, _sidecar(path.with_suffix(".toml")))


def _sidecar(path: Path) -> JSON:
    if not path.exists():
        return {}
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"The file {path}", "valid TOML", f"it is not: {error}", "Correct it.") from error
    unknown = sorted(set(found) - set(SIDECAR_KEYS))
    if unknown:
        raise DataError(
            f"The file {path}", f"the keys {', '.join(SIDECAR_KEYS)}", f"it also has {', '.join(unknown)}",
            "Move them under [notes].",
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
        named = [str(c).removeprefix(LABEL_PREFIX) for c in table.columns if str(c).startswith(LABEL_PREFIX)]
        return named or natural_order(label for cell in table["labels"] for label in split_labels(cell))
    if kind == "segment" and "mask" in table.columns:
        highest = 1
        for cell in dict.fromkeys(table["mask"]):
            try:
                highest = max(highest, int(read_mask(str(root / cell)).array.max()))
            except MedgraftError:
                continue  # `check` tells
        return ["background", *(f"class {index}" for index in range(1, highest + 1))]
    if kind == "detect" and "boxes" in table.columns:
        from medgraft.data.boxes import parse_boxes

        return natural_order(box.label for cell in table["boxes"] for box in parse_boxes(cell))
    return []


def _table_of_folder(path: Path) -> pd.DataFrame:
    """One folder per class, or splits first: train/validation/test, then classes."""
    rows = []
    tops = sorted(entry for entry in path.iterdir() if entry.is_dir())
    by_split = bool(tops) and all(entry.name in SPLITS for entry in tops)
    for top in tops:
        for folder in sorted(entry for entry in top.iterdir() if entry.is_dir()) if by_split else [top]:
            for file in sorted(folder.rglob("*")):
                if file.is_file() and file.name.lower().endswith(known_extensions()):
                    row = {"image": str(file.relative_to(path)), "label": folder.name}
                    rows.append({**row, "split": top.name} if by_split else row)
    if not rows:
        raise DataError(
            f"The folder {path}", "one folder per class with images in it", "it has no images in folders",
            f"Put images into {path}/CLASS/, or write a manifest.",
        )  # fmt: skip
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1), dtype=object)


def _table_of_medmnist(path: Path) -> tuple[pd.DataFrame, Kind]:
    from medgraft.data.readers.arrays import load_array

    rows: list[dict[str, str]] = []
    kind: Kind = "classify"
    for stored, split in MEDMNIST_SPLITS.items():
        try:
            images = load_array(path, f"{stored}_images")
            labels = load_array(path, f"{stored}_labels")
        except DataError as error:
            raise DataError(
                f"The file {path}", "the MedMNIST arrays train_images, train_labels, val_..., test_...", error.got,
                "Write a manifest that names arrays as file.npz#key:index.",
            ) from error  # fmt: skip
        labels = labels.reshape(len(labels), -1)
        if labels.shape[1] > 1:
            kind = "multilabel"
        for index in range(len(images)):
            row = {"image": f"{path.name}#{stored}_images:{index}", "split": split}
            if labels.shape[1] == 1:
                row["label"] = str(labels[index, 0])
            else:
                row |= {f"{LABEL_PREFIX}{column}": str(value) for column, value in enumerate(labels[index])}
            rows.append(row)
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1), dtype=object), kind


