"""Columns of a manifest that say something about patients or images."""

from __future__ import annotations

from medgraft.data.cohort import NAMED_COLUMNS, Cohort
from medgraft.data.labels import LABEL_PREFIX


def attribute_columns(cohort: Cohort) -> list[str]:
    """Columns by which images can be grouped: the site, and those that have no purpose of their own.

    >>> from medgraft.testing import make_cohort
    >>> attribute_columns(make_cohort("classify"))
    ['site', 'camera']
    """
    return [
        str(column)
        for column in cohort.table.columns
        if column == "site" or not (column in NAMED_COLUMNS or str(column).startswith(LABEL_PREFIX))
    ]
