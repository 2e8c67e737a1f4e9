"""An audit tells a shortcut from a model without one, and its numbers are those of naive loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

import medgraft as mg
from medgraft.data.cohort import Cohort
from medgraft.errors import DataError, ModelError, SettingsError
from medgraft.statistics.bootstrap import bootstrap_interval
from medgraft.testing import make_cohort

CLASSES = ("benign", "malignant")
TONES = np.array(["light", "dark"])


def cases(patients: int = 120, images: int = 2, seed: int = 0):
    """Patients, whether each image is malignant, and the patient's tone, which tells nothing of it."""
    rng = np.random.default_rng(seed)
    of_patient = np.repeat(np.arange(patients), images)
    dark = (rng.uniform(size=patients) < 0.5)[of_patient]
    return of_patient, rng.integers(0, 2, len(of_patient)), dark, rng


@pytest.fixture
def audited(written):
    """A model, a cohort with tones, and training rows in which nine of ten malignant lesions are on light skin."""

    def make(shortcut: float, *, tones=None, truth=None, **more):
        patients, drawn, dark, rng = cases()
        truth = drawn if truth is None else truth
        chance = rng.normal(size=len(truth)) + 2 * truth - shortcut * dark
        malignant = 1 / (1 + np.exp(-chance))
        shown = TONES[dark.astype(int)] if tones is None else tones
        model, cohort = written.labels(
            np.stack([1 - malignant, malignant], axis=1), truth, CLASSES, patients=[f"Anna {n}" for n in patients],
            attributes=pd.DataFrame({"tone": shown} | more),
        )  # fmt: skip
        return model, cohort, malignant

    return make


def trained_on(counts, tones=TONES) -> Cohort:
    """Training rows with so many of every class and tone."""
    truth, tone = (np.repeat(each.ravel(), np.ravel(counts)) for each in np.indices(np.shape(counts)))
    return Cohort.from_arrays(
        np.zeros((len(truth), 1, 1, 2), np.float32), truth, kind="classify", classes=CLASSES,
        patients=[str(n) for n in range(len(truth))], attributes=pd.DataFrame({"tone": np.asarray(tones)[tone]}),
        name="training",
    )  # fmt: skip


BIASED = trained_on([[10, 90], [90, 10]])


def lines(evidence, part: str, metric: str = "auroc") -> pd.DataFrame:
    table = evidence.tables["bias"]
    return table[(table["part"] == part) & (table["metric"] == metric)].reset_index(drop=True)


def audit(model, cohort, reference=BIASED, attributes=("tone",), **more):
    return mg.evaluate(
        model, cohort, bias=mg.BiasAudit(list(attributes), reference, **more), repeats=100, examples=0
    )


def test_a_shortcut_shows_in_the_cases_that_go_against_it(audited):
    model, cohort, malignant = audited(shortcut=6.0)
    found, truth = audit(model, cohort), cohort.labels
    dark = (cohort.table["tone"] == "dark").to_numpy()
    against = (truth == 1) == dark
    for part, rows in (("all", truth >= 0), ("conflicting", against), ("aligned", ~against)):
        line = lines(found, part)
        assert line["value"].item() == pytest.approx(roc_auc_score(truth[rows], malignant[rows]), abs=1e-6)
        assert line["low"].item() < line["value"].item() < line["high"].item() or part != "all"
        assert line["images"].item() == rows.sum()
    assert lines(found, "conflicting")["value"].item() < 0.2 and lines(found, "aligned")["value"].item() > 0.9
    assert lines(found, "association", "cramers_v")["value"].item() == pytest.approx(0.8)
    fair_model, fair, _ = audited(shortcut=0.0)
    assert lines(audit(fair_model, fair), "conflicting")["value"].item() > 0.8


