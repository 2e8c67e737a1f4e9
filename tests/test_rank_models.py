"""`mg.rank`: models and images in, an order and evidence out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import medgraft as mg
from medgraft.api.leaders import with_reliability
from medgraft.data.cohort import Cohort
from medgraft.engine.features import extract_features
from medgraft.errors import DataError, MedgraftError, SettingsError
from medgraft.evidence import fact
from medgraft.models.model import Model
from medgraft.ranking import measure_reliability
from medgraft.ranking.scores.leep import leep
from medgraft.ranking.scores.log_me import log_me
from medgraft.ranking.scores.nearest_neighbours import nearest_neighbours
from medgraft.reports.ranking.source_ranking import read_rankings
from medgraft.testing import make_cohort, make_model
from tests.reports.ranking_evidence import SOURCES, ranking_evidence

QUICK = ("log_me", "nearest_neighbours")


@pytest.fixture(scope="module")
def task() -> mg.Task:
    return mg.Task(target=make_cohort("classify", patients=18))


@pytest.fixture(scope="module")
def trained(task, tmp_path_factory):
    """A model that knows the task, in a folder."""
    method = mg.methods.SimpleBaseline()
    folder = tmp_path_factory.mktemp("models") / "knows"
    return mg.adapt("random/test_resnet", task, method, mg.Run(folder)), folder


def test_scores_are_those_of_the_features_and_the_head(task, trained):
    model, folder = trained
    ranked = mg.rank({"knows": folder, "blank": "random/test_resnet"}, task, by=[*QUICK, "leep"], resamples=0)
    rows = task.target.split("train")
    features = extract_features(model, rows)
    table = ranked.table
    assert table.loc["knows", "log_me"] == pytest.approx(log_me(features.numpy(), rows.labels))
    said = model.head_outputs(features).double().softmax(1).detach().numpy()
    assert table.loc["knows", "leep"] == pytest.approx(leep(said, rows.labels))
    assert np.isnan(table.loc["blank", "leep"]), "an untrained head says nothing"
    assert list(table.index) == list(ranked.ranking.order) and ranked.best in ("knows", "blank")


def test_a_repeated_call_looks_at_nothing_again_and_says_the_same(task, tmp_path, monkeypatch):
    sources = {"one": make_model("classify"), "other": "random/test_efficientnet"}
    first = mg.rank(sources, task, by=QUICK, folder=tmp_path, resamples=12)
    monkeypatch.setattr(Model, "features", None)
    again = mg.rank(sources, task, by=QUICK, folder=tmp_path, resamples=12)
    columns = ["source", "score", "value", "rank", "low", "high", "reason"]
    assert first.ranking.scores[columns].equals(again.ranking.scores[columns])
    for kept in (tmp_path / "passes").iterdir():
        kept.write_bytes(b"damaged")
    monkeypatch.undo()
    mended = mg.rank(sources, task, by=QUICK, folder=tmp_path, resamples=12)
    assert first.ranking.scores[columns].equals(mended.ranking.scores[columns])


def test_other_images_or_weights_are_looked_at_anew(task, tmp_path):
    mg.rank(
        {"a": make_model("classify"), "b": "random/test_resnet"},
        task,
        by=["log_me"],
        folder=tmp_path,
        resamples=0,
    )
    other = mg.Task(target=make_cohort("classify", site="B", patients=18))
    mg.rank(
        {"a": make_model("classify"), "c": "random/test_vit"},
        other,
        by=["log_me"],
        folder=tmp_path,
        resamples=0,
    )
    assert len(list((tmp_path / "passes").glob("*.safetensors"))) == 4


def test_leaders_are_fine_tuned_and_their_scores_are_evidence(task, tmp_path):
    method = mg.methods.FineTune(schedule={"epochs": 1, "steps_per_epoch": 1})
    ranked = mg.rank(
        ["random/test_resnet", "random/test_efficientnet"], task, by=["log_me"], finetune_top=1, method=method,
        folder=tmp_path, resamples=0,
    )  # fmt: skip
    assert list(ranked.models) == [ranked.best]
    facts = ranked.evidence.facts
    assert set(facts["subject"]) == {ranked.best} and set(facts["split"]) == {"test"}
    assert (tmp_path / "fine_tuned" / ranked.best.replace("/", "_") / "model").is_dir()
    assert ranked.evidence.tables["ranking"]["place"].tolist() == [
        ranked.ranking.order.index(source) for source in ranked.evidence.tables["ranking"]["source"]
    ]


STEP = mg.methods.FineTune(schedule={"epochs": 1, "steps_per_epoch": 1})
PAIR = ("random/test_resnet", "random/test_efficientnet")


def test_leaders_fine_tuned_with_several_seeds_are_told_apart_or_not(task, tmp_path):
    options = {
        "by": ["log_me"],
        "finetune_top": 2,
        "method": STEP,
        "folder": tmp_path,
        "resamples": 0,
        "seed": 3,
    }
    once = mg.rank(PAIR, task, **options)
    assert "ranking_reliability" not in once.evidence.tables
    assert once.evidence.warnings[-1].endswith("from chance. Give finetune_seeds=5 (--finetune-seeds 5).")
    ranked = mg.rank(PAIR, task, finetune_seeds=3, **options)
    facts = ranked.evidence.facts
    assert set(zip(facts["subject"], facts["seed"])) == {(name, seed) for name in PAIR for seed in (3, 4, 5)}
    folders = {name.replace("/", "_") + seed for name in PAIR for seed in ("", "+seed4", "+seed5")}
    assert {path.name for path in (tmp_path / "fine_tuned").iterdir()} == folders
    (row,) = ranked.evidence.tables["ranking_reliability"].to_dict("records")
    assert (row["cohort"], row["seed"], row["metric"]) == (task.target.name, 3, "balanced_accuracy")
    own = facts[(facts["metric"] == "balanced_accuracy") & (facts["part"] == "")]
    performance = own.pivot(index="subject", columns="seed", values="value").loc[list(ranked.ranking.order)]
    expected = measure_reliability(performance)
    assert {name: row[name] for name in expected._fields} == pytest.approx(expected._asdict(), nan_ok=True)
    assert (row["tells_apart"], row["sentence"]) == (expected.tells_apart, expected.sentence())
    warned = f"{task.target.name}: {expected.sentence()}" in ranked.evidence.warnings
    assert warned == (not expected.tells_apart)
    assert "one run each" not in " ".join(ranked.evidence.warnings)
    assert ranked.evidence.provenance[0]["fine_tuning_seeds"] == [3, 4, 5]
    kept = mg.Evidence.load(ranked.evidence.save(tmp_path / "evidence"))
    (read,) = read_rankings(kept)
    assert read.reliability == pytest.approx(row, nan_ok=True) and read.fine_tuning_seeds == (3, 4, 5)


def test_a_repeated_call_trains_only_further_seeds_and_keeps_the_first_models(task, tmp_path, monkeypatch):
    options = {"by": ["log_me"], "finetune_top": 2, "method": STEP, "folder": tmp_path, "resamples": 0}
    once = mg.rank(PAIR, task, **options)
    trained = []
    adapt = type(STEP).adapt

    def noted(method, model, task, run):
        trained.append(run.seed)
        return adapt(method, model, task, run)

    monkeypatch.setattr(type(STEP), "adapt", noted)
    twice = mg.rank(PAIR, task, finetune_seeds=2, **options)
    assert trained == [1, 1]
    for name in PAIR:
        first, again = once.models[name].state_dict(), twice.models[name].state_dict()
        assert all(torch.equal(first[key], again[key]) for key in first)


def told(sources: dict[str, list[float]], metric: str = "balanced_accuracy") -> mg.Evidence:
    """Evidence of a ranking whose leaders were tuned with these results."""
    evidence = ranking_evidence(tunings=len(next(iter(sources.values()))))
    rows = [
        fact(subject=source, cohort="H&E nuclei", metric=metric, value=value, seed=seed, n=9, unit="patients")
        for source, values in sources.items()
        for seed, value in enumerate(values)
    ]
    return replace(evidence, facts=pd.DataFrame(rows))


FIRST, SECOND, THIRD = list(SOURCES)[:3]


def test_leaders_that_differ_by_more_than_seeds_do_raise_no_warning():
    apart = told({FIRST: [0.9, 0.91, 0.92], SECOND: [0.8, 0.82, 0.81], THIRD: [0.7, 0.7, 0.72]})
    found = with_reliability(apart, 3)
    row = found.tables["ranking_reliability"].iloc[0]
    assert row["tells_apart"] and row["f"] > row["critical"] and found.warnings == apart.warnings
    alike = with_reliability(told({FIRST: [0.9, 0.7, 0.8], SECOND: [0.8, 0.9, 0.7]}), 3)
    assert alike.warnings[-1].startswith("H&E nuclei: Fine-tuning itself hardly tells these 2 sources apart")


def test_of_distances_seeds_agree_by_the_lowest():
    near = {FIRST: [1.0, 1.1], SECOND: [5.0, 4.0], THIRD: [4.0, 5.0]}
    row = with_reliability(told(near, "hd95_mm"), 2).tables["ranking_reliability"].iloc[0]
    lowest_first = measure_reliability(-np.array(list(near.values())))
    assert row["seed_tau"] == pytest.approx(lowest_first.seed_tau)
    assert lowest_first.seed_tau != pytest.approx(measure_reliability(list(near.values())).seed_tau)


def test_a_leader_without_a_score_for_one_seed_is_left_out():
    scores = {FIRST: [0.9, 0.8], SECOND: [0.8, 0.7], THIRD: [np.nan, 0.6]}
    assert with_reliability(told(scores), 2).tables["ranking_reliability"]["sources"].tolist() == [2]
    scores[SECOND] = [0.8, np.nan]
    assert "ranking_reliability" not in with_reliability(told(scores), 2).tables


def test_the_best_sources_features_are_laid_out_before_and_after_fine_tuning(task, tmp_path):
    method = mg.methods.FineTune(schedule={"epochs": 1, "steps_per_epoch": 1})
    sources = ["random/test_resnet", "random/test_efficientnet"]
    ranked = mg.rank(
        sources, task, by=["nearest_neighbours"], finetune_top=1, method=method, folder=tmp_path, resamples=0
    )
    rows = task.target.split("train")
    scores = ranked.evidence.tables["ranking_projection_scores"].set_index("stage")
    assert list(scores.index) == ["before", "after", "nca", "lda"] and set(scores["source"]) == {ranked.best}
    assert scores.loc["before", "neighbours"] == ranked.table.loc[ranked.best, "nearest_neighbours"]
    tuned = extract_features(ranked.models[ranked.best], rows).numpy()
    assert scores.loc["after", "neighbours"] == nearest_neighbours(tuned, rows.labels)
    assert scores.loc["after", "dimensions"] == tuned.shape[1]
    points = ranked.evidence.tables["ranking_projections"]
    assert list(points.columns) == ["source", "stage", "x", "y", "label", "cohort", "seed"]
    counts = dict(zip(rows.classes, np.bincount(rows.labels)))
    for _, own in points.groupby("stage"):
        assert own["label"].value_counts().to_dict() == counts


def test_layouts_can_be_left_out_and_cost_no_pass(task, monkeypatch):
    sources = {"one": make_model("classify"), "other": make_model("classify")}
    own, looked = type(sources["one"]).features, []
    monkeypatch.setattr(
        type(sources["one"]), "features", lambda model, images: looked.append(1) or own(model, images)
    )
    for projections in (True, False):
        before = len(looked)
        ranked = mg.rank(sources, task, by=["log_me"], resamples=0, projections=projections)
        assert len(looked) - before == 2, "a batch for each source"
        assert ("ranking_projections" in ranked.evidence.tables) is projections


def test_other_targets_are_not_laid_out():
    target = make_cohort("multilabel", patients=18)
    ranked = mg.rank(
        ["random/test_resnet", "random/test_vit"], mg.Task(target=target), by=["log_me"], resamples=0
    )
    assert "ranking_projections" not in ranked.evidence.tables


def test_segmentation_is_judged_by_pixels(tmp_path):
    cohort = make_cohort("segment", patients=12)
    trained = mg.adapt(
        "random/unet_width8", mg.Task(target=cohort), mg.methods.FineTune(), mg.Run(limit=mg.Limit(2, 6))
    )
    ranked = mg.rank(
        {"trained": trained, "blank": "random/unet_width8"},
        mg.Task(target=cohort),
        folder=tmp_path,
        resamples=0,
    )
    scores = ranked.ranking.scores.set_index(["score", "source"])
    assert scores["value"].notna()["cc_fv"].all()
    assert "trained classes of its own" in scores.loc[("pixel_leep", "blank"), "reason"]


@pytest.mark.parametrize(
    ("sources", "options", "said"),
    [
        (["random/test_resnet"], {}, "two sources or more"),
        (["nowhere/*", "random/test_resnet"], {}, "nothing matches nowhere"),
        (["random/test_resnet", "random/test_resnet"], {}, "comes twice"),
        (["random/test_resnet", "models/none"], {}, "The source models/none: open_source needs"),
        (["random/test_resnet", "random/test_vit"], {"by": ["logme"]}, "it got 'logme'"),
        (["random/test_resnet", "random/test_vit"], {"finetune_top": 3}, "it is 3"),
        (["random/test_resnet", "random/test_vit"], {"finetune_seeds": 5}, "it is 5 with finetune_top=0"),
        (["random/test_resnet", "random/test_vit"], {"finetune_top": 2, "finetune_seeds": 0}, "it is 0"),
    ],
)
def test_what_cannot_be_ranked_is_one_sentence(task, sources, options, said):
    with pytest.raises((DataError, SettingsError, MedgraftError)) as told:
        mg.rank(sources, task, **{"by": ["log_me"], "resamples": 0, **options})
    assert said in str(told.value)


SCORER = """
from medgraft.ranking.scorers import LABELS, Scorer

