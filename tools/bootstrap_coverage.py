"""Count how often 95 % bootstrap intervals hold the truth, on simulated patients, and write it into the guide.

    python tools/bootstrap_coverage.py --out docs/statistics.md

Everything here is simulated. Each data set has n patients with one to six images each; images of one patient are alike.
The truth is known from the equations. An interval method is sound where 95 of 100 of its intervals hold it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from medgraft.metrics import weighted
from medgraft.statistics.bootstrap import Interval, IntervalMethod, WeightedMetric, bootstrap_interval
from medgraft.whole_files import write_text

METHODS: tuple[IntervalMethod, ...] = ("percentile", "expanded", "bca")
LEVEL = 0.95
BEGIN, END = "<!-- coverage: written by tools/bootstrap_coverage.py -->", "<!-- end of coverage -->"
IMAGES = 6
"""Largest number of images of a patient."""

Simulation = Callable[[np.random.Generator, np.ndarray], WeightedMetric]
"""A generator and the patient of each image (N,) to the metric of one simulated data set."""


class Case(NamedTuple):
    """What is simulated, and the truth it is compared with."""

    name: str
    simulate: Simulation
    truth: float


def mean_of(values: np.ndarray) -> WeightedMetric:
    return WeightedMetric(lambda weights: weights @ values / weights.sum(axis=1), len(values))


def symmetric(random: np.random.Generator, patient: np.ndarray) -> WeightedMetric:
    """Normal between patients and between images of a patient."""
    return mean_of(random.normal(0, 1, patient.max() + 1)[patient] + random.normal(0, 0.7, len(patient)))


def dice_like(random: np.random.Generator, patient: np.ndarray) -> WeightedMetric:
    """Most patients near 0.95, a tail of bad ones: skewness between patients -2."""
    lost = random.gamma(1.0, 0.08, patient.max() + 1)[patient]
    return mean_of(0.95 - lost + random.normal(0, 0.03, len(patient)))


def distance_like(random: np.random.Generator, patient: np.ndarray) -> WeightedMetric:
    """Distances in mm with a long tail: log-normal between patients, skewness 6."""
    own = np.exp(random.normal(0, 1, patient.max() + 1))[patient]
    return mean_of(own * np.exp(random.normal(0, 0.3, len(patient)) - 0.3**2 / 2))


def paired(random: np.random.Generator, patient: np.ndarray) -> WeightedMetric:
    """Two models on the same images, gain 0.02: both find the same patients hard, the gain itself varies a little."""
    hard = random.gamma(1.0, 0.08, patient.max() + 1)[patient]
    gain = 0.02 + random.normal(0, 0.03, patient.max() + 1)[patient]
    noise = random.normal(0, 0.02, (2, len(patient)))
    a, b = 0.95 - hard + gain + noise[0], 0.95 - hard + noise[1]
    both = [mean_of(scores).function for scores in (a, b)]
    return WeightedMetric(lambda weights: both[0](weights) - both[1](weights), len(patient))


def rescued(random: np.random.Generator, patient: np.ndarray) -> WeightedMetric:
    """The same, but the gain comes from a tenth of the patients, whom the other model failed."""
    failed = random.random(patient.max() + 1) < 0.1
    gain = np.where(failed, random.normal(0.5, 0.1, len(failed)), 0.0)[patient]
    return mean_of(gain + random.normal(0, 0.02, len(patient)))


def accuracy(random: np.random.Generator, patient: np.ndarray) -> WeightedMetric:
    """Right or wrong per image; patients differ in how often: beta(4.5, 0.5)."""
    chance = random.beta(4.5, 0.5, patient.max() + 1)[patient]
    return mean_of((random.random(len(patient)) < chance).astype(float))


def ranked(random: np.random.Generator, patient: np.ndarray) -> WeightedMetric:
    """AUROC over images; 40 % of the patients are ill, scores 1.2 standard deviations apart."""
    ill = (random.random(patient.max() + 1) < 0.4)[patient].astype(np.int64)
    own = random.normal(0, 0.8, patient.max() + 1)[patient]
    score = norm.cdf(1.2 * ill + own + random.normal(0, 0.6, len(patient)))
    chances = np.stack([1 - score, score], axis=1)
    return WeightedMetric(lambda weights: weighted.auroc(ill, chances, weights), len(patient))


CASES = [
    Case("mean of a symmetric score", symmetric, 0.0),
    Case("mean Dice-like score (skewness -2)", dice_like, 0.95 - 0.08),
    Case("mean distance (skewness 6)", distance_like, float(np.exp(0.5))),
    Case("gain of one model over another, same images", paired, 0.02),
    Case("the same, all gain from one patient in ten", rescued, 0.05),
    Case("accuracy of 90 %", accuracy, 0.9),
    Case("AUROC of 0.80", ranked, float(norm.cdf(1.2 / np.sqrt(2)))),
]


class Count(NamedTuple):
    """Of the data sets with an interval, the shares that held the truth, lay above it and lay below it."""

    held: float
    above: float
    below: float
    fallback: float
    """Share that got a percentile interval instead of BCa."""
    undefined: float
    """Share of all data sets without any interval: no ill patient among them."""


def count(case: Case, method: IntervalMethod, patients: int, sets: int, repeats: int) -> Count:
    """Simulate so many data sets, the same for every method."""
    found: list[Interval] = []
    for index in range(sets):
        random = np.random.default_rng([index, patients])
        patient = np.repeat(np.arange(patients), random.integers(1, IMAGES + 1, patients))
        metric = case.simulate(random, patient)
        found.append(bootstrap_interval(metric, patient, repeats, LEVEL, seed=index, method=method))
    defined = [one for one in found if not np.isnan(one.low)]
    low, high = np.array([[one.low, one.high] for one in defined]).T
    above, below = float((low > case.truth).mean()), float((high < case.truth).mean())
    held = float(((low <= case.truth) & (case.truth <= high)).mean())
    fallback = float(np.mean([one.reason is not None for one in defined]))
    return Count(held, above, below, fallback, 1 - len(defined) / sets)


def verdict(count: Count) -> str:
    """The coverage, and whether it lies outside 93 to 97 %."""
    return f"{count.held:.1%}{'' if 0.93 <= count.held <= 0.97 else ' (outside)'}"


def table(sizes: list[int], sets: int, repeats: int) -> str:
    """One line per case and number of patients, as Markdown."""
    lines = [
        "| simulated | patients | percentile | too high / too low | expanded | BCa | too high / too low |",
        "|---|---|---|---|---|---|---|",
    ]
    for patients in sizes:
        for case in CASES:
            plain, expanded, bca = (count(case, method, patients, sets, repeats) for method in METHODS)
            fell = f" ({bca.fallback:.1%} fell back)" if bca.fallback else ""
            name = case.name + (f" ({plain.undefined:.1%} undefined)" if plain.undefined else "")
            misses = [f"{one.above:.1%} / {one.below:.1%}" for one in (plain, bca)]
            lines.append(
                f"| {name} | {patients} | {verdict(plain)} | {misses[0]} | {verdict(expanded)} "
                f"| {verdict(bca)}{fell} | {misses[1]} |"
            )
            print(lines[-1], flush=True)
    return "\n".join(lines)


def around(guide: Path) -> tuple[str, str]:
    """What stands before and after the table in the guide."""
    before, rest = guide.read_text(encoding="utf-8").split(BEGIN)
    return before, rest.split(END)[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="Markdown with the two marks around the old table"
    )
    parser.add_argument("--sets", type=int, default=2000, help="simulated data sets of each case")
    parser.add_argument("--repeats", type=int, default=1000, help="resamples of each")
    parser.add_argument("--patients", type=int, nargs="+", default=[40, 10])
    arguments = parser.parse_args()
    around(arguments.out)  # before minutes are spent, not after
    started = time.process_time()
    lines = table(arguments.patients, arguments.sets, arguments.repeats)
    minutes = (time.process_time() - started) / 60
    error = np.sqrt(0.95 * 0.05 / arguments.sets)
    said = (
        f"{arguments.sets} simulated data sets per line, {arguments.repeats} resamples each, level {LEVEL:.0%}; chance "
        f"moves a coverage by about {error:.1%} (one standard error). "
        f"Judged before rounding. Took {minutes:.0f} minutes of processor time."
    )
    before, after = around(arguments.out)
    write_text(arguments.out, f"{before}{BEGIN}\n{said}\n\n{lines}\n{END}{after}")


if __name__ == "__main__":
    main()
