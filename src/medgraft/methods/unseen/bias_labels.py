"""What a model shall not learn from: the values of attributes such as tone of skin, ruler marks or the camera."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medgraft.data.attributes import attribute_columns
from medgraft.data.cohort import Cohort
from medgraft.engine.checkpoint import Saved
from medgraft.engine.run import Run
from medgraft.errors import DataError, MedgraftError
from medgraft.images.skin_tone import skin_tone_at_border

ITA = "ita"
"""The attribute that is read from the pictures: their Fitzpatrick type by the individual typology angle."""
UNKNOWN = -1
MOST_VALUES = 20
"""More are no groups: they might be ages or name patients."""


class BiasLabels(NamedTuple):
    """The values of one attribute.

    name: of the attribute; values: what it can be, sorted; codes: (N,) int64 numbers of values, -1 where unknown.
    """

    name: str
    values: tuple[str, ...]
    codes: Tensor


def bias_labels(who: str, cohort: Cohort, attributes: Sequence[str], run: Run) -> list[BiasLabels]:
    """Read attributes from a manifest's columns, or from the pictures themselves.

    Args:
        who: the method, for messages.
        cohort: the rows.
        attributes: names of columns; `ita` is measured by `skin_tone_at_border` where there is no such column, once
            per run.
        run: keeps what was measured.

    Raises:
        DataError: there is no such column, it is none of attributes, or it has fewer than two values or more than 20.
    """
    found = []
    for name in attributes:
        if name == ITA and name not in cohort.table.columns:
            codes = run.once(ITA, lambda: Saved({"types": _measured_types(cohort)})).tensors["types"]
            texts = np.array([str(code) if code > 0 else "" for code in codes.tolist()])
        else:
            texts = _column(who, cohort, name)
        values = tuple(sorted(set(texts.tolist()) - {""}))
        if len(values) < 2:
            raise DataError(
                who, f"two values of the attribute '{name}' at least",
                f"the training rows of {cohort.name} have {', '.join(values) or 'none'}",
                "Add images of others, or leave this attribute out: what does not vary cannot be unlearned.",
            )  # fmt: skip
        if len(values) > MOST_VALUES:
            raise DataError(
                who, f"at most {MOST_VALUES} values of the attribute '{name}'", f"the training rows have {len(values)}",
                "Group them in a column of their own, such as ages by decade.",
            )  # fmt: skip
        numbers = {value: number for number, value in enumerate(values)}
        found.append(BiasLabels(name, values, torch.tensor([numbers.get(text, UNKNOWN) for text in texts])))
    return found


def groups_of(classes: Tensor, labels: Sequence[BiasLabels]) -> Tensor:
    """Number the combinations of class and attributes that occur: (N,) int64 from 0; unknown is a value of its own.

    >>> camera = BiasLabels("camera", ("new", "old"), torch.tensor([0, 1, 1, 0]))
    >>> groups_of(torch.tensor([0, 0, 1, 0]), [camera]).tolist()
    [0, 1, 2, 0]
    """
    columns = torch.stack([classes.long(), *(each.codes for each in labels)], dim=1)
    numbers: Tensor = torch.unique(columns, dim=0, return_inverse=True)[1]
    return numbers


def _column(who: str, cohort: Cohort, name: str) -> np.ndarray:
    table = cohort.table
    offered = attribute_columns(cohort)
    if name not in offered:
        raise DataError(
            who, f"the column '{name}' in the manifest, as an attribute",
            f"the attributes are {', '.join(offered) or 'none'}",
            f"Add it, or name another; '{ITA}' measures the tone of skin.",
        )  # fmt: skip
    texts: np.ndarray = table[name].fillna("").astype(str).str.strip().to_numpy()
    return texts


def _measured_types(cohort: Cohort) -> Tensor:
    """(N,) Fitzpatrick types, 0 where none could be told."""
    types = []
    for row in range(len(cohort)):
        try:
            types.append(skin_tone_at_border(cohort.picture(row).array).fitzpatrick or 0)
        except MedgraftError as error:
            error.got += f" ({cohort.where('image', row)})"
            raise
    return torch.tensor(types)
