"""How laboratories differ in stain, and what models and normalisers make of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from medgraft.api.adaptation import adapted_model
from medgraft.api.evaluation import evaluate
from medgraft.api.feature_drift import choose_over_patients, lay_out
from medgraft.engine.distributed import choose_device
from medgraft.engine.features import extract_features
from medgraft.engine.loading import Loader
from medgraft.engine.predict import in_batches, placed, rows_by_patient
from medgraft.engine.stain_normalised import AT_ONCE, TILE_BY_TILE, StainNormalised
from medgraft.errors import DataError, SettingsError
from medgraft.evaluation.evaluate import versions
from medgraft.evaluation.stain_colours import Laboratory, measure_stains, show_normalisers
from medgraft.evidence import Evidence
from medgraft.metrics.class_agreement import class_agreement
from medgraft.metrics.separation import separation
from medgraft.models.model import Model, evaluation_mode
from medgraft.models.storage import load_model
from medgraft.plugins import activate

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort

WHO = "compare_stains"
PICTURES = "stain_gallery"
Features = dict[str, NDArray[np.float32]]
"""Of the chosen tiles of each site."""


def compare_stains(
    cohort: Cohort,
    models: Mapping[str, Model | str | Path] | None = None,
    *,
    reference: str | None = None,
    images: int = 100,
    repeats: int = 1000,
    seed: int = 0,
    device: str = "cpu",
) -> Evidence:
    """Show how laboratories differ in colour, and how far that reaches into models' features and scores.

    Args:
        cohort: tiles of several sites, in red, green and blue: those that are to be shown, such as one split. Tiles of
            one slide or region have one name in the column `patient`; the same name at several sites is the same
            tissue.
        models: by the names of reports, in the order to be told: before and after. Folders of models or of runs too.
        reference: the site that models were trained at; None takes the cohort's first.
        images: at most so many tiles of each site, spread over patients; scores are of all.
        repeats: bootstrap resamples for intervals of scores.
        seed: which tiles, and of layouts.
        device: "cpu", "cuda" or "auto".

    Returns: the tables "stain_spread" (colours by site), "stain_gallery" (a tile of each site under every normaliser,
        with pictures), and with models "stain_features" (one t-SNE plane for each) and "stain_overlap": for each model
        and other site, in all dimensions,

        - overlap: 2 (1 - balanced accuracy with which nearest neighbours of other patients tell the site from the
          reference), at most 1: 1 where they cannot, 0 where they always can;
        - class_agreement: share of its tiles' nearest neighbours at the reference that are of their class, mean over
          classes (of the reference: among its own); undefined without one label per tile.

        Models of the cohort's kind are also evaluated on its truth, where it has any: by site, as `evaluate` does.
        A model that normalises is shown what its network sees. In the gallery stands also what the decoder of
        Stain-AgLr regenerates, where it lies beside a model.

    Raises:
        DataError: no sites, only one, no such reference; images that are not red, green and blue of 8 or 16 bits.
        SettingsError: no images.
        ModelError: a model and the cohort do not go together.

    Source: Raipuria et al. 2022 (Stain-AgLr), figures 1, 2 and 4. Differs: t-SNE instead of UMAP; numbers beside it.

    >>> import medgraft as mg
    >>> tiles = mg.load_phantom("stain_tiles", sites=["reference", "faded"], subjects=4, slices=2, side=32)
    >>> evidence = mg.compare_stains(tiles, reference="reference")
    >>> evidence.tables["stain_spread"][["site", "tiles"]].values.tolist()
    [['reference', 8], ['faded', 8]]
    """
    activate()
    laboratories, home = _laboratories(cohort, reference, images, seed)
    opened = {name: _open(model) for name, model in (models or {}).items()}
    about: dict[str, Any] = {"cohort": cohort.name, "reference": home, "seed": seed}
    tables = {"stain_spread": measure_stains(laboratories, home)}
    pictures, lines = {}, []
    for look in show_normalisers(laboratories, home, opened, seed=seed):
        name = f"{PICTURES}/{cohort.name}/{home}/{seed}/{look.site}/{look.normaliser}"
        pictures[name] = look.picture
        lines.append(
            {"site": look.site, "normaliser": look.normaliser, "changed": look.changed, "image": name}
        )
    tables[PICTURES] = pd.DataFrame(lines)
    planes, overlaps, scores = [], [], Evidence.empty()
    for name, model in opened.items():
        features = {one.site: _features(model, one, device) for one in laboratories}
        planes.append(_plane(features, laboratories, seed).assign(subject=name))
        overlaps.append(_overlaps(features, laboratories, home, seed).assign(subject=name))
        if "truth" in cohort.fields and model.spec.kind == cohort.kind:
            scores += evaluate(
                model, cohort, subject=name, by=["site"], repeats=repeats, device=device, examples=0
            )
    if planes:
        tables |= {"stain_features": pd.concat(planes), "stain_overlap": pd.concat(overlaps)}
    entry = {
        "what": "compare stains", "cohort": cohort.name, "reference": home, "seed": seed, "images": images,
        "subjects": list(opened), "data": {"notes": {key: note for key, note in cohort.notes.items() if note}},
        "versions": versions(),
    }  # fmt: skip
    alone = f"{cohort.name} names no patients; colours are found tile by tile, which {TILE_BY_TILE}."
    warnings = () if "patients" in cohort.fields else (alone,)
    made = {name: table.reset_index(drop=True).assign(**about) for name, table in tables.items()}
    return Evidence(provenance=(entry,), tables=made, images=pictures, warnings=warnings) + scores


def _laboratories(
    cohort: Cohort, reference: str | None, images: int, seed: int
) -> tuple[list[Laboratory], str]:
    if images < 1:
        raise SettingsError(WHO, "at least one tile of each site", f"it got {images}", "Take 100.")
    sites = list(dict.fromkeys(cohort.sites.tolist()))
    if len(sites) < 2 or "" in sites:
        got = "no row of {0} names one" if sites == [""] else "some rows of {0} name none"
        got = got if "" in sites else f"{{0}} has {f'only {sites[0]!r}' if sites else 'no rows'}"
        raise DataError(
            WHO, "tiles of two or more sites", got.format(cohort.name),
            "Name the laboratory of every tile in the column 'site'.",
        )  # fmt: skip
    home = sites[0] if reference is None else reference
    if home not in sites:
        raise DataError(
            WHO, f"a reference among the cohort's sites ({', '.join(sites)})", f"it got {reference!r}",
            "Correct the name.",
        )  # fmt: skip
    found = []
    for site in [home, *(site for site in sites if site != home)]:
        rows = cohort.at(site)
        found.append(Laboratory(site, rows, choose_over_patients(rows.units, images, seed=seed)))
    return found, home


def _open(model: Model | str | Path) -> Model:
    return model if isinstance(model, Model) else load_model(adapted_model(model))


def _features(model: Model, laboratory: Laboratory, device: str) -> NDArray[np.float32]:
    """(n, D) of the chosen tiles, in their order; of a model that normalises, as its network sees them."""
    rows, chosen = laboratory.rows, laboratory.chosen
    place = choose_device(device)
    if not isinstance(model, StainNormalised):
        return extract_features(model, rows.take(chosen), device=place).numpy()
    loader = Loader(rows.only({"images", "patients"}), model.spec.preparation, memory=0)
    found: dict[int, NDArray[np.float32]] = {}
    with placed(model, place), evaluation_mode(model), torch.no_grad():
        for region in rows_by_patient(rows):
            kept = region[np.isin(region, chosen)]
            if len(kept) == 0:
                continue
            common = None
            if model.per == "region":
                batches = loader.batches(in_batches(region, AT_ONCE))
                common = model.survey((batch.images.to(place) for batch in batches), len(region))
            for batch in loader.batches(in_batches(kept, AT_ONCE)):
                vectors = model.features(model.normalise(batch.images.to(place), common).images)
                found |= dict(zip(batch.rows.tolist(), vectors.float().cpu().numpy()))
    return np.stack([found[row] for row in chosen.tolist()])


def _plane(features: Features, laboratories: list[Laboratory], seed: int) -> pd.DataFrame:
    """One row per tile; rows of a site are shuffled, so that none tells which tile it is."""
    places = lay_out(np.concatenate(list(features.values())), seed=seed)
    ends = np.cumsum([len(own) for own in features.values()])[:-1]
    tables = []
    for one, own in zip(laboratories, np.split(places, ends), strict=True):
        table = pd.DataFrame({"site": one.site, "label": _labels(one), "x": own[:, 0], "y": own[:, 1]})
        tables.append(table.iloc[np.random.default_rng(seed).permutation(len(own))])
    return pd.concat(tables, ignore_index=True)


def _labels(laboratory: Laboratory) -> NDArray[np.object_]:
    """Class names of the chosen tiles; empty where there is not one label per tile."""
    rows = laboratory.rows
    if rows.kind != "classify" or "truth" not in rows.fields:
        return np.full(len(laboratory.chosen), "", dtype=object)
    return np.array([rows.classes[label] for label in rows.labels[laboratory.chosen]], dtype=object)


def _overlaps(features: Features, laboratories: list[Laboratory], reference: str, seed: int) -> pd.DataFrame:
    patients = {one.site: one.rows.units[one.chosen].astype(str) for one in laboratories}
    labels = {one.site: _labels(one) for one in laboratories}
    rows = []
    for site, own in features.items():
        told, agreement, reasons = math.nan, math.nan, []
        try:
            if site != reference:
                told = separation(
                    features[reference],
                    own,
                    patients[reference],
                    patients[site],
                    seed=seed,
                    same_patients=True,
                )
        except DataError as error:
            reasons.append(str(error))
        try:
            if labels[site][0]:
                agreement = class_agreement(
                    own, features[reference], labels[site], labels[reference],
                    patients[site], patients[reference],
                )  # fmt: skip
        except DataError as error:
            reasons.append(str(error))
        overlap = min(1.0, 2 * (1 - told)) if math.isfinite(told) else math.nan
        rows.append(
            {"site": site, "balanced_accuracy": told, "overlap": overlap, "class_agreement": agreement}
            | {"reason": " ".join(reasons)}
        )
    return pd.DataFrame(rows)
