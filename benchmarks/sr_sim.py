"""SR-SIM against piq: single pairs, and the choice of donors for the slices of a scan.

Run: python benchmarks/sr_sim.py [--rounds 7] [--donors 50]
All run in turn in one process on one thread; scores must be equal, but for single precision, and the median of the
ratios of neighbouring rounds is printed (aim: >= 5 times as fast as piq, which is raced where it is installed: pip
install piq). Pairs are 3 x 256 x 256. The choice is that of 2.5D: one slice of 120 x 120 against five slices of each of
so many donor scans, whose maps are computed beforehand, as a bank of donors does. piq scores one pair per call: in a
batch its saliency mixes images.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from medgraft.images.sr_sim import sr_sim, sr_sim_maps, sr_sim_of_all_pairs

Runners = dict[str, Callable[[], Tensor]]


def piq_scores(images: Tensor, others: Tensor) -> Tensor:
    import piq

    return torch.stack([piq.srsim(one[None], other[None]) for one, other in zip(images, others)])


def pair_runners() -> Runners:
    one, other = make_images(2, 3, 256).split(1)
    runners: Runners = {"ours": lambda: sr_sim(sr_sim_maps(one), sr_sim_maps(other))}
    if importlib.util.find_spec("piq"):
        runners["piq"] = lambda: piq_scores(one, other)
    return runners


def choice_runners(donors: int) -> Runners:
    images = make_images(5 * donors + 1, 1, 120)
    one, others = images[:1], images[1:]
    maps = sr_sim_maps(others).enlarged()
    runners: Runners = {"ours": lambda: sr_sim_of_all_pairs(sr_sim_maps(one), maps)[0]}
    if importlib.util.find_spec("piq"):
        runners["piq"] = lambda: piq_scores(one.expand_as(others), others)
    return runners


def make_images(count: int, channels: int, size: int) -> Tensor:
    """Smooth shapes and noise, in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, channels, 8, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")
    return 0.8 * smooth + 0.2 * torch.rand(smooth.shape, generator=generator)


def race(title: str, runners: Runners, rounds: int) -> None:
    results = [work() for work in runners.values()]
    times: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, work in runners.items():
            started = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - started)
    print(f"{title}; scores differ by {max(float((r - results[0]).abs().max()) for r in results):.1e}")
    for name, taken in times.items():
        ratio = statistics.median(a / b for a, b in zip(taken, times["ours"]))
        pairs = results[0].numel() / statistics.median(taken)
        print(f"  {name:6} {pairs:8.0f} pairs/s   {ratio:6.2f} times ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--donors", type=int, default=50)
    given = parser.parse_args()
    torch.set_num_threads(1)
    race("one pair of 3 x 256 x 256", pair_runners(), given.rounds)
    race(
        f"one slice of 120 x 120, {5 * given.donors} donor slices", choice_runners(given.donors), given.rounds
    )


if __name__ == "__main__":
    main()
