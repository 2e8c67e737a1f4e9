"""Evidence as the demo leaves it, made up: five subjects, three seeds, 3 classes, blocks of one slide."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medgraft.evidence import Evidence, fact

COHORT = "H&E nuclei, colour"
CLASSES = ("connective", "inflammatory", "neoplastic")
SKILLS = {
    "majority class": 0.0, "12x12 pixels": 1.35, "from scratch": 0.75, "linear probe": 1.15, "full fine-tuning": 1.4,
}  # fmt: skip
ROWS, UNITS = 420, 27


def nucleus(random: np.random.Generator, kind: int) -> np.ndarray:
    """A 48x48 blob on pink ground that looks a little like a stained nucleus."""
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    radius = 0.35 + 0.15 * kind / 2 + random.uniform(-0.05, 0.05)
    inside = 1 / (1 + np.exp(((x * (1 + 0.4 * (kind == 0))) ** 2 + y**2 - radius**2) * 25))
    ground = np.array([226, 190, 214]) + random.normal(0, 6, (48, 48, 1))
    stain = np.array([96, 70, 140]) + 14 * kind + random.normal(0, 10, (48, 48, 1))
    return (ground * (1 - inside[..., None]) + stain * inside[..., None]).clip(0, 255).astype(np.uint8)


def predictions(random: np.random.Generator, truth: np.ndarray, skill: float) -> pd.DataFrame:
    logits = random.normal(0, 1, (len(truth), 3)) * (skill > 0) + skill * np.eye(3)[truth] + [0.3, 0.2, 0]
    chances = np.exp(1.5 * logits) / np.exp(1.5 * logits).sum(1, keepdims=True)
    return pd.DataFrame(
        {
            "cohort": COHORT, "split": "test", "row": np.arange(700, 700 + len(truth)),
            "unit": np.arange(len(truth)) % UNITS, "truth": truth, "predicted": chances.argmax(1),
            **{f"p_{k}": chances[:, k] for k in range(3)},
        }
    )  # fmt: skip


def facts_of(subject: str, seed: int, table: pd.DataFrame) -> list[dict]:
    right = (table["truth"] == table["predicted"]).to_numpy()
    recalls = [right[table["truth"] == k].mean() for k in range(3)]
    scores = [("balanced_accuracy", "", np.mean(recalls)), ("accuracy", "", right.mean())]
    scores += [
        ("auroc", "", 0.5 + 0.45 * (np.mean(recalls) - 1 / 3) / 0.6),
        ("ece", "", 0.08),
        ("brier", "", 0.44),
    ]
    scores += [("recall", name, value) for name, value in zip(CLASSES, recalls, strict=True)]
    return [
        fact(
            subject=subject, cohort=COHORT, metric=metric, part=part, seed=seed, value=value, low=value - 0.05,
            high=value + 0.045, n=UNITS, unit="blocks of one slide",
            selection="none" if subject in ("majority class", "12x12 pixels") else "last",
        )
        for metric, part, value in scores
    ]  # fmt: skip


def examples_of(subject: str, seed: int, table: pd.DataFrame, images: dict[str, np.ndarray]) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    confidence = table[["p_0", "p_1", "p_2"]].max(axis=1)
    wrong = table["truth"] != table["predicted"]
    order = [
        *confidence[wrong].sort_values().index[::-1][:4],
        *confidence[~wrong].sort_values().index[::-1][:2],
    ]
    lines = []
    for number, position in enumerate(order):
        name = f"examples/{subject}/{seed}/{number}"
        images[name] = nucleus(random, int(table["truth"][position]))
        lines.append(
            {
                "image": name, "subject": subject, "cohort": COHORT, "row": table["row"][position],
                "truth": CLASSES[table["truth"][position]], "predicted": CLASSES[table["predicted"][position]],
                "confidence": confidence[position], "worst": bool(wrong[position]),
            }
        )  # fmt: skip
    return pd.DataFrame(lines)


def entry(what: str, subject: str, seed: int) -> dict:
    return {
        "what": what, "subject": subject, "cohort": COHORT, "seed": seed, "selection": "last",
        "command": "medgraft demo --out medgraft-demo",
        "source": "packaged/efficientnet_lite0", "method": "fine_tune",
        "data": {
            "name": COHORT, "fingerprint": "9f" * 32, "rows": {"train": 120, "validation": 60, "test": ROWS},
            "classes": list(CLASSES), "notes": {"silver_labels": True, "licence": "BSD-3-Clause"},
        },
        "settings": {"scope": subject, "schedule": {"epochs": 16, "batch_size": 32, "lr": 1e-3}, "size": [96, 96]},
        "versions": {"python": "3.11.9", "medgraft": "0.1.0", "torch": "2.10.0", "timm": "1.0.20"},
        "seconds": 11.4 + seed, "parameters": 3374931,
    }  # fmt: skip


@pytest.fixture(scope="session")
def evidence() -> Evidence:
    random = np.random.default_rng(3)
    truth = random.choice(3, ROWS, p=[0.3, 0.5, 0.2])
    rows, tables, images, provenance, examples = [], {}, {}, [], []
    for subject, skill in SKILLS.items():
        for seed in range(3):
            table = predictions(
                np.random.default_rng([seed, len(subject)]), truth, skill * random.uniform(0.95, 1.05)
            )
            tables[f"predictions/{subject}/{seed}"] = table
            rows += facts_of(subject, seed, table)
            examples.append(examples_of(subject, seed, table, images))
            provenance += [entry("adapt", subject, seed), entry("evaluate", subject, seed)]
            if subject not in ("majority class", "12x12 pixels"):
                epochs = np.arange(16)
                loss = 1.1 * np.exp(-epochs * (0.05 + skill / 8)) + random.uniform(0.02, 0.06, 16)
                score = (
                    np.full(16, np.nan)
                    if skill < 1
                    else 0.75 - 0.4 * np.exp(-epochs / 3) + random.normal(0, 0.01, 16)
                )
                tables[f"history/{subject}/{seed}"] = pd.DataFrame(
                    {"epoch": epochs, "step": 4 * (epochs + 1), "loss": loss, "score": score, "lr": 1e-3}
                )
    plan = [("conv_stem.weight", "loaded", "32x3x3x3", "32x3x3x3")] * 310
    plan += [
        ("head.weight", "new", "", "3x1280"),
        ("head.bias", "new", "", "3"),
        ("classifier.weight", "dropped", "1000x1280", ""),
    ]
    tables["plan/full fine-tuning"] = tables["plan/linear probe"] = pd.DataFrame(
        plan, columns=["tensor", "outcome", "from", "to"]
    )
    tables[f"classes/{COHORT}"] = pd.DataFrame(list(enumerate(CLASSES)), columns=["index", "name"])
    tables["examples"] = pd.concat(examples, ignore_index=True)
    differences = {"full fine-tuning": (0.01, -0.04, 0.06), "linear probe": (-0.03, -0.08, 0.02),
                   "from scratch": (-0.14, -0.2, -0.08), "majority class": (-0.42, -0.47, -0.36)}  # fmt: skip
    tables["comparisons"] = pd.DataFrame(
        [
            {"subject": subject, "reference": "12x12 pixels", "cohort": COHORT,
             "split": "test", "metric": "balanced_accuracy",
             "difference": d, "low": low, "high": high, "n": UNITS, "seeds": 3}
            for subject, (d, low, high) in differences.items()
        ]
    )  # fmt: skip
    tables["subgroups"] = pd.DataFrame(
        [
            {"subject": subject, "cohort": COHORT, "split": "test", "seed": seed, "attribute": "scanner",
             "group": group, "metric": "balanced_accuracy", "value": skill / 4 + 0.01 * seed - harder,
             "low": skill / 4 - 0.1 - harder, "high": skill / 4 + 0.1 - harder, "n": n, "unit": "blocks"}
            for subject, skill in SKILLS.items()
            for seed in range(3)
            for group, n, harder in (("old", 11, 0.1), ("not told", 4, 0.0))
        ]
    )  # fmt: skip
    warnings = (f"{COHORT}: the truth is silver, made by a program or a model, not by an expert.",)
    return Evidence(pd.DataFrame(rows), tuple(provenance), tables, images, warnings)
