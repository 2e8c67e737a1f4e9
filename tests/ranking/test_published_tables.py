"""The tables inside the package, against two independent copies: typed for another test, and the authors'."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from tests.statistics.test_published_rankings import DATASET_RANKS, DATASETS, GOLDEN, METHODS, MODELS, printed

from medgraft.ranking.published_tables import FOLDER, published

SCENARIOS = [("sources", "dataset", DATASETS), ("architectures", "model", MODELS)]


@pytest.mark.parametrize(("name", "_kind", "table"), SCENARIOS)
def test_every_printed_tau_is_the_one_typed_elsewhere(name: str, _kind: str, table: str) -> None:
    tau = getattr(published(), name).tau
    typed = [[np.nan if text == "-" else float(text) for text in line] for line in printed(table)]
    np.testing.assert_array_equal(tau.to_numpy(), typed)
    assert tau.index.tolist() == [line.split()[0] for line in table.strip().splitlines()]
    assert tau.size == 77


def test_printed_ranks_of_sources_are_those_of_the_unrounded_taus_but_for_one_exchange() -> None:
    ranks = published().sources.printed_ranks
    differ = ranks.to_numpy() != DATASET_RANKS
    assert [(ranks.index[row], ranks.columns[column]) for row, column in np.argwhere(differ)] == [
        ("Pneumonia", "log_me"),
        ("Pneumonia", "n_leep"),
    ]
    assert ranks.loc["Pneumonia", ["log_me", "n_leep"]].tolist() == [3, 2]


@pytest.mark.parametrize("name", ["sources", "architectures"])
def test_every_printed_rank_fits_its_printed_tau(name: str) -> None:
    tables = getattr(published(), name)
    for target, taus in tables.tau.fillna(-2.0).iterrows():
        order = tables.printed_ranks.loc[target]
        assert sorted(order) == [1, 2, 3, 4, 5, 6, 7] or target in ("Breast", "Pneumonia")
        for first in taus.index:  # a larger tau has the smaller rank; equal to two decimals says nothing
            assert (order[taus < taus[first]] > order[first]).all(), (target, first)


@pytest.mark.skipif(not GOLDEN.is_file(), reason="the authors' result tables are not here")
@pytest.mark.parametrize(("name", "kind", "_table"), SCENARIOS)
def test_every_printed_auc_is_the_authors_rounded(name: str, kind: str, _table: str) -> None:
    golden, auc = np.load(GOLDEN), getattr(published(), name).auc
    theirs = golden[f"{kind}_auc"] / (100 if kind == "model" else 1)
    np.testing.assert_array_equal(np.isnan(auc.to_numpy()), np.isnan(theirs))
    np.testing.assert_allclose(auc.to_numpy(), theirs, rtol=0, atol=0.5e-4 + 1e-9)
    names = [source.removesuffix("mnist") for source in golden[f"{kind}_sources"]]
    assert [source.lower() for source in auc.index] == [
        source if source != "med" else "medmnist" for source in names
    ]
    assert [target.lower() + "mnist" for target in auc.columns] == golden["targets"].tolist()
    assert len(METHODS) == len(getattr(published(), name).tau.columns)


def test_only_a_source_that_is_the_target_has_no_auc() -> None:
    auc = published().sources.auc
    missing = [
        (source, target)
        for source in auc.index
        for target in auc.columns
        if np.isnan(auc.loc[source, target])
    ]
    assert missing == [(target, target) for target in auc.columns]
    assert published().architectures.auc.notna().all(axis=None)


def test_resnet_of_the_architectures_is_imagenet_of_the_sources() -> None:
    truth = published()
    pd.testing.assert_series_equal(
        truth.sources.auc.loc["ImageNet"], truth.architectures.auc.loc["ResNet"], check_names=False
    )


def test_what_the_text_says_of_the_tables_is_in_them() -> None:
    auc, models = published().sources.auc, published().architectures.auc
    better = auc.drop(index="ImageNet").max() > auc.loc["ImageNet"]
    assert set(better[better].index) == {"Pneumonia", "OrganC", "OrganS", "OCT"}
    assert int((auc.loc["MedMNIST"] > auc.loc["RadImageNet"]).sum()) == 7
    both = auc.drop(columns=["Breast", "OrganS"])
    assert int((both.loc["Breast"] > both.loc["OrganS"]).sum()) == 7
    assert (models.max() - models.min())[["Blood", "Path"]].round(3).tolist() == [0.004, 0.007]


def test_a_caller_who_changes_a_table_changes_no_other() -> None:
    auc = published().sources.auc
    auc.loc["ImageNet"] = 0.0
    assert published().sources.auc.loc["ImageNet", "Blood"] == 0.9985


def test_every_file_has_its_provenance() -> None:
    told = json.loads((FOLDER / "PROVENANCE.json").read_text("utf-8"))["files"]
    assert set(told) == {path.name for path in FOLDER.glob("*.csv")} and len(told) == 4
