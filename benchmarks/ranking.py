"""What a ranking costs beside the forward passes it rests on.

Run: python benchmarks/ranking.py [--sources 12] [--images 1000] [--side 224] [--by log_me ...] [--resamples 50]
Sources are ImageNet's efficientnet_lite0 with other weights in its last block each, so that no pass is read from a
cache; images are H&E crops of the nest (there are 1102). Processor time of one thread; printed are passes, each score,
intervals, and the whole over the passes (aim: at most 1.1).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch

from medgraft.api.ranking import find_scorers
from medgraft.data.samples import load_samples
from medgraft.models.model import Model
from medgraft.models.sources import open_source
from medgraft.ranking.material import Material, gather_material
from medgraft.ranking.rank import rank_sources


def make_source(number: int, side: int) -> Model:
    """ImageNet weights, disturbed a little in a way of its own."""
    model = open_source("packaged/efficientnet_lite0", size=(side, side))
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for name in model.blocks()["stage7"]:
            weight = model.get_parameter(name)
            weight += (
                0.01 * weight.std() * torch.randn(weight.shape, generator=generator) if weight.ndim > 1 else 0
            )
    return model


def main() -> None:
    """Rank, and tell where the time went."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sources", type=int, default=12)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--resamples", type=int, default=50)
    parser.add_argument("--by", nargs="*", default=())
    given = parser.parse_args()
    torch.set_num_threads(1)
    cohort = load_samples("nuclei").at("nest").take(range(given.images))
    passes = [0.0]

    def look(number: int) -> Material:
        started = time.process_time()
        found = gather_material(make_source(number, given.side), cohort)
        passes[0] += time.process_time() - started
        return found

    looks: dict[str, Callable[[], Material]] = {
        f"source {number}": partial(look, number) for number in range(given.sources)
    }
    scorers = find_scorers(given.by, "classify")
    rank_sources(
        {"a": looks["source 0"], "b": looks["source 1"]}, scorers[:1], cohort.units, resamples=0
    )  # imports
    for resamples in dict.fromkeys((0, given.resamples)):
        passes[0] = 0.0
        started = time.process_time()
        ranking = rank_sources(looks, scorers, cohort.units, resamples=resamples)
        total = time.process_time() - started
        print(
            f"{given.sources} sources, {given.images} images, {given.side} px, {resamples} resamples of patients"
        )
        print(f"  forward passes {passes[0]:8.1f} s")
        for name, seconds in ranking.scores.groupby("score", sort=False)["seconds"].sum().items():
            print(f"  {name:24} {seconds:8.1f} s (wall)")
        print(f"  whole          {total:8.1f} s, {total / passes[0]:.3f} of the passes")


if __name__ == "__main__":
    main()