widest = Scorer("widest", "most features", LABELS, lambda material: (float(material.features.shape[1]),))
"""


def test_scores_of_other_packages_take_part(task, tmp_path, monkeypatch):
    information = tmp_path / "wide_scores-0.1.dist-info"
    information.mkdir()
    (tmp_path / "wide_scores.py").write_text(SCORER)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: wide-scores\nVersion: 0.1\n")
    (information / "entry_points.txt").write_text("[medgraft.scorers]\nwidest = wide_scores:widest\n")
    monkeypatch.syspath_prepend(tmp_path)
    sources = ["random/test_resnet", "random/test_vit"]
    table = mg.rank(sources, task, by=["widest"], resamples=0).table["widest"]
    rows = task.target.split("train")
    wide = {name: extract_features(mg.open_source(name, kind="encode"), rows).shape[1] for name in sources}
    assert table.to_dict() == wide and len(set(wide.values())) == 2


def test_a_source_of_other_channels_is_named(task):
    sources = {
        "four": mg.open_source("random/test_resnet", kind="encode", channels=4),
        "other": "random/test_vit",
    }
    colour = np.repeat(np.stack([task.target.picture(row).array for row in range(36)]), 3, axis=-1)
    target = Cohort.from_arrays(colour, task.target.labels, kind="classify", classes=task.target.classes)
    with pytest.raises(DataError, match="The source four: Preparation needs images of 4 channels"):
        mg.rank(sources, mg.Task(target=target), by=["log_me"], resamples=0)


def test_a_target_without_truth_is_refused():
    with pytest.raises(DataError, match="a target with truth"):
        mg.rank(["random/test_resnet", "random/test_vit"], mg.Task(target=make_cohort("encode")))


def test_leaders_that_could_not_be_tested_are_not_fine_tuned(task, monkeypatch):
    monkeypatch.setattr("medgraft.api.ranking.gather_material", lambda *_, **__: pytest.fail("it looked"))
    untested = mg.Task(target=task.target.split("train", "validation"))
    with pytest.raises(DataError, match="finetune_top needs test rows of the target"):
        mg.rank(PAIR, untested, finetune_top=1)
