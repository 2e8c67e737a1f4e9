"""How a view was made, as JSON, and how to make it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medgraft.errors import DataError
from medgraft.types import JSON

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort

VIEWS = ("take", "at", "split", "only", "unlabelled", "few", "fraction", "with_splits")
"""Operations that a recipe may name."""


def follow_recipe(recipe: JSON | None) -> Cohort:
    """Open the data a recipe names and repeat its operations.

    Raises:
        DataError: the recipe is None, because the cohort lived in memory; an unknown operation.
    """
    if recipe is None:
        raise DataError(
            "Repeating a run", "a cohort that was read from files", "this one lived in memory",
            "Pass the cohort in Python.",
        )  # fmt: skip
    cohort = _open(recipe)
    for name, arguments in recipe["operations"]:
        if name == "split_by_patient":
            from medgraft.data.splits import split_by_patient

            cohort = split_by_patient(cohort, **arguments)
        elif name not in VIEWS:
            raise DataError(
                "A recipe", f"operations among {', '.join(VIEWS)}", f"it names {name!r}", "Correct it."
            )
        elif isinstance(arguments, list):
            cohort = getattr(cohort, name)(*arguments)
        else:
            cohort = getattr(cohort, name)(**arguments)
    return cohort


def _open(recipe: JSON) -> Cohort:
    if "samples" in recipe:
        from medgraft.data.samples import load_samples

        return load_samples(recipe["samples"])
    from medgraft.data.manifest import read_manifest

    return read_manifest(
        recipe["path"], kind=recipe["kind"], classes=recipe["classes"], uncertain=recipe["uncertain"]
    )
