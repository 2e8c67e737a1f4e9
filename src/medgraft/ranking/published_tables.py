"""Published ground truth: 15 sources and 9 architectures, each fine-tuned at great cost on 11 medical targets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

FOLDER = Path(__file__).parent / "thesis"

SCORES = {
    "LogME": "log_me",
    "PARC": "parc",
    "SFDA": "sfda",
    "NCTI": "ncti",
    "LEEP": "leep",
    "NLEEP": "n_leep",
    "Ours": "adaptability",
}
"""Scores as the tables head their columns, and as they are called here."""
REVERSED = "1-"
"""What the tables put before a score that was turned round."""


class Scenario(NamedTuple):
    """One choice to be made, its outcome on every target, and what seven scores said of it."""

    auc: pd.DataFrame
    """(sources, targets) test AUC after fine-tuning, in [0, 1]; NaN where the source is the target."""
    tau: pd.DataFrame
    """(targets, scores) weighted Kendall tau as printed, two decimals; NaN where a score was the same for all
    sources."""
    printed_ranks: pd.DataFrame
    """(targets, scores) ranks of the scores as printed, 1 is best."""
    printed_mean_ranks: pd.Series
    """Average ranks of the scores as printed, also where they do not follow from the ranks (docs/ranking.md)."""
    reversed_scores: tuple[str, ...]
    """Scores that the authors turned round, because they pointed the wrong way on most targets."""


class Published(NamedTuple):
    """Both experiments."""

    sources: Scenario
    """Which data set to pre-train on: ResNet18, 15 sources."""
    architectures: Scenario
    """Which architecture: nine, all pre-trained on ImageNet."""


def published() -> Published:
    """Open the published results of fine-tuning many sources on many medical targets, to try a ranking score on.

    Returns: tables of 15 sources and of 9 architectures on 11 targets, own copies for the caller. AUC as printed,
        to four decimals; a source that is the target itself was not fine-tuned. "MedMNIST" is another model for
        every target: all of its sets but the target. Of every target the authors used 100 training images per
        class.

    Source: Juodelyte, PhD thesis, tables 6.2 to 6.5; digits as printed.

    >>> truth = published()
    >>> truth.sources.auc.shape, truth.architectures.auc.shape
    ((15, 11), (9, 11))
    >>> truth.sources.auc["OCT"].idxmax(), float(truth.sources.auc.loc["ImageNet", "OCT"])
    ('RadImageNet', 0.9258)
    >>> truth.architectures.reversed_scores
    ('parc', 'ncti', 'leep', 'n_leep', 'adaptability')
    """
    return Published(_read("sources"), _read("architectures"))


def _read(name: str) -> Scenario:
    import pandas as pd

    # Printed in per cent with two decimals: rounding gives the nearest number again after the division.
    auc = (pd.read_csv(FOLDER / f"auc_of_{name}.csv", index_col="Source") / 100).round(4)
    printed = pd.read_csv(FOLDER / f"tau_of_{name}.csv", index_col="Target", dtype=str)
    heads = [str(head) for head in printed]
    turned = tuple(SCORES[head.removeprefix(REVERSED)] for head in heads if head.startswith(REVERSED))
    printed.columns = pd.Index([SCORES[head.removeprefix(REVERSED)] for head in heads])
    cells = printed.drop(index="Avg. rank")
    average = printed.T["Avg. rank"].astype(float)
    parts = {score: cells[score].str.extract(r"^(?P<tau>\S+) \((?P<rank>\d)\)$") for score in cells}
    tau = pd.DataFrame(
        {score: part["tau"].replace("-", "nan").astype(float) for score, part in parts.items()}
    )
    ranks = pd.DataFrame({score: part["rank"].astype(int) for score, part in parts.items()})
    return Scenario(auc, tau, ranks, average, turned)
