"""A saved model as its JSON describes it, and evidence about it, made up; no weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from medgraft.evidence import Evidence, fact

PROVENANCE: dict[str, Any] = {
    "source": "packaged/efficientnet_lite0",
    "licence": "Apache-2.0",
    "trained_on": "ImageNet-1k",
    "adapted": [
        {
            "source": {
                "name": "packaged/efficientnet_lite0",
                "architecture": None,
                "weights_sha256": "ab" * 32,
            },
            "method": "fine_tune",
            "settings": {"scope": "head_then_all"},
            "data": {"source": None, "target": "cd" * 32},
            "seed": 1,
            "selection": "target_validation",
        }
    ],
}
SPEC: dict[str, Any] = {
    "kind": "classify",
    "classes": ["benign", "malignant"],
    "channels": 3,
    "preparation": {"dimensions": 2, "slices": 1, "size": [96, 96], "spacing": None, "intensity": "unit"},
    "provenance": PROVENANCE,
}
RUN: dict[str, Any] = {
    "format": 1,
    "task": {
        "source": None,
        "target": {
            "name": "lungs at Porto", "rows": 1240, "classes": ["benign", "malignant"], "fingerprint": "cd" * 32,
            "recipe": {"manifest": "/home/anna/lungs.csv", "patients": ["Anna Muster"]},
        },
    },
    "seconds": 372.0,
    "warnings": ["lungs at Porto: 3 images are copies of others."],
    "versions": {"python": "3.11.9", "medgraft": "0.1.0", "torch": "2.10.0"},
}  # fmt: skip


def saved_model(run: Path, spec: dict[str, Any] | None = None) -> Path:
    """A run's folder with run.json and model/model.json; returns the model's folder."""
    model = run / "model"
    model.mkdir(parents=True)
    tree = {"class": "Classifier", "config": {"architecture": "tf_efficientnet_lite0"}, "spec": spec or SPEC}
    weights = {"file": "model.safetensors", "sha256": "ef" * 32}
    described = {"format": 1, "medgraft": "0.1.0", "tree": tree, "weights": weights}
    (model / "model.json").write_text(json.dumps(described))
    (run / "run.json").write_text(json.dumps(RUN))
    return model


def evaluated(model: Path, cohorts: tuple[str, ...] = ("lungs at Porto", "lungs at Lyon")) -> Evidence:
    """Evidence about this model on some cohorts, and about another model."""
    described = json.loads((model / "model.json").read_text())
    rows, entries = [], []
    for place, cohort in enumerate(cohorts):
        for subject, seed, provenance in (
            ("porto", 1, described["tree"]["spec"]["provenance"]),
            ("other", 0, {"source": "random"}),
        ):
            value = 0.91 - 0.04 * place - 0.2 * (subject == "other")
            scores = [
                ("balanced_accuracy", "", value),
                ("auroc", "", value + 0.03),
                ("recall", "malignant", value - 0.02),
            ]
            rows += [
                fact(
                    subject=subject, cohort=cohort, seed=seed, metric=metric, part=part, value=number,
                    low=number - 0.04, high=number + 0.03, n=61, unit="patients", selection="target_validation",
                )
                for metric, part, number in scores
            ]  # fmt: skip
            entries.append(
                {"what": "evaluate", "subject": subject, "cohort": cohort, "seed": seed,
                 "model": {"kind": "classify", "provenance": provenance}}
            )  # fmt: skip
    warnings = tuple(f"{cohort}: the images are simulated." for cohort in cohorts[1:])
    return Evidence(pd.DataFrame(rows), tuple(entries), warnings=warnings)
