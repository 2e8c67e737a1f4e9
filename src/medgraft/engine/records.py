"""Tables and pictures that a run leaves as evidence, one file each."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd

from medgraft.whole_files import written_whole


class Records(NamedTuple):
    """What a run recorded, by name; names of child runs begin with the child's path."""

    tables: dict[str, pd.DataFrame]
    images: dict[str, np.ndarray]


def write_record(folder: Path, name: str, item: pd.DataFrame | np.ndarray) -> None:
    """Write a table as Parquet or a picture (H, W, 3) uint8 as PNG, whole or not at all."""
    path = folder / (quote(name, safe="") + (".parquet" if isinstance(item, pd.DataFrame) else ".png"))
    with written_whole(path) as temporary:
        if isinstance(item, pd.DataFrame):
            item.to_parquet(temporary)
        else:
            from PIL import Image

            Image.fromarray(item).save(temporary, format="PNG")


def read_records(run_folder: Path) -> Records:
    """Everything that a run and its children recorded in their folder."""
    from PIL import Image

    records = Records({}, {})
    for path in sorted(run_folder.rglob("records/*")):
        child = path.parent.parent.relative_to(run_folder).parts
        name = "/".join((*child, unquote(path.stem)))
        if path.suffix == ".parquet":
            records.tables[name] = pd.read_parquet(path)
        elif path.suffix == ".png":
            with Image.open(path) as image:
                records.images[name] = np.asarray(image)
    return records
