"""LogME against one eigendecomposition and against the published recipe compiled by numba; and its memory.

Run: python benchmarks/log_me.py [--rounds 9] [--images 2000] [--columns 512] [--classes 10]
     python benchmarks/log_me.py --memory [--images 100000] [--columns 2048]
The three run in turn in one process, one thread; medians, and medians of the ratios of one round, are printed (aims: at
most 1.3 eigendecompositions; at least 1.8 times as fast as the recipe). Needs `pip install numba`, which the library
does not. --memory prints by how much the process grew over the features it was given (aim: less than another copy).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from medgraft.ranking.scores.gram import gram
from medgraft.ranking.scores.log_me import log_me


@numba.njit  # type: ignore[untyped-decorator]
def recipe(features: NDArray[np.float64], labels: NDArray[np.int64], classes: int) -> float:
    """The published fixed-point form for n > D, class by class: left singular vectors by way of F'F, eleven rounds."""
    images, columns = features.shape
    _, squares, right = np.linalg.svd(features.T @ features)
    singular = np.sqrt(squares)
    left = (features @ right.T) / singular
    squares = singular**2
    total = 0.0
    for label in range(classes):
        indicator = (labels == label).astype(np.float64)
        shares = (left.T @ indicator) ** 2
        rest = (indicator**2).sum() - shares.sum()
        alpha, beta, evidence = 1.0, 1.0, 0.0
        for _ in range(11):
            ratio = alpha / beta
            explained = (squares / (squares + ratio)).sum()
            size = (squares * shares / (ratio + squares) ** 2).sum()
            misfit = (shares / (1 + squares / ratio) ** 2).sum() + rest
            alpha = explained / (size + 1e-5)
            beta = (images - explained) / (misfit + 1e-5)
            evidence = columns / 2 * np.log(alpha) + images / 2 * np.log(beta)
            evidence -= np.log(alpha + beta * squares).sum() / 2 + beta / 2 * misfit + alpha / 2 * size
            if abs(alpha / beta - ratio) / ratio <= 1e-3:
                break
        total += evidence / images - np.log(2 * np.pi) / 2
    return total / classes


def make_features(images: int, columns: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features after a ReLU, in single precision, and labels that they know something about."""
    rng = np.random.default_rng(0)
    labels = np.arange(images) % classes
    features = rng.standard_normal((images, columns), dtype=np.float32)
    centres = rng.standard_normal((classes, columns), dtype=np.float32) / 2
    for label in range(classes):
        features[label::classes] += centres[label]
    return np.maximum(features, 0, out=features), labels


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def race(images: int, columns: int, classes: int, rounds: int) -> None:
    features, labels = make_features(images, columns, classes)
    products = gram(features)
    wide = features.astype(np.float64)
    works: dict[str, Callable[[], object]] = {
        "one eigendecomposition": lambda: np.linalg.eigh(products),
        "LogME, exact": lambda: log_me(features, labels),
        "the published recipe": lambda: recipe(wide, labels, classes),
    }
    difference = abs(log_me(features, labels) - recipe(wide, labels, classes))  # compiles it, too
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
    for name, taken in times.items():
        print(f"{name:24} {1000 * statistics.median(taken):7.1f} ms  (best {1000 * min(taken):.1f})")
    eigen, ours, theirs = times.values()
    print(f"LogME / eigendecomposition {statistics.median(a / b for a, b in zip(ours, eigen)):.2f}")
    print(f"recipe / LogME             {statistics.median(a / b for a, b in zip(theirs, ours)):.2f}")
    print(f"their scores differ by     {difference:.1e}")


def measure_memory(images: int, columns: int, classes: int) -> None:
    log_me(*make_features(200, 64, classes))  # what libraries take at their first use is not the features'
    features, labels = make_features(images, columns, classes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = seconds(lambda: log_me(features, labels))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"features {features.nbytes / 2**20:.0f} MiB; peak grew by {grown:.0f} MiB in {taken:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int)
    parser.add_argument("--columns", type=int)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    images = given.images or (100_000 if given.memory else 2000)
    columns = given.columns or (2048 if given.memory else 512)
    if given.memory:
        measure_memory(images, columns, given.classes)
        return
    with threadpool_limits(1):
        race(images, columns, given.classes, given.rounds)


if __name__ == "__main__":
    main()
