"""An immutable view of images and what is known about them: rows of a manifest, and how to read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import pandas as pd

from medgraft.data.in_memory import read_only, table_of_arrays
from medgraft.data.labels import LABEL_PREFIX, MISSING, encode_class, encode_labels, without_empty_truth
from medgraft.data.pixels import hash_image, hash_pixels
from medgraft.data.readers import read_image, read_mask, split_part
from medgraft.data.unchanged import UnchangedFiles
from medgraft.errors import DataError
from medgraft.types import JSON, SPLITS, Batch, Field, Kind, Picture

if TYPE_CHECKING:
    from medgraft.data.loading import Prepare

Read = TypeVar("Read")
TRUTH_COLUMNS = ("label", "labels", "mask", "boxes")
FIELD_OF_COLUMN: dict[str, Field] = {
    "patient": "patients", "split_unit": "patients", "site": "sites", "imperfect_boxes": "imperfect_boxes"
}  # fmt: skip
NAMED_COLUMNS = ("image", *TRUTH_COLUMNS, "imperfect_boxes", "patient", "site", "split", "split_unit")


class Cohort:
    """Rows of a manifest; every view of it is again a cohort and knows the classes of the whole manifest.

    Made by `read_manifest`, `load_samples` or `Cohort.from_arrays`, not by hand.

    table: one row per image; its index is the row number in the manifest, 1 being the first below the header.
    kind, classes: what the truth is, and its names in output order.
    notes: what every report must say: simulated, silver_labels, unit_name, licence.
    recipe: how to make this view again, as JSON; None for cohorts that live in memory.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        *,
        kind: Kind,
        classes: Sequence[str],
        root: Path,
        name: str,
        notes: JSON | None = None,
        uncertain: str = "ignore",
        recipe: JSON | None = None,
        arrays: tuple[np.ndarray, np.ndarray | None] | None = None,
    ) -> None:
        self._table = table
        self.kind: Kind = kind
        self.classes = tuple(classes)
        self.root, self.name = root, name
        self.notes: JSON = dict(notes or {})
        self.uncertain = uncertain
        self.recipe = recipe
        self._arrays = arrays
        self._files = UnchangedFiles()  # shared by all views

    @classmethod
    def from_arrays(
        cls,
        images: np.ndarray,
        truth: np.ndarray | None = None,
        *,
        kind: Kind,
        classes: Sequence[str] = (),
        patients: Sequence[str] | None = None,
        sites: Sequence[str] | None = None,
        split: Sequence[str] | None = None,
        units: Sequence[str] | None = None,
        attributes: pd.DataFrame | None = None,
        name: str = "arrays",
        notes: JSON | None = None,
    ) -> Cohort:
        """Make a cohort of images in memory.

        Args:
            images: (N, H, W, C), or volumes (N, D, H, W, C), any real dtype.
            truth: classify (N,) integers; multilabel (N, K) of 0, 1 and NaN; segment integers, (N, H, W) or
                (N, D, H, W); None.
            kind, classes: as in the class.
            patients, sites, split, units, attributes: one entry per image.

        Raises:
            DataError: arguments that do not fit one another.

        >>> cohort = Cohort.from_arrays(np.zeros((2, 4, 4, 1)), np.array([0, 1]), kind="classify", classes=("a", "b"))
        >>> cohort.labels.tolist(), sorted(cohort.fields)
        ([0, 1], ['images', 'truth'])
        """
        columns = {"patient": patients, "site": sites, "split": split, "split_unit": units}
        table = table_of_arrays(images, truth, kind, classes, columns, attributes)
        masks = np.asarray(truth) if "mask" in table.columns else None
        return cls(
            table,
            kind=kind,
            classes=classes,
            root=Path(),
            name=name,
            notes=notes,
            arrays=(np.asarray(images), masks),
        )

    @classmethod
    def from_recipe(cls, recipe: JSON | None) -> Cohort:
        """Make a view again from its recipe.

        Raises:
            DataError: the recipe is None, because the cohort lived in memory; an unknown operation.
        """
        from medgraft.data.recipe import follow_recipe  # which reads manifests

        return follow_recipe(recipe)

    # What it holds

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        return (
            f"Cohort({self.name!r}, {self.kind}, {len(self)} rows, offers {', '.join(sorted(self.fields))})"
        )

    @property
    def table(self) -> pd.DataFrame:
        """A copy of the rows; changing it changes nothing here."""
        return self._table.copy()

    @property
    def fields(self) -> frozenset[Field]:
        """What the cohort can offer to a method."""
        columns = [str(column) for column in self._table.columns]
        found: set[Field] = {"images"}
        if any(column in TRUTH_COLUMNS or column.startswith(LABEL_PREFIX) for column in columns):
            found.add("truth")
        named: dict[str, Field] = {
            "imperfect_boxes": "imperfect_boxes",
            "patient": "patients",
            "site": "sites",
        }
        found.update(field for column, field in named.items() if column in columns)
        if any(column not in NAMED_COLUMNS and not column.startswith(LABEL_PREFIX) for column in columns):
            found.add("attributes")
        return frozenset(found)

    @property
    def has_splits(self) -> bool:
        """True if every row says to which split it belongs."""
        return "split" in self._table.columns

    @property
    def patients(self) -> np.ndarray:
        """(N,) text; each row is its own patient where the manifest does not tell."""
        return self._column("patient", "patient")

    @property
    def sites(self) -> np.ndarray:
        """(N,) text; empty where the manifest does not tell."""
        return self._column("site", None)

    @property
    def units(self) -> np.ndarray:
        """(N,) text: what must stay on one side of a split and is resampled for intervals: split_unit, else patient."""
        return self._column("split_unit", None) if "split_unit" in self._table.columns else self.patients

    @property
    def unit_name(self) -> str:
        """What `units` are, for reports: "patients", "images", or what the manifest calls them."""
        if "split_unit" in self._table.columns:
            return str(self.notes.get("unit_name", "split units"))
        return "patients" if "patient" in self._table.columns else "images"

    @property
    def labels(self) -> np.ndarray:
        """classify: (N,) int64; multilabel: (N, K) float32 of 0, 1, NaN where missing.

        Raises:
            DataError: no labels here (withheld, or another kind).
        """
        if self.kind == "classify" and "label" in self._table.columns:
            return encode_class(self._table["label"], self.classes, self.name)
        if self.kind == "multilabel" and "truth" in self.fields:
            return encode_labels(self._table, self.classes, self.uncertain, self.name)
        raise DataError(
            "Labels", "a cohort with one label or several per image",
            f"{self.name} is of kind '{self.kind}' and offers {', '.join(sorted(self.fields))}",
            "Add the column 'label' or 'label:NAME' to the manifest.",
        )  # fmt: skip

    def picture(self, position: int) -> Picture:
        """The image of a row, as stored."""
        if self._arrays is not None:
            return Picture(read_only(self._arrays[0][self._index_in_memory("image", position)]))
        return self._read(read_image, "image", position)

    def mask(self, position: int) -> Picture:
        """The mask of a row, as stored: (H, W, 1) whole numbers.

        Raises:
            DataError: the cohort offers no masks.
        """
        if "mask" not in self._table.columns:
            raise DataError(
                "Masks", "a cohort with the column 'mask'",
                f"{self.name} offers {', '.join(sorted(self.fields))}", "Add it to the manifest.",
            )  # fmt: skip
        if self._arrays is not None and self._arrays[1] is not None:
            return Picture(read_only(self._arrays[1][self._index_in_memory("mask", position)][..., None]))
        image = str(self.root / str(self._table["image"].iloc[position]))  # where a DICOM segmentation is put
        return self._read(lambda cell: read_mask(cell, image), "mask", position)

    def load(self, positions: Sequence[int] | np.ndarray, prepare: Prepare) -> Batch:
        """Read and prepare rows.

        Raises:
            DataError: unreadable, a volume, a mask of another size, or prepared sizes that differ within the batch.
        """
        from medgraft.data.loading import load_rows

        return load_rows(self, positions, prepare)

    def batches(self, prepare: Prepare, size: int, order: Sequence[int] | None = None) -> Iterator[Batch]:
        """All rows, `size` at a time, in the order given."""
        positions = np.arange(len(self)) if order is None else np.asarray(order)
        for start in range(0, len(positions), size):
            yield self.load(positions[start : start + size], prepare)

    # Views

    def take(self, positions: Sequence[int] | np.ndarray) -> Cohort:
        """The rows at these positions, in this order."""
        positions = [int(position) for position in positions]
        return self._view(self._table.iloc[positions], "take", {"positions": positions})

    def at(self, *sites: str) -> Cohort:
        """The rows of these sites; the view's name says which.

        Raises:
            DataError: a site that no row names.
        """
        known = sorted(set(self.sites.tolist()))
        for site in sites:
            if site not in known:
                raise DataError(
                    f"{self.name}.at", f"a site that the manifest names ({', '.join(known) or 'it names none'})",
                    f"it got {site!r}", "Correct the name or add the column 'site'.",
                )  # fmt: skip
        view = self._view(self._table[np.isin(self.sites, sites)], "at", list(sites))
        view.name = f"{self.name} at {', '.join(sites)}"
        return view

    def split(self, *names: str) -> Cohort:
        """The rows of these splits: train, validation, test.

        Raises:
            DataError: the manifest has no splits, or the name is not one of the three.
        """
        for name in names:
            if name not in SPLITS:
                raise DataError(
                    "A split", f"one of {', '.join(SPLITS)}", f"it got {name!r}", "Correct the name."
                )
        if not self.has_splits:
            raise DataError(
                f"{self.name}.split", "the column 'split'", "the manifest has none",
                "Add it, or call split_by_patient(cohort).",
            )  # fmt: skip
        return self._view(self._table[self._table["split"].isin(names)], "split", list(names))

    @property
    def training_rows(self) -> Cohort:
        """The rows of the split train; all rows where the manifest has no splits."""
        return self.split("train") if self.has_splits else self

    def only(self, fields: Iterable[Field]) -> Cohort:
        """The same rows with only these fields; the columns of the others are gone."""
        kept = set(fields)

        def keeps(column: str) -> bool:
            if column in TRUTH_COLUMNS or column.startswith(LABEL_PREFIX):
                return "truth" in kept
            if column in FIELD_OF_COLUMN:
                return FIELD_OF_COLUMN[column] in kept
            return column in ("image", "split") or "attributes" in kept

        columns = [column for column in self._table.columns if keeps(str(column))]
        view = self._view(self._table[columns], "only", {"fields": sorted(kept)})
        if self._arrays is not None and "mask" not in columns:
            view._arrays = (self._arrays[0], None)
        return view

    def unlabelled(self) -> Cohort:
        """The same rows as images alone, of kind `encode`: what pre-training sees."""
        view = self.only(self.fields - {"truth", "imperfect_boxes", "attributes"})
        view.kind, view.classes = "encode", ()
        if view.recipe is not None:
            view.recipe["operations"][-1] = ["unlabelled", []]
        return view

    def few(self, n: int, by: Literal["image", "patient"] = "image", seed: int = 0) -> Cohort:
        """Few labelled training rows; validation and test rows stay as they are.

        Args:
            n: by image: per class (`classify`) or in all (other kinds); by patient: patients in all, classes mixed.
            by: what is counted.
            seed: which ones; a larger n with the same seed contains the smaller.

        Raises:
            DataError: there are not so many.
        """
        from medgraft.data.splits import choose_few

        chosen = choose_few(self, n, by, seed)
        return self._view(self._table.iloc[chosen], "few", {"n": n, "by": by, "seed": seed})

    def fraction(self, share: float, seed: int = 0) -> Cohort:
        """A share of the training rows, the same of every class (at least one); other splits stay as they are.

        Args:
            share: in (0, 1].
            seed: which ones; a larger share with the same seed contains the smaller.
        """
        from medgraft.data.splits import choose_fraction

        chosen = choose_fraction(self, share, seed)
        return self._view(self._table.iloc[chosen], "fraction", {"share": share, "seed": seed})

    def with_splits(
        self, split: Sequence[str], made_by: str = "with_splits", arguments: JSON | None = None
    ) -> Cohort:
        """The same rows with a split for each; `made_by` and its arguments go into the recipe."""
        return self._view(self._table.assign(split=list(split)), made_by, arguments or {"split": list(split)})

    # Identity

    def fingerprint(self) -> str:
        """SHA-256 over the rows and the contents of their files."""
        from medgraft.data.fingerprint import fingerprint_rows

        return fingerprint_rows(self, None if self._arrays is not None else self._files)

    def pixel_hashes(self) -> np.ndarray:
        """(N,) text: `hash_pixels` of each image; files are hashed once."""
        rows = range(len(self))
        if self._arrays is not None:
            return np.asarray([hash_pixels(self.picture(row).array) for row in rows], dtype=object)
        return np.asarray([self._read(hash_image, "image", row) for row in rows], dtype=object)

    # Inner workings

    def _view(self, table: pd.DataFrame, operation: str, arguments: JSON | list[str]) -> Cohort:
        recipe = None
        if self.recipe is not None:
            recipe = {**self.recipe, "operations": [*self.recipe["operations"], [operation, arguments]]}
        view = Cohort(
            without_empty_truth(table), kind=self.kind, classes=self.classes, root=self.root, name=self.name,
            notes=self.notes, uncertain=self.uncertain, recipe=recipe, arrays=self._arrays,
        )  # fmt: skip
        view._files = self._files
        return view

    def _column(self, column: str, unknown: str | None) -> np.ndarray:
        if column in self._table.columns:
            return self._table[column].astype(str).to_numpy(dtype=object)
        if unknown is None:
            return np.full(len(self), MISSING, dtype=object)
        return np.asarray([f"{unknown} of row {row}" for row in self._table.index], dtype=object)

    def _index_in_memory(self, column: str, position: int) -> int:
        return int(str(self._table[column].iloc[position]).removeprefix("#"))

    def _read(self, read: Callable[[str], Read], column: str, position: int) -> Read:
        reference = self.reference(column, position)
        assert reference is not None  # in memory nothing is read
        try:
            found = read(reference)
        except DataError as error:
            self.reference(column, position)  # a file that is just being replaced may be damaged meanwhile
            error.got += f" ({self.where(column, position)})"
            raise
        self.reference(column, position)
        return found

    def reference(self, column: str, position: int) -> str | None:
        """The file of an image or mask, and the part of it behind '#'; None for what lives in memory.

        Raises:
            DataError: the file has changed since it was first asked for.
        """
        if self._arrays is not None:
            return None
        reference = self.root / str(self._table[column].iloc[position])
        file, _ = split_part(reference)
        self._files.note(file)
        self._files.refuse_changed(file, self.where(column, position))
        return str(reference)

    def where(self, column: str, position: int) -> str:
        """Row and file of an image or mask, for messages."""
        cell = "in memory" if self._arrays is not None else self._table[column].iloc[position]
        return f"row {self._table.index[position]}, {column} {cell}"
