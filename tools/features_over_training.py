"""Measure whether mixed batches keep training and test images of the target together; write it into docs/few_labels.md.

    OMP_NUM_THREADS=1 python tools/features_over_training.py runs/features_over_training

A U-Net is trained at one simulated scanner and adapted to another with the slices of two patients, by fine-tuning
everything and by mixed batches (MMTL), as `claims/mixed_batches.toml` does it. Its features are looked at on the way.
What is there is kept, so a repeated call continues.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from PIL import Image

import medgraft as mg
from medgraft.data.task import Task
from medgraft.engine.run import Run
from medgraft.evidence import Evidence
from medgraft.phantoms import load_phantom

mpl.use("Agg")
from matplotlib import pyplot as plt

PAGE, PICTURE = Path("docs/few_labels.md"), Path("docs/images/features_over_training.png")
SITES, PATIENTS, SEEDS, MOMENTS = ("reference", "low_field"), 2, (0, 1, 2), (0, 10, 30, 60)
SETTINGS = {
    "augmentation": "none",
    "loss": {"name": "binary_cross_entropy"},
    "schedule": {
        "epochs": 60, "steps_per_epoch": 5, "batch_size": 16, "optimizer": "adam", "weight_decay": 0.0, "lr": 1e-3,
        "shape": "step", "milestones": [0.75],
    },
}  # fmt: skip
METHODS = {"full fine-tuning": "fine_tune", "MMTL": "mmtl"}
COLOURS = {"source": ("#3b6fb6", "o"), "target train": ("#2e9e5b", "s"), "target test": ("#d1495b", "^")}


def measure(folder: Path) -> Evidence:
    """Features of both methods at all moments, for every seed."""
    cohort = load_phantom("mr_brain", subjects=30, slices=16, sites=SITES, task="brain")
    source, target = (cohort.at(site) for site in SITES)
    whole = Evidence.empty()
    for seed in SEEDS:
        start = folder / "sources" / str(seed)
        mg.adapt(
            "random/unet_width8", Task(target=source), {"method": "fine_tune", "settings": SETTINGS},
            Run(start, seed=seed, select="last", progress=False),
        )  # fmt: skip
        task = Task(source=source, target=target.few(PATIENTS, "patient", seed))
        for name, method in METHODS.items():
            whole += mg.follow_features(
                start, task, {"method": method, "settings": SETTINGS},
                Run(folder / method / str(seed), seed=seed, select="last", progress=False), MOMENTS, subject=name,
            )  # fmt: skip
    return whole


def draw(points: pd.DataFrame) -> None:
    """The first seed: a row per method, a column per moment."""
    figure, axes = plt.subplots(len(METHODS), len(MOMENTS), figsize=(8, 4.4), layout="constrained")
    for number, (row, name) in enumerate(zip(axes, METHODS)):
        own = points[(points["subject"] == name) & (points["seed"] == SEEDS[0])]
        limits = [(own[side].min() - 0.03, own[side].max() + 0.03) for side in ("x", "y")]
        for axis, epoch in zip(row, MOMENTS):
            now = own[own["epoch"] == epoch]
            for side, (colour, marker) in COLOURS.items():
                there = now[now["side"] == side]
                axis.scatter(
                    there["x"], there["y"], s=7, color=colour, marker=marker, linewidths=0, label=side
                )
            axis.set(xticks=[], yticks=[], xlim=limits[0], ylim=limits[1])
            if number == 0:
                axis.set_title(f"{epoch} epochs", fontsize=9)
        row[0].set_ylabel(name)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(PICTURE, dpi=90)
    Image.open(PICTURE).convert("RGB").quantize(64).save(PICTURE, optimize=True)


def write(separations: pd.DataFrame) -> str:
    """A line per method and pair of sides: mean over seeds, lowest and highest seed."""
    lines = [
        f"| method | told apart | {' | '.join(f'{epoch} epochs' for epoch in MOMENTS)} |",
        "|---" * (2 + len(MOMENTS)) + "|",
    ]
    for (name, pair), own in separations.groupby(["subject", "pair"], sort=False):
        seeds = own.groupby("epoch")["balanced_accuracy"]
        cells = [f"{seeds.mean()[at]:.2f} ({seeds.min()[at]:.2f}-{seeds.max()[at]:.2f})" for at in MOMENTS]
        lines.append(f"| {name} | {pair} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, draw, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where trainings are kept")
    found = measure(parser.parse_args().folder)
    draw(found.tables["features_over_training"])
    told = write(found.tables["feature_separation"])
    begin, end = "<!-- measured: features over training -->\n", "<!-- end -->"
    page = re.sub(f"(?<={begin}).*?(?={end})", lambda _: told + "\n", PAGE.read_text("utf-8"), flags=re.S)
    PAGE.write_text(page, "utf-8")
    print(told)


if __name__ == "__main__":
    main()