def test_worst_group_and_gap_are_resampled_together_over_patients(audited):
    tones = np.array(["light", "medium", "dark"])[np.repeat(np.arange(120) % 3, 2)]
    model, cohort, malignant = audited(shortcut=0.0, tones=tones)
    found, truth = audit(model, cohort, reference=None), cohort.labels

    def scores(rows) -> list[float]:
        of_tone = [rows[tones[rows] == tone] for tone in ("dark", "light", "medium")]
        return [roc_auc_score(truth[own], malignant[own]) for own in of_tone]

    naive = {"worst": lambda rows: min(scores(rows)), "gap": lambda rows: np.ptp(scores(rows))}
    # groups stand behind one another, and resamples are drawn from units in the order of their names
    units = np.repeat(np.arange(120), 2)
    order = np.concatenate([np.flatnonzero(tones == tone) for tone in ("dark", "light", "medium")])
    for part, metric in naive.items():
        expected = bootstrap_interval(lambda at, m=metric: m(order[at]), units[order], repeats=100)
        line = lines(found, part)
        assert line[["value", "low", "high"]].to_numpy()[0] == pytest.approx(expected[:3], abs=1e-6)
        assert line["n"].item() == 120
    groups = lines(found, "group").set_index("group")["value"]
    worst = lines(found, "worst")
    assert worst["group"].item() == groups.idxmin() and worst["value"].item() == groups.min()
    assert lines(found, "gap")["value"].item() == pytest.approx(groups.max() - groups.min())
    assert not {"conflicting", "aligned", "association"} & set(found.tables["bias"]["part"])


def test_a_group_of_one_class_is_told_and_not_scored_and_small_ones_are_not_compared(audited):
    patients, truth, dark, _ = cases()
    tones = np.where(dark, "dark", "light").astype(object)
    tones[patients < 12], tones[(patients >= 12) & (patients < 16)] = "pale", "grey"
    tones[patients == 16] = ""
    truth = np.where(patients < 12, 0, truth)
    found = lines(audit(*audited(3.0, tones=tones, truth=truth)[:2]), "group").set_index("group")
    assert list(found.index) == ["dark", "grey", "light", "pale", "not told"]
    assert np.isnan(found.loc["pale", "value"]) and found.loc["pale", "reason"] == "one class only"
    assert np.isfinite(found.loc["grey", "value"])
    assert "fewer than 5" in found.loc["grey", "reason"] and "patients with" in found.loc["grey", "reason"]
    assert (found.loc[["dark", "light"], "reason"] == "").all()


def test_with_one_group_to_compare_there_is_no_gap(audited):
    patients = cases()[0]
    tones = np.where(patients < 4, "dark", "light")
    found = audit(*audited(0.0, tones=tones)[:2])
    for part in ("gap", "worst"):
        line = lines(found, part)
        assert np.isnan(line["value"].item())
        assert line["reason"].item() == "1 group with enough patients of every class"


def test_of_several_labels_every_cell_has_a_side_of_its_own(written):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, (200, 2)).astype(float)
    truth[rng.uniform(size=truth.shape) < 0.1] = np.nan
    tube = rng.integers(0, 2, 200)
    chances = np.clip(rng.uniform(0.05, 0.6, (200, 2)) + 0.3 * np.nan_to_num(truth), 0.01, 0.99)
    chances[:, 0] = np.clip(chances[:, 0] * 0.3 + 0.6 * tube, 0.01, 0.99)  # pneumothorax is told by its tube
    model, cohort = written.labels(
        chances, truth, ("pneumothorax", "effusion"), "multilabel", attributes=pd.DataFrame({"tube": tube})
    )
    tubes = np.repeat([0, 1], 50)
    trained = Cohort.from_arrays(
        np.zeros((100, 1, 1, 2), np.float32), np.stack([tubes, 1 - tubes], axis=1).astype(float), kind="multilabel",
        classes=("pneumothorax", "effusion"), attributes=pd.DataFrame({"tube": tubes}),
    )  # fmt: skip
    found = audit(model, cohort, trained, ["tube"])
    expected = []
    for label, trained_with in ((0, tube), (1, 1 - tube)):
        rows = np.isfinite(truth[:, label]) & (truth[:, label] != trained_with)
        expected.append(roc_auc_score(truth[rows, label], chances[rows, label]))
    assert lines(found, "conflicting")["value"].item() == pytest.approx(np.mean(expected), abs=1e-6)
    assert lines(found, "association", "cramers_v")["value"].tolist() == [1.0, 1.0]


