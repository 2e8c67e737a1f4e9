"""Evidence: all that a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from medgraft.errors import DataError
from medgraft.evidence.facts import FACT_COLUMNS, check_facts
from medgraft.evidence.plain import make_plain
from medgraft.evidence.union import unique, unite_images, unite_rows, unite_tables

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _no_facts() -> pd.DataFrame:
    return pd.DataFrame([], columns=list(FACT_COLUMNS))


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was measured and how; pieces of evidence add up, and a report needs nothing else.

    Never put a patient's name or number in it: rows and units are numbers, rows as counted in the manifest.

    Args:
        facts: one measured number per row, made with `medgraft.evidence.fact`.
        provenance: one dictionary per thing done (what, subject, cohort, data, source, settings, seed, ...).
        tables: anything longer, by name; those that a report knows:
            "predictions/SUBJECT/SEED": cohort, row, unit, truth (or truth_0, ...), predicted, p_0, p_1, ...;
            "scores/SUBJECT/SEED": cohort, split, unit, part, dice, iou, surface_dice_2mm, hd95_mm, ..., images,
            undefined (of these images, how many have no surface distance);
            "history/SUBJECT/SEED" or ".../SEED/PART": epoch, step, loss, score, lr;
            "watched/SUBJECT/SEED", "watched_planes/SUBJECT/SEED": as `medgraft.engine.watch.Watch`;
            "comparisons": subject, reference, cohort, metric, difference, low, high, n, seeds, p, test;
            "subgroups": subject, cohort, split, seed, attribute, group, metric, value, low, high, n, unit;
            "bias", "bias_groups", "bias_probes": as `medgraft.evaluation.bias.audit_tables`, with cohort, split, seed
            and unit; "bias_comparisons": as `medgraft.evaluation.compare_audits.compare_audits`;
            "readers": as `medgraft.evaluation.readers.measure_readers`, with cohort, split and unit;
            "examples": image, subject, cohort, row, truth, predicted, confidence, worst;
            "updates/SUBJECT/SEED": epoch, group, tensor, update (mean absolute change per step), cohort;
            "classes/COHORT": index, name; "plan/SUBJECT": tensor, outcome, from, to;
            "grid": one row per cell of a benchmark, with the columns of `medgraft.reports.grids.grid.Grid`;
            "ranks": cohort, metric, subject, mean_rank, letters; "critical_difference": cohort, metric, value,
            alpha, friedman_p, blocks; "difference_tests": cohort, metric, subject, reference, p_wilcoxon,
            p_permutation, p_holm, detectable; "run_tests": as `medgraft.benchmarks.over_runs.compare_runs`;
            "negative_transfer": cohort, subject, reference, metric, part,
            difference (from scratch minus transferred), low, high, n, seeds, by_unit, worse, worst;
            "ranking": source, score, value, rank, low, high, seconds, reason, place (0 is first), cohort, seed;
            "ranking_passes": source, seconds, cohort, seed; "ranking_agreement": score, other, tau, sources, cohort,
            seed; "ranking_regret": score, tau, against_best, low, high, against_baseline, baseline_low,
            baseline_high; "ranking_reliability": cohort, seed, metric, the fields of
            `medgraft.ranking.reliability.Reliability`, tells_apart, sentence;
            "ranking_projections": source, stage (before, after, nca, lda), x, y, label, cohort, seed;
            "ranking_projection_scores": source, stage, neighbours, dimensions, reason, cohort, seed;
            "features_over_training": subject, epoch, side (source, target train, target test), x, y, cohort, seed;
            "feature_separation": subject, epoch, pair, balanced_accuracy, reason, cohort, seed;
            "stain_spread": site, tiles, hue_mean, hue_sd (degrees), saturation_mean, saturation_sd, value_mean,
            value_sd, lab_distance, cohort, reference, seed; "stain_gallery": site, normaliser, changed, image, cohort,
            reference, seed; "stain_features": subject, site, label, x, y, cohort, reference, seed; "stain_overlap":
            subject, site, balanced_accuracy, overlap, class_agreement, reason, cohort, reference, seed.
        images: (H, W, 3) uint8 by name.
        warnings: sentences that a reader of the results must see.

    Raises:
        DataError: a part is not of this form.

    >>> from medgraft.evidence import fact
    >>> one = Evidence(pd.DataFrame([fact(subject="probe", cohort="Porto", metric="auroc", value=0.8)]))
    >>> two = Evidence(pd.DataFrame([fact(subject="majority", cohort="Porto", metric="auroc", value=0.5)]))
    >>> (one + two).facts["value"].tolist()
    [0.8, 0.5]
    """

    facts: pd.DataFrame = field(default_factory=_no_facts)
    provenance: tuple[dict[str, Any], ...] = ()
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    images: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        tables = {name: _check_table(name, table) for name, table in self.tables.items()}
        images = {name: _check_image(name, image) for name, image in self.images.items()}
        object.__setattr__(self, "facts", check_facts(self.facts))
        object.__setattr__(self, "provenance", unique(_check_entries(self.provenance)))
        object.__setattr__(self, "tables", tables)
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "warnings", unique(str(warning) for warning in self.warnings))

    @classmethod
    def empty(cls) -> Evidence:
        """Nothing measured yet: what sums begin with.

        >>> len(Evidence.empty().facts)
        0
        """
        return cls()

    def __add__(self, other: Evidence) -> Evidence:
        """All of both; what stands in both is kept once, so adding the same evidence again changes nothing.

        A picture whose name is taken by a different one is kept under the next free name.
        """
        if not isinstance(other, Evidence):
            return NotImplemented
        images, renamed = unite_images(self.images, other.images)
        theirs = dict(other.tables)
        if renamed and "examples" in theirs and "image" in theirs["examples"]:
            examples = theirs["examples"]
            theirs["examples"] = examples.assign(
                image=examples["image"].map(lambda name: renamed.get(name, name))
            )
        return Evidence(
            facts=unite_rows(self.facts, other.facts),
            provenance=self.provenance + other.provenance,
            tables=unite_tables(self.tables, theirs),
            images=images,
            warnings=self.warnings + other.warnings,
        )

    def save(self, folder: str | Path) -> Path:
        """Write a folder of Parquet, JSON and PNG, whole or not at all, in place of earlier evidence.

        Returns: the folder.

        Raises:
            DataError: the folder holds other files, or a table cannot be stored.
        """
        from medgraft.evidence.storage import save_evidence

        return save_evidence(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Evidence:
        """Read what `save` wrote and check it against the hashes written with it.

        Raises:
            DataError: there is no evidence in the folder, or a file is missing or was changed.
        """
        from medgraft.evidence.storage import load_evidence

        return load_evidence(Path(folder))


def _check_entries(entries: tuple[dict[str, Any], ...]) -> list[Any]:
    for position, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise DataError(
                "Provenance", "dictionaries", f"entry {position} is of class {type(entry).__name__}",
                "Give a tuple of dictionaries.",
            )  # fmt: skip
    return [make_plain(entry) for entry in entries]


def _check_table(name: str, table: pd.DataFrame) -> pd.DataFrame:
    wrong = [column for column in table.columns if not isinstance(column, str)]
    if wrong or table.columns.has_duplicates:
        raise DataError(
            f"The table '{name}'", "different names for all columns", f"it has {list(table.columns)}",
            "Rename its columns.",
        )  # fmt: skip
    if isinstance(table.index, pd.RangeIndex) and table.index.equals(pd.RangeIndex(len(table))):
        return table
    return table.reset_index(drop=table.index.name is None)


def _check_image(name: str, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(
            f"The picture '{name}'", "shape (H, W, 3) and dtype uint8",
            f"it has shape {image.shape} and dtype {image.dtype}", "Convert it before adding it to evidence.",
        )  # fmt: skip
    return image
