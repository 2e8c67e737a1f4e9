"""The colours of the source's laboratory for tissue of another, at the moment it is predicted."""

from __future__ import annotations

import copy
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd
import torch
from pydantic import Field as Setting
from pydantic import model_validator
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.loading import check_levels
from medgraft.engine.method import MethodSettings, Needs
from medgraft.engine.patches import sampling_chances
from medgraft.engine.run import Run
from medgraft.engine.stain_normalised import (
    PIXELS,
    TILE_BY_TILE,
    Per,
    StainNormalised,
    check_colours,
    in_grey,
    sample_pixels,
    to_unit,
)
from medgraft.engine.stain_normalisers import FittedNormaliser
from medgraft.errors import DataError, ModelError
from medgraft.images.reinhard import LabStatistics, Reinhard
from medgraft.images.stain import Macenko, Stains, Vahadane
from medgraft.models.model import Model
from medgraft.types import Kind, Preparation


class NormaliseStain(MethodSettings):
    """Show the source model tissue in the colours of its own laboratory; nothing is trained, no target image is needed.

    A normaliser is fitted to source tiles and carried by the model, which changes what it predicts. Tiles of one slide
    or region must have one name in the manifest's column `patient`: their colours are found together.

    >>> NormaliseStain().needs.source == {"images"}, NormaliseStain().needs.target == frozenset()
    (True, True)

    Source: Macenko et al. 2009; Vahadane et al. 2016; Reinhard et al. 2001; Roy et al. 2021 (modified). Differs: the
        reference is many tiles instead of one; the tiles of a region are fitted together.
    """

    name: ClassVar[str] = "normalise_stain"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify", "multilabel", "segment"})

    normaliser: Literal["reinhard", "reinhard_modified", "macenko", "vahadane"] = "reinhard"
    """reinhard: mean and spread of CIELAB; reinhard_modified: only shifts a and b; macenko: the two stains by extreme
    directions of optical density; vahadane: by a sparse non-negative dictionary."""
    white: float | None = Setting(default=None, gt=0, le=256)
    """Of macenko: the level of 256 of light that passed no tissue; None is 240, as published. Raise it where the glass
    is brighter, or pale eosin counts as background."""
    per: Per = "region"
    """region: all tiles of a patient (a slide or region) are changed alike; tile: each by its own colours, which
    differ by what it shows: harmful where tiles are small."""
    images: int = Setting(default=100, ge=1)
    """Source tiles that the reference is fitted to, at most; drawn, every patient being equally likely."""

    @model_validator(mode="after")
    def _white_is_of_macenko(self) -> Self:
        if self.white is not None and self.normaliser != "macenko":
            raise ValueError(
                f"white is a setting of the normaliser macenko, and this one is {self.normaliser}"
            )
        return self

    @property
    def needs(self) -> Needs:
        """Source images; patients make the reference even."""
        return Needs.of(source=("images",), optional_source=("patients",))

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """The model in a wrapper that carries the normaliser; see `StainNormalised`.

        Raises:
            ModelError: the model is of another kind than the task, sees no whole colour images, or normalises already.
            DataError: the source's images hold too little tissue, are grey, or their colours are not absolute.
        """
        assert task.source is not None
        check_source_model(model, task)
        preparation = model.spec.preparation
        if self.per == "tile":
            run.warn(f"per='tile' {TILE_BY_TILE}")
        elif "patients" not in task.source.fields:
            run.warn(
                "the source names no patients; where images to be predicted name none either, their colours are found "
                f"tile by tile, which {TILE_BY_TILE}"
            )
        by_name: dict[str, Macenko | Vahadane | Reinhard] = {
            "reinhard": Reinhard(),
            "reinhard_modified": Reinhard(modified=True),
            "macenko": Macenko() if self.white is None else Macenko(white=self.white),
            "vahadane": Vahadane(seed=run.seed),
        }
        method = by_name[self.normaliser]
        reference = method.fit(drawn_colours(task.source, preparation, run, self.images))
        run.record("stain_reference", _table(reference))
        return StainNormalised(
            model.spec,
            network=copy.deepcopy(model),
            normaliser=FittedNormaliser(method, reference),
            per=self.per,
            seed=run.seed,
        )


def drawn_colours(source: Cohort, preparation: Preparation, run: Run, images: int) -> Tensor:
    """Colours of tissue, from some pixels of source tiles that are drawn, every patient being equally likely.

    Args:
        source: its tiles may differ in size.
        preparation: that lets colours be told, see `check_colours`.
        run: seeds the draw.
        images: tiles to draw, at most.

    Returns: (1, 3, 1, N) in [0, 1].

    Raises:
        DataError: the tiles drawn are grey, or hold numbers that are scaled image by image.
    """
    chances = sampling_chances(source.patients, np.ones(len(source), bool), 0.0)
    rows = torch.multinomial(
        torch.from_numpy(chances), min(images, len(source)), generator=run.generator("reference")
    ).tolist()
    loader = run.loader(source.only({"images"}), preparation)
    taken = []
    for row in rows:
        check_levels("Stain normalisation", source, row, preparation)
        tile, chance = loader([row]).images, run.generator("pixels")
        taken.append(sample_pixels(tile, max(1, PIXELS // len(rows)), chance))
    colours = to_unit(torch.cat(taken, dim=3), preparation)
    if in_grey(colours):
        raise DataError(
            "Stain normalisation", "stained tissue in colour",
            f"the {len(rows)} source images looked at are grey ({source.name})", "Give images as they were scanned.",
        )  # fmt: skip
    return colours


def check_source_model(model: Model, task: Task) -> None:
    """Refuse a model to which colours of tiles cannot be given back.

    Raises:
        ModelError: it is of another kind than the task, or sees no whole colour images.
    """
    if model.spec.kind != task.kind:
        raise ModelError(
            "Stain normalisation", f"a source model for the task's kind, '{task.kind}'",
            f"this one's kind is '{model.spec.kind}'", "Start from a model that solves this task already.",
        )  # fmt: skip
    check_colours(model.spec.preparation)


def _table(reference: Stains | LabStatistics) -> pd.DataFrame:
    """The reference's colours, a line per stain or channel."""
    if isinstance(reference, LabStatistics):
        columns = {name: tensor.tolist() for name, tensor in reference._asdict().items()}
        return pd.DataFrame({"channel": ["L", "a", "b"], **columns})
    vectors = dict(zip(("red", "green", "blue"), reference.vectors.tolist()))
    return pd.DataFrame(
        {"stain": ["haematoxylin", "eosin"], **vectors, "strength": reference.strengths.tolist()}
    )
