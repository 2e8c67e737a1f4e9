"""Evidence of audits, written by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from medgraft.evidence import Evidence, fact

ABOUT = {"cohort": "Porto", "split": "test", "unit": "patients"}
SCORES = {
    "plain": {"all": 0.81, "conflicting": 0.60, "aligned": 0.95, "worst": 0.70, "gap": 0.20},
    "blunted": {"all": 0.70, "conflicting": 0.62, "aligned": 0.75, "worst": 0.68, "gap": 0.05},
    "helped": {"all": 0.80, "conflicting": 0.75, "aligned": 0.84, "worst": 0.78, "gap": 0.06},
}


def line(subject: str, part: str, value: float, group: str = "", metric: str = "auroc", **more) -> dict:
    about = {
        "subject": subject,
        "attribute": "tone",
        "part": part,
        "group": group,
        "metric": metric,
        "seed": 0,
    }
    numbers = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 20, "images": 40, "reason": ""}
    return about | numbers | ABOUT | more


def compared(evidence: Evidence, **widths: float) -> Evidence:
    """With what differs from the first subject; half the width of intervals by part, 0.1 unless told."""
    first, *others = dict.fromkeys(evidence.tables["bias"]["subject"])
    lines = []
    for subject in others:
        for part in SCORES[first]:
            value, wide = SCORES[subject][part] - SCORES[first][part], widths.get(part, 0.1)
            about = {
                "subject": subject,
                "reference": first,
                "attribute": "tone",
                "part": part,
                "metric": "auroc",
            }
            numbers = {
                "difference": value,
                "low": value - wide,
                "high": value + wide,
                "n": 20,
                "seeds": 1,
                "reason": "",
            }
            lines.append(about | numbers | ABOUT)
    return replace(evidence, tables=evidence.tables | {"bias_comparisons": pd.DataFrame(lines)})


def audited(
    subjects=("plain",), reference: bool = True, readers: bool = True, beside: bool = True
) -> Evidence:
    """A hundred images on light and on dark skin, and two on skin of another tone."""
    lines, probes, facts, tables = [], [], [], {}
    rng = np.random.default_rng(0)
    truth, tone = np.arange(102) % 2, np.repeat(["light", "dark", "pale"], [50, 50, 2])
    for subject in subjects:
        for part, value in SCORES[subject].items():
            if reference or part not in ("conflicting", "aligned"):
                group = "dark" if part == "worst" else ""
                lines += [
                    line(subject, part, value, group, metric) for metric in ("auroc", "balanced_accuracy")
                ]
        lines += [line(subject, "group", 0.9, "light"), line(subject, "group", 0.7, "dark")]
        lines.append(line(subject, "group", np.nan, "pale", low=np.nan, high=np.nan, reason="one class only"))
        if reference:
            lines.append(line(subject, "association", 0.65, metric="cramers_v"))
        for name, is_beside in ((subject, False), ("fair", True)):
            if beside or not is_beside:
                probes.append(line(name, "", 0.99, probe="linear", beside=is_beside, values=2))
        facts.append(
            fact(subject=subject, cohort="Porto", split="test", metric="auroc", value=SCORES[subject]["all"])
        )
        chance = 1 / (1 + np.exp(-rng.normal(size=102) - truth))
        tables[f"predictions/{subject}/0"] = pd.DataFrame(
            {"cohort": "Porto", "split": "test", "row": range(1, 103), "unit": range(102), "truth": truth,
             "predicted": (chance > 0.5).astype(int), "p_0": 1 - chance, "p_1": chance}
        )  # fmt: skip
    tables |= {
        "bias": pd.DataFrame(lines),
        "bias_probes": pd.DataFrame(probes).drop(columns=["part", "group"]),
        "bias_groups": pd.DataFrame({"row": range(1, 103), "attribute": "tone", "group": tone} | ABOUT),
        "classes/Porto": pd.DataFrame({"index": [0, 1], "name": ["benign", "malignant"]}),
    }
    if readers:
        points = [("", "", 0.9, 0.7), ("tone", "dark", 0.6, 0.5), ("tone", "light", np.nan, 0.5)]
        tables["readers"] = pd.DataFrame(
            {"reader": "A", "attribute": attribute, "group": group, "class": "malignant", "index": 1, "images": 100,
             "n": 90, "sensitivity": found, "sensitivity_low": found - 0.1, "sensitivity_high": found + 0.1,
             "specificity": spared, "specificity_low": spared - 0.1, "specificity_high": spared + 0.1} | ABOUT
            for attribute, group, found, spared in points
        )  # fmt: skip
    return Evidence(pd.DataFrame(facts), tables=tables)
