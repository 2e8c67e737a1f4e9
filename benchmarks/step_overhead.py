"""Time of a training step in our loop against a bare PyTorch loop over the same model and batches.

Run: python benchmarks/step_overhead.py [--rounds 7] [--steps 20] [--size 96]
The two loops run in turn in one process; the median of the ratios of neighbouring rounds is printed (aim: <= 1.05).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from medgraft.engine.loop import fit
from medgraft.engine.objective import Objective
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.models.model import Model
from medgraft.models.sources import open_source
from medgraft.types import Loss, Progress, Step


class FixedBatches(Objective):
    """The same batch again and again, so that only the loop is timed."""

    def __init__(self, model: Model, images: Tensor, truth: Tensor, steps: int) -> None:
        super().__init__(model)
        self.images, self.truth, self.steps = images, truth, steps

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        return (Step({"images": self.images, "truth": self.truth}) for _ in range(self.steps))

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        return Loss(cross_entropy(self.model(step.tensors["images"]), step.tensors["truth"]))


def time_ours(model: Model, images: Tensor, truth: Tensor, steps: int) -> float:
    schedule = Schedule(epochs=2, optimizer="adamw", shape="constant")
    history = fit(FixedBatches(model, images, truth, steps), Run(device="cpu", progress=False), schedule)
    return float(history.rows[-1]["seconds"])  # the second epoch: set-up is over


def time_bare(model: Model, images: Tensor, truth: Tensor, steps: int) -> float:
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    model.train()
    for timed in (False, True):
        started = time.monotonic()
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss = cross_entropy(model(images), truth)
            loss.backward()
            optimizer.step()
        if timed:
            seconds = time.monotonic() - started
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    model = open_source("packaged/efficientnet_lite0")
    images = torch.randn(arguments.batch, 3, arguments.size, arguments.size)
    truth = torch.randint(0, 1000, (arguments.batch,))
    ratios, ours_ms, bare_ms = [], [], []
    for _ in range(arguments.rounds):
        ours = time_ours(model, images, truth, arguments.steps) / arguments.steps
        bare = time_bare(model, images, truth, arguments.steps) / arguments.steps
        ratios.append(ours / bare)
        ours_ms.append(1000 * ours)
        bare_ms.append(1000 * bare)
        print(f"ours {1000 * ours:7.1f} ms   bare {1000 * bare:7.1f} ms   ratio {ratios[-1]:.3f}")
    print(
        f"median: ours {statistics.median(ours_ms):.1f} ms, bare {statistics.median(bare_ms):.1f} ms, "
        f"ratio {statistics.median(ratios):.3f} (min {min(ratios):.3f}, max {max(ratios):.3f}), "
        f"{torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