def test_fresh_probes_stand_beside_those_of_another_model(audited):
    model, cohort, _ = audited(shortcut=8.0)
    blind = type(model)(model.spec)
    blind.features = lambda images: torch.zeros(len(images), 2) + images[:, :, 0, 0] * 0
    model.features = lambda images: images[:, :, 0, 0]
    table = audit(model, cohort, beside={"blind": blind}).tables["bias_probes"]
    assert set(table["probe"]) == {"linear", "neighbours"}
    scores = table[table["metric"] == "auroc"].set_index(["subject", "probe"])["value"]
    assert scores["model", "linear"] > 0.8 and scores["blind", "linear"] == 0.5
    assert dict(zip(table["subject"], table["beside"], strict=True)) == {"model": False, "blind": True}
    assert (table["n"] == 120).all() and table["low"].notna().all()


def test_evidence_names_no_patient_and_adds_up(audited, tmp_path):
    model, cohort, _ = audited(shortcut=1.0)
    found = audit(model, cohort)
    found.save(tmp_path / "evidence")
    again = mg.Evidence.load(tmp_path / "evidence")
    for name in ("bias", "bias_groups", "bias_probes"):
        assert "Anna" not in found.tables[name].to_csv()
        pd.testing.assert_frame_equal(again.tables[name], found.tables[name])
    assert len((found + audit(model, cohort)).tables["bias"]) == len(found.tables["bias"])
    assert found.provenance[-1]["bias"]["reference"]["rows"] == 200


def test_numbers_have_the_same_quarters_in_training_and_test(audited):
    ages = np.linspace(20, 80, 240)
    model, cohort, _ = audited(shortcut=1.0, age=ages)
    reference = BIASED._view(
        BIASED.table.assign(age=np.where(BIASED.labels == 1, 75.0, 25.0) + np.arange(200) / 100), "assign", []
    )
    found = audit(model, cohort, reference, ["age"])
    # in training the old are malignant, the young benign, and nobody is between
    assert lines(found, "association", "cramers_v")["value"].item() == 1.0
    assert len(lines(found, "group")) == 4


@pytest.mark.parametrize(
    ("tones", "said"),
    [
        (["light"] * 240, "two values of 'tone' at least"),
        ([""] * 240, "two values of 'tone' at least"),
        ([f"type {n % 50}" for n in range(240)], "50 different values"),
    ],
)
def test_what_cannot_be_audited_is_refused_before_anything_is_predicted(audited, tones, said):
    model, cohort, _ = audited(0.0, tones=np.array(tones))
    model.forward = None
    with pytest.raises(DataError, match=said):
        audit(model, cohort, reference=None)


def test_wrong_columns_references_and_kinds_are_refused(audited):
    model, cohort, _ = audited(0.0)
    with pytest.raises(DataError, match="none of that name"):
        audit(model, cohort, attributes=["tones"])
    with pytest.raises(DataError, match="none of that name"):
        audit(model, cohort, reference=make_cohort("classify"))
    other = BIASED._view(BIASED.table, "same", [])
    other.classes = ("benign", "malignant", "odd")
    with pytest.raises(DataError, match="odd"):
        audit(model, cohort, reference=other)
    masks = make_cohort("segment")
    with pytest.raises(ModelError, match="classes or labels"):
        audit(
            mg.open_source("random/unet_width8", kind="segment", classes=masks.classes), masks, None, ["site"]
        )
    with pytest.raises(SettingsError, match="two are called 'model'"):
        audit(model, cohort, beside={"model": model})
    for nothing in ([], "tone"):
        with pytest.raises(SettingsError):
            mg.BiasAudit(nothing)
