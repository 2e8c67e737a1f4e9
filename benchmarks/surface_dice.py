"""Time of our surface Dice against MONAI's, on the same two masks, voxel and sub-voxel definition.

Run: python benchmarks/surface_dice.py [--rounds 7] [--size 128] [--tolerance 1 3]
Both run in turn in one process on one thread; the median of the ratios of neighbouring rounds is printed (aim: >= 4
at 128^3 and 1 mm). The masks are two bumpy balls of about 20 000 border voxels each at the standard size.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from monai.metrics import compute_surface_dice
from scipy.ndimage import gaussian_filter

from medgraft.metrics.surface import surface_dice


def make_ball(size: int, seed: int) -> np.ndarray:
    """A ball of 0.7 times the image's width, its surface bent by smooth noise and its centre moved by `seed` voxels."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(size,) * 3), size / 21)
    away = np.linalg.norm(np.stack(np.indices((size,) * 3), axis=-1) - size / 2 - seed, axis=-1)
    return np.asarray(away + 2 * noise / noise.std() < 0.35 * size)


def time_call(call: Callable[[], float]) -> tuple[float, float]:
    started = time.perf_counter()
    value = call()
    return 1000 * (time.perf_counter() - started), value


def race(
    truth: np.ndarray, predicted: np.ndarray, tolerance: float, by: Literal["voxel", "area"], rounds: int
) -> None:
    one, other = (torch.from_numpy(mask)[None, None] for mask in (truth, predicted))

    def ours() -> float:
        return surface_dice(truth, predicted, tolerance, 1.0, by)

    def monai() -> float:
        found = compute_surface_dice(
            other, one, [tolerance], include_background=True, spacing=(1, 1, 1), use_subvoxels=by == "area"
        )
        return float(found)

    ours(), monai()  # tables and imports
    times = []
    for _ in range(rounds):
        (our_ms, our_value), (monai_ms, monai_value) = time_call(ours), time_call(monai)
        assert abs(our_value - monai_value) < 1e-5, (our_value, monai_value)
        times.append((our_ms, monai_ms, monai_ms / our_ms))
    our_ms, monai_ms, ratio = (statistics.median(column) for column in zip(*times))
    ratios = [row[2] for row in times]
    print(
        f"{by:5s} {tolerance:g} mm: ours {our_ms:6.1f} ms, MONAI {monai_ms:6.1f} ms, "
        f"{ratio:.1f} times as fast (min {min(ratios):.1f}, max {max(ratios):.1f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--tolerance", type=float, nargs="+", default=[1.0, 3.0])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", FutureWarning)  # MONAI warns of its own argument
    torch.set_num_threads(1)
    truth, predicted = make_ball(arguments.size, 0), make_ball(arguments.size, 1)
    for tolerance in arguments.tolerance:
        for by in ("voxel", "area"):
            race(truth, predicted, tolerance, by, arguments.rounds)


if __name__ == "__main__":
    main()
