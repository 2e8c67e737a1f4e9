"""Pictures of a target's images as its best source sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgraft.evidence import Evidence
from medgraft.metrics.tsne import draw_rows
from medgraft.ranking.material import Material
from medgraft.ranking.projection_tables import MOST_SHOWN, projection_tables

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.models.model import Model

Look = Callable[["Model", "Cohort"], Material]


class Shown(NamedTuple):
    """The images of a target that a picture shows, and what every source makes of them.

    It is kept from the pass that feeds the scores: which source is best is known only after all of them.
    """

    target: Cohort
    rows: NDArray[np.int64]
    features: dict[str, NDArray[np.float32]]
    seed: int

    def keep(self, source: str, material: Material) -> None:
        """Keep a source's features of these images; its other features may go."""
        self.features[source] = material.features[self.rows]

    def evidence(self, source: str, tuned: Model | None, look: Look) -> Evidence:
        """Lay out what one source sees, also after fine-tuning where it was fine-tuned."""
        names = [self.target.classes[label] for label in self.target.labels[self.rows]]

        def after() -> NDArray[np.floating]:
            assert tuned is not None
            return look(tuned, self.target.take(self.rows)).features

        tables = projection_tables(
            source, self.features[source], names, after if tuned is not None else None, seed=self.seed
        )
        return Evidence(
            tables={
                name: table.assign(cohort=self.target.name, seed=self.seed) for name, table in tables.items()
            }
        )


def choose_shown(target: Cohort, seed: int) -> Shown | None:
    """Choose the images; None where a target has not one label per image, by which points could be coloured."""
    if target.kind != "classify":
        return None
    return Shown(target, draw_rows(target.labels, most=MOST_SHOWN, seed=seed), {}, seed)
