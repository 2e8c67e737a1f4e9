"""Time of our surface metrics against MONAI's and DeepMind's surface-distance, on the same two masks.

Run: python benchmarks/surface_dice.py [--rounds 7] [--size 128] [--tolerance 1 3]
All run in turn in one process on one thread; values must be equal, and the median of the ratios of neighbouring
rounds is printed (aim for surface Dice: >= 4 times as fast as the best peer at 128^3). The masks are two bumpy balls
of about 20 000 border voxels each at the standard size. surface-distance is raced where it is installed
(pip install surface-distance-based-measures); it knows the definition by area only and fails on empty masks.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from scipy.ndimage import gaussian_filter

from medgraft.metrics.borders import Elements
from medgraft.metrics.surface import average_surface_distances, hausdorff_distance, surface_dice

SPACINGS = {"isotropic": (1.0, 1.0, 1.0), "anisotropic": (3.0, 1.0, 0.7)}
Values = tuple[float, ...]


class Contest(NamedTuple):
    """One metric, ours first."""

    name: str
    runners: dict[str, Callable[[], Values]]


def make_ball(size: int, seed: int) -> np.ndarray:
    """A ball of 0.7 times the image's width, its surface bent by smooth noise and its centre moved by `seed` voxels."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(size,) * 3), size / 21)
    away = np.linalg.norm(np.stack(np.indices((size,) * 3), axis=-1) - size / 2 - seed, axis=-1)
    return np.asarray(away + 2 * noise / noise.std() < 0.35 * size)


def contests(truth: np.ndarray, predicted: np.ndarray, tolerances: list[float]) -> Iterator[Contest]:
    """Surface Dice by both definitions, average distances and HD95, isotropic and not."""
    one, other = (torch.from_numpy(mask)[None, None] for mask in (truth, predicted))
    for kind, spacing in SPACINGS.items():
        for tolerance in tolerances:
            for by in ("voxel", "area"):
                runners = dice_runners(truth, predicted, one, other, tolerance, spacing, by)
                yield Contest(f"surface Dice by {by}, {tolerance:g} mm, {kind}", runners)
        yield from distance_contests(truth, predicted, one, other, spacing, kind)


def dice_runners(
    truth: np.ndarray,
    predicted: np.ndarray,
    one: torch.Tensor,
    other: torch.Tensor,
    tolerance: float,
    spacing: Values,
    by: Elements,
) -> dict[str, Callable[[], Values]]:
    def ours() -> Values:
        return (surface_dice(truth, predicted, tolerance, spacing, by),)

    def monai() -> Values:
        found = compute_surface_dice(
            other, one, [tolerance], include_background=True, spacing=spacing, use_subvoxels=by == "area"
        )
        return (float(found),)

    runners: dict[str, Callable[[], Values]] = {"ours": ours, "MONAI": monai}
    if by == "area" and has_surface_distance():
        import surface_distance

        def theirs() -> Values:
            found = surface_distance.compute_surface_distances(truth, predicted, spacing)
            return (surface_distance.compute_surface_dice_at_tolerance(found, tolerance),)

        runners["surface-distance"] = theirs
    return runners


def distance_contests(
    truth: np.ndarray,
    predicted: np.ndarray,
    one: torch.Tensor,
    other: torch.Tensor,
    spacing: Values,
    kind: str,
) -> Iterator[Contest]:
    """Both directions of ASD, and HD95, by voxel as MONAI and by area as surface-distance."""
    runners: dict[str, Callable[[], Values]] = {
        "ours": lambda: average_surface_distances(truth, predicted, spacing, "voxel"),
        "MONAI": lambda: tuple(
            float(compute_average_surface_distance(*pair, include_background=True, spacing=spacing))
            for pair in ((one, other), (other, one))
        ),
    }
    yield Contest(f"ASD both ways by voxel, {kind}", runners)
    runners = {
        "ours": lambda: (hausdorff_distance(truth, predicted, spacing, "voxel"),),
        "MONAI": lambda: (
            float(
                compute_hausdorff_distance(
                    other, one, include_background=True, spacing=spacing, percentile=95
                )
            ),
        ),
    }
    yield Contest(f"HD95 by voxel, {kind}", runners)
    if not has_surface_distance():
        return
    import surface_distance as peer

    def distances() -> dict[str, np.ndarray]:
        return peer.compute_surface_distances(truth, predicted, spacing)

    yield Contest(
        f"ASD both ways by area, {kind}",
        {
            "ours": lambda: average_surface_distances(truth, predicted, spacing),
            "surface-distance": lambda: tuple(peer.compute_average_surface_distance(distances())),
        },
    )
    yield Contest(
        f"HD95 by area, {kind}",
        {
            "ours": lambda: (hausdorff_distance(truth, predicted, spacing),),
            "surface-distance": lambda: (peer.compute_robust_hausdorff(distances(), 95),),
        },
    )


def has_surface_distance() -> bool:
    return importlib.util.find_spec("surface_distance") is not None


def time_call(call: Callable[[], Values]) -> tuple[float, Values]:
    started = time.perf_counter()
    value = call()
    return 1000 * (time.perf_counter() - started), value


def race(contest: Contest, rounds: int) -> float:
    """Run all in turn; print and return how many times as fast as the best peer we are."""
    for runner in contest.runners.values():
        runner()  # tables and imports
    times: dict[str, list[float]] = {name: [] for name in contest.runners}
    for _ in range(rounds):
        values = {}
        for name, runner in contest.runners.items():
            took, values[name] = time_call(runner)
            times[name].append(took)
        for value in values.values():
            assert np.allclose(values["ours"], value, rtol=1e-5, atol=1e-5), (contest.name, values)
    ratios = [
        min(times[name][at] for name in times if name != "ours") / times["ours"][at] for at in range(rounds)
    ]
    taken = ", ".join(f"{name} {statistics.median(took):.1f} ms" for name, took in times.items())
    print(
        f"{contest.name:45s} {statistics.median(ratios):5.1f} times as fast as the best peer "
        f"({min(ratios):.1f} to {max(ratios):.1f}); {taken}",
        flush=True,
    )
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--tolerance", type=float, nargs="+", default=[1.0, 3.0])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", FutureWarning)  # MONAI warns of its own argument
    torch.set_num_threads(1)
    if not has_surface_distance():
        print("surface-distance is not installed and not raced")
    truth, predicted = make_ball(arguments.size, 0), make_ball(arguments.size, 1)
    ratios = {
        contest.name: race(contest, arguments.rounds)
        for contest in contests(truth, predicted, arguments.tolerance)
    }
    dice = {name: ratio for name, ratio in ratios.items() if name.startswith("surface Dice")}
    print(
        f"surface Dice: at least {min(dice.values()):.1f} times as fast, in '{min(dice, key=dice.__getitem__)}'"
    )


if __name__ == "__main__":
    main()
