"""Fitzpatrick17k: clinical photographs of 114 conditions of the skin, with the type of skin that people gave."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medgraft.data.layouts.published_files import find_images
from medgraft.data.layouts.published_table import (
    header_of,
    kept_columns,
    other_columns,
    read_columns,
    refuse_cells,
    refuse_repeats,
)
from medgraft.data.opened import Opened

TABLE = "fitzpatrick17k.csv"
NAME, TRUTH = "md5hash", "three_partition_label"
SCALES = {"fitzpatrick_scale": "fitzpatrick", "fitzpatrick_centaur": "fitzpatrick_centaur"}
"""Column of the table -> our attribute; the second was given by other people."""
CONDITION = "label"
"""What the table calls one of 114 conditions, and a manifest the truth."""
MADE = ("image", "fitzpatrick", "condition")
CLASSES = ("benign", "malignant", "non-neoplastic")
TYPES = {"-1": "", "": "", **{str(number): str(number) for number in range(1, 7)}}
NOTES = {
    "licence": "CC BY-NC-SA 3.0 (labels); photographs belong to DermaAmin and Atlas Dermatologico",
    "source": "Fitzpatrick17k (Groh et al. 2021), photographs of two atlases on the web",
    "labels": "Conditions are those of the atlases; skin types were given by annotators who are no dermatologists.",
    "patients": "The table tells no patients; some photographs show the same lesion.",
}


def recognises(path: Path) -> bool:
    """A folder with the table."""
    return path.is_dir() and owns(path / TABLE)


def owns(file: Path) -> bool:
    """A csv with names of photographs and one of the three partitions."""
    return file.suffix.lower() == ".csv" and {NAME, "fitzpatrick_scale"} <= set(header_of(file))


def read(path: Path) -> Opened:
    """A row per photograph: benign, malignant or non-neoplastic; skin type (1 to 6), condition and the other columns.

    A skin type of -1 is unknown and left empty. Without the rows of one partition, the others are the classes: those
    of the neoplastic ones alone tell malignant from benign, as in the publications on melanoma.

    Args:
        path: the folder with fitzpatrick17k.csv and, in it or in a folder of it, the photographs MD5HASH.jpg.

    Raises:
        DataError: a column or photographs are missing; a skin type or partition is none of the published; two rows of
            one image.

    Source: Groh et al. 2021, Evaluating deep neural networks trained on clinical images in dermatology with the
    Fitzpatrick 17k dataset; table as in https://github.com/mattgroh/fitzpatrick17k.
    """
    file = path / TABLE
    used = [NAME, TRUTH, CONDITION, *SCALES]
    others = other_columns(file, used, MADE)
    stored = read_columns(file, [*used, *others])
    refuse_cells(file, TRUTH, stored[TRUTH], CLASSES.__contains__, f"{', '.join(CLASSES)} in '{TRUTH}'")
    for column in SCALES:
        types = [cell.removesuffix(".0") for cell in stored[column]]
        refuse_cells(file, column, types, TYPES.__contains__, f"skin types 1 to 6, or -1, in '{column}'")
        stored[column] = [TYPES[cell] for cell in types]
    refuse_repeats(file, stored[NAME])
    columns = {
        "image": find_images(path, file, [f"{name}.jpg" for name in stored[NAME]]),
        "label": stored[TRUTH],
        **{ours: stored[theirs] for theirs, ours in SCALES.items()},
        "condition": stored[CONDITION],
        **kept_columns(stored, others),
    }
    table = pd.DataFrame(columns, index=pd.RangeIndex(1, len(columns["image"]) + 1), dtype=object)
    sidecar = {
        "kind": "classify",
        "classes": [name for name in CLASSES if name in set(stored[TRUTH])],
        "name": path.resolve().name,
        "notes": dict(NOTES),
    }
    return Opened(table, path, sidecar)
