"""Time of a training step of MMTL against fine-tuning with batches of the same size.

Run: python benchmarks/mixed_batch_step.py [--rounds 5] [--epochs 6] [--steps 10] [--side 64] [--width 8] [--batch 16]
Both train the same U-Net on simulated slices, in turn in one process and on one thread. Of every training the fastest
epoch counts: by then all rows have been read and prepared, and another program disturbed it least. Printed are
milliseconds per step and the median ratio of neighbouring rounds (aim: at most 1.05).
"""

from __future__ import annotations

import argparse
import statistics

import torch

import medgraft as mg
from medgraft.data.task import Task
from medgraft.engine.method import Method, adapt
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.methods import MMTL, FineTune
from medgraft.models.model import Model
from medgraft.models.sources import open_source


def seconds(method: Method, model: Model, task: Task, steps: int) -> float:
    """Wall-clock seconds of a step in the fastest epoch."""
    run = Run(device="cpu", progress=False, workers=0, select="last")
    adapt(model, task, method, run)
    history = run.shared.records.tables["history"]
    return float(history["seconds"].iloc[1:].min()) / steps


def main() -> None:
    """Race, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (
        ("rounds", 5),
        ("epochs", 6),
        ("steps", 10),
        ("side", 64),
        ("width", 8),
        ("batch", 16),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cohort = mg.load_phantom(
        "mr_brain",
        subjects=10,
        slices=asked.batch,  # so that the slices of the training patients fill whole batches
        side=asked.side,
        sites=["reference", "low_field"],
    )
    task = Task(source=cohort.at("reference"), target=cohort.at("low_field"))
    model = open_source(f"random/unet_width{asked.width}", kind="segment", classes=cohort.classes, channels=1)
    schedule = Schedule(
        epochs=asked.epochs,
        steps_per_epoch=asked.steps,
        batch_size=asked.batch,
        optimizer="adam",
        shape="constant",
    )
    methods = {
        "fine_tune": FineTune(augmentation=None, schedule=schedule),
        "mmtl": MMTL(augmentation=None, schedule=schedule, min_target=asked.batch // 2),
    }
    spent: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(asked.rounds):
        for name, method in methods.items():
            spent[name].append(1000 * seconds(method, model, task, asked.steps))
    for name, values in spent.items():
        print(
            f"{name:10} {statistics.median(values):7.1f} ms per step ({min(values):.1f} to {max(values):.1f})"
        )
    ratios = [one / other for one, other in zip(spent["mmtl"], spent["fine_tune"])]
    print(f"mmtl / fine_tune: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
