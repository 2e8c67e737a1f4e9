"""Which epoch to keep: named rules, so that every result can say how it was chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from medgraft.data.cohort import Cohort
from medgraft.engine.loading import Loader
from medgraft.engine.predict import predict_labels, predict_masks
from medgraft.errors import SettingsError
from medgraft.metrics.classification import auroc
from medgraft.metrics.segmentation import Overlap, count_overlap
from medgraft.models.model import Model
from medgraft.types import Preparation

Rule = Literal["last", "source_validation", "target_validation", "oracle"]
OpenLoader = Callable[[Cohort, Preparation], Loader]
RULES: tuple[Rule, ...] = ("last", "source_validation", "target_validation", "oracle")


class Selector:
    """Scores a model on validation rows; higher is better.

    Args:
        rule: the name printed with every result.
        cohort: validation rows with truth, or None for the rule `last`.
        open_loader: how its rows are read, e.g. `Run.loader`.
    """

    def __init__(self, rule: Rule, cohort: Cohort | None = None, open_loader: OpenLoader = Loader) -> None:
        self.rule = rule
        self.cohort = cohort
        self._open_loader = open_loader
        self._loader: Loader | None = None

    def score(self, model: Model) -> float:
        """Macro AUROC of a classifier, mean foreground Dice over patients of a segmenter; NaN where undefined."""
        if self.cohort is None:
            return float("nan")
        if self._loader is None or self._loader.preparer.preparation != model.spec.preparation:
            self._loader = self._open_loader(self.cohort, model.spec.preparation)
        device = next(model.parameters()).device
        if model.spec.kind == "segment":
            return self._dice(model, str(device))
        predicted = predict_labels(model, self.cohort, device=device, loader=self._loader)
        return auroc(self.cohort.labels, predicted.probabilities)

    def _dice(self, model: Model, device: str) -> float:
        assert self.cohort is not None
        overlaps: dict[str, Overlap] = {}
        for row, labels, _ in predict_masks(model, self.cohort, device=device, loader=self._loader):
            overlap = count_overlap(self.cohort.mask(row).array[..., 0], labels, len(model.spec.classes))
            unit = str(self.cohort.units[row])
            overlaps[unit] = overlaps[unit] + overlap if unit in overlaps else overlap
        foreground = np.stack([overlap.dice()[1:] for overlap in overlaps.values()])
        return float(np.nanmean(foreground)) if np.isfinite(foreground).any() else float("nan")


def choose_rule(
    asked: str | None,
    *,
    sees_target_truth: bool,
    target: Cohort | None,
    source: Cohort | None,
    open_loader: OpenLoader = Loader,
) -> Selector:
    """Turn the rule that was asked for into a selector, or take the best one that the method may use.

    Args:
        asked: a rule's name, or None.
        sees_target_truth: the method declared target truth; only then does `target_validation` exist.
        target, source: validation rows with truth, or None.
        open_loader: how they are read.

    Raises:
        SettingsError: unknown rule, or a rule whose data are absent or withheld.
    """
    if asked is None:
        if sees_target_truth and target is not None:
            return Selector("target_validation", target, open_loader)
        if not sees_target_truth and source is not None:
            return Selector("source_validation", source, open_loader)
        return Selector("last")
    offered = _offered(sees_target_truth, target, source)
    for rule, cohort in offered:
        if rule == asked:
            return Selector(rule, cohort, open_loader)
    names = ", ".join(rule for rule, _ in offered)
    raise SettingsError(
        "The selection rule", f"to be one that this task allows ({names})", f"it is {asked!r}",
        "Choose one of these with --select, or add labelled validation rows to the manifest.",
    )  # fmt: skip


def _offered(
    sees_target_truth: bool, target: Cohort | None, source: Cohort | None
) -> Sequence[tuple[Rule, Cohort | None]]:
    offered: list[tuple[Rule, Cohort | None]] = [("last", None)]
    if source is not None:
        offered.append(("source_validation", source))
    if target is not None:
        offered.append(("target_validation" if sees_target_truth else "oracle", target))
    return offered
