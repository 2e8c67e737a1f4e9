"""The contrast of source scans for images of a site that nobody sampled, at the moment they are predicted."""

from __future__ import annotations

import copy
import math
from itertools import permutations
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field as Setting
from pydantic import field_validator

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.donor_bank import DonorBank
from medgraft.engine.donor_scans import few_scans, make_donor_bank
from medgraft.engine.fourier_adapted import FourierAdapted, Restyling
from medgraft.engine.method import Needs
from medgraft.engine.run import Run
from medgraft.engine.select import Selector
from medgraft.errors import DataError, ModelError, SettingsError
from medgraft.images.fourier import Region, low_frequencies
from medgraft.models.model import Model
from medgraft.types import Field, Kind

BETAS = (0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035)
"""What is tried where beta is searched for, as published."""


class Fourier(Restyling):
    """Show the source model new images in the contrast of source scans; nothing is trained, no target image is needed.

    At prediction the low-frequency amplitude of every slice is swapped with that of several similar source slices, and
    the probabilities of these versions are averaged. The slices of all scans must lie alike and have one size, as
    after registration to a template. The adapted model holds the donors' amplitudes and outlines: patient data.

    >>> Fourier().needs.source == {"images"}, Fourier().needs.target == frozenset()
    (True, True)

    Source: Zakazov et al. 2022 (Feather-Light Fourier Domain Adaptation), after Yang & Soatto 2020 (FDA). Differs: the
        network sees the plain inverse transform unless `output` says otherwise; for `averaged` one source model
        serves all pairs of sites, where the authors train one per site; the limits are ours.
    """

    name: ClassVar[str] = "fourier"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify", "multilabel", "segment"})

    beta: float | Literal["averaged", "chosen"] = 0.015
    """Radius of the swapped region as a fraction of the shorter image side, at most 0.5; at 0 or below images stay as
    they are. averaged: the best mean over pairs of labelled source sites, one lending its contrast to the other's
    images, which the source model should not have been trained on. chosen: the best on the labelled validation
    rows that --select names."""
    region: Region = "circle"
    """Of Fourier space: circle, or square with beta as half its side."""
    scans: int = Setting(default=50, ge=1)
    """Donor scans that are kept, at most, drawn from the source; of each site, where beta is averaged over pairs."""

    @field_validator("beta")
    @classmethod
    def _can_be_swapped(cls, beta: float | str) -> float | str:
        if not isinstance(beta, str) and not (math.isfinite(beta) and beta <= 0.5):
            raise ValueError("beta must be at most 0.5, or 0 for images as they are, or averaged or chosen")
        return beta

    @property
    def needs(self) -> Needs:
        """Source images; truth and sites where beta is averaged over them, attributes where slices have positions."""
        source: tuple[Field, ...] = ("images",)
        if self.beta == "averaged":
            source += ("truth", "sites")
        if self.match == "position":
            source += ("attributes",)
        return Needs.of(source=source, optional_source=("patients",))

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """The model in a wrapper that carries the donors; see `FourierAdapted`.

        Raises:
            ModelError: the model is of another kind than the task, or does not see whole slices.
            DataError: no source scans or blank ones, or fewer than two labelled sites to average over.
            ShapeError: donor slices differ in size.
            SettingsError: beta is to be chosen, but there are no labelled validation rows.
        """
        assert task.source is not None
        if model.spec.kind != task.kind:
            raise ModelError(
                "Fourier", f"a source model for the task's kind, '{task.kind}'",
                f"this one's kind is '{model.spec.kind}'", "Start from a model that solves this task already.",
            )  # fmt: skip
        if model.spec.preparation.dimensions != 2:
            raise ModelError(
                "Fourier", "a model of images, or of volumes slice by slice", "this one sees whole volumes",
                "Start from a two-dimensional one.",
            )  # fmt: skip
        beta = self._average(model, task.source, run) if self.beta == "averaged" else self.beta
        adapted = self._with_donors(model, task.source, run)
        if beta == "chosen":
            beta = self._choose(adapted, run)
        adapted = self._around(adapted.network, adapted.bank, float(beta), run)
        _warn(adapted, run)
        return adapted

    def _with_donors(self, model: Model, source: Cohort, run: Run) -> FourierAdapted:
        """A copy of the model with a bank that any beta of the search can be taken from."""
        beta = max(BETAS) if isinstance(self.beta, str) else self.beta if self.beta > 0 else BETAS[0]
        preparation = model.spec.preparation
        few = few_scans(source, preparation, self.scans, run.generator("donor scans"))
        bank = make_donor_bank(few, preparation, beta, self.region, run, positions=self.match == "position")
        return self._around(copy.deepcopy(model), bank, beta, run)

    def _around(self, network: Model, bank: DonorBank, beta: float, run: Run) -> FourierAdapted:
        settings = {name: getattr(self, name) for name in Restyling.model_fields}
        return FourierAdapted(
            network.spec,
            network=network,
            bank=bank,
            beta=beta,
            restyling=Restyling(**settings),
            seed=run.seed,
        )

    def _average(self, model: Model, source: Cohort, run: Run) -> float:
        """The beta that is best on average over ordered pairs of source sites."""
        sites = sorted(set(source.sites.tolist()))
        if len(sites) < 2:
            raise DataError(
                "Averaging over pairs of sites", "two labelled source sites at least",
                f"{source.name} has {', '.join(sites) or 'none'}", "Add a site, or give beta a number.",
            )  # fmt: skip
        chance = run.generator("scans of each site")
        judges = {
            site: Selector(
                "source_validation",
                few_scans(source.at(site), model.spec.preparation, self.scans, chance),
                run.loader,
            )
            for site in sites
        }
        lending = {site: self._with_donors(model, source.at(site), run) for site in sites}
        lines = [
            {"donors": lender, "images": site, "beta": beta, "score": score}
            for lender, site in permutations(sites, 2)
            for beta, score in self._scores(lending[lender], judges[site], run)
        ]
        return _best(lines, run)

    def _choose(self, adapted: FourierAdapted, run: Run) -> float:
        """The beta that does best on the validation rows of the run's rule."""
        if run.selector is None or run.selector.cohort is None:
            raise SettingsError(
                "beta='chosen'", "labelled validation rows", "this task has none, or the rule is 'last'",
                "Mark rows as validation in the manifest's column 'split', or give beta a number.",
            )  # fmt: skip
        found = self._scores(adapted, run.selector, run)
        rule = run.selector.rule
        run.shared.rule = rule
        return _best([{"images": rule, "beta": beta, "score": score} for beta, score in found], run)

    def _scores(self, adapted: FourierAdapted, judge: Selector, run: Run) -> list[tuple[float, float]]:
        adapted.to(run.fabric.device)
        found = []
        for beta in BETAS:
            run.raise_if_stopped()
            adapted.beta = beta
            found.append((beta, judge.score(adapted)))
        adapted.to("cpu")
        return found


def _best(lines: list[dict[str, object]], run: Run) -> float:
    """The beta with the best mean score, the smallest of equals; all scores are recorded."""
    table = pd.DataFrame(lines)
    run.record("betas", table)
    means = table.groupby("beta")["score"].mean()  # without the undefined ones
    if not np.isfinite(means).any():
        raise DataError(
            "The search for beta", "a score on labelled images", "none is defined",
            "Use images that show more than one class, or give beta a number.",
        )  # fmt: skip
    return float(means.index[int(np.nanargmax(means))])


def _warn(adapted: FourierAdapted, run: Run) -> None:
    bank, beta = adapted.bank, adapted.beta
    if len(bank.slices) == 1:
        run.warn("one donor scan lends its contrast to all images: name more of them")
    if len(low_frequencies(bank.size, beta, bank.region)) == 1:
        height, width = bank.size
        run.warn(
            f"with beta {beta:g} and slices of {height} x {width} pixels only the mean of each slice is matched: "
            f"more needs a beta above {1 / min(bank.size):.2g}"
        )
