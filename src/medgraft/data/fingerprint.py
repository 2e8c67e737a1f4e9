"""What a cohort consists of, as one hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medgraft.data.readers import hash_of_file, split_part
from medgraft.errors import DataError

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.data.unchanged import UnchangedFiles


def fingerprint_rows(cohort: Cohort, files: UnchangedFiles | None) -> str:
    """SHA-256 over the rows of a cohort and the contents of their files; see `Cohort.fingerprint`.

    Args:
        cohort: any view.
        files: notes the files, so that what is read later must be what was hashed; None where they live in memory.
    """
    table = cohort.table
    digest = hashlib.sha256()
    digest.update(json.dumps([cohort.kind, cohort.classes, cohort.uncertain]).encode())
    digest.update(table.to_csv(index=True).encode())
    for column in ("image", "mask"):
        if column not in table.columns:
            continue
        if files is None:
            for position in range(len(cohort)):
                array = cohort.picture(position).array if column == "image" else cohort.mask(position).array
                digest.update(np.ascontiguousarray(array).tobytes())
            continue
        first: dict[Path, int] = {}
        for position, cell in enumerate(table[column]):
            first.setdefault(cohort.root / split_part(cell)[0], position)
        for file, position in first.items():
            files.note(file)
            try:
                digest.update(hash_of_file(file).encode())
            except DataError as error:
                error.got += f" ({cohort.where(column, position)})"
                raise
    return digest.hexdigest()
