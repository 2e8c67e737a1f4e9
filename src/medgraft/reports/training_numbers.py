"""What trainings recorded on the way as plain data, for the report's JSON."""

from __future__ import annotations

from typing import Any

from medgraft.evidence import Evidence
from medgraft.reports.feature_drift import read_separations
from medgraft.reports.policies import mean_policies
from medgraft.reports.site_clusters import alignments
from medgraft.reports.transfer_risk import transfer_risks
from medgraft.reports.updates import layer_updates
from medgraft.reports.watched_features import feature_courses

EPOCH = (
    "epoch",
    "supervised",
    "alignment",
    "alignment_weight",
    "seconds",
    "clustering_seconds",
    "matching_distance",
)
SEPARATION = ("subject", "cohort", "seed", "epoch", "pair", "balanced_accuracy", "reason")


def training_numbers(evidence: Evidence) -> dict[str, Any]:
    """Steps, tuned layers, features over training, risk by class, alignment, probes; empty where not recorded.

    >>> ", ".join(training_numbers(Evidence()))
    'layer_updates, policies, feature_separations, transfer_risks, alignments, features'
    """
    return {
        "layer_updates": [
            {"subject": one.subject, "part": one.part, "layers": one.layers.to_dict("records")}
            for one in layer_updates(evidence)
        ],
        "policies": [
            {
                "subject": one.subject, "part": one.part, "cohort": one.cohort,
                "layers": [
                    {"layer": layer, "block": block, "level": level, "tuned": tuned}
                    for layer, block, level, tuned in zip(
                        one.layers, one.blocks, one.levels, one.tuned, strict=True
                    )
                ],
            }
            for one in mean_policies(evidence)
        ],
        "feature_separations": [
            {name: row[name] for name in SEPARATION} for row in read_separations(evidence).to_dict("records")
        ],
        "transfer_risks": [
            {"subject": subject, "classes": table.to_dict("records")}
            for subject, table in transfer_risks(evidence)
        ],
        "alignments": [
            {
                "subject": one.subject, "seed": one.seed, "part": one.part, "cohort": one.cohort,
                "epochs": one.epochs[list(EPOCH)].to_dict("records"),
            }
            for one in alignments(evidence)
        ],
        "features": [
            {
                "subject": one.subject, "seed": one.seed, "part": one.part,
                "looks": one.looks.to_dict("records"), "batches": one.batches.to_dict("records"),
            }
            for one in feature_courses(evidence)
        ],
    }  # fmt: skip
