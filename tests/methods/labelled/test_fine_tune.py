from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from medgraft.data.task import Task
from medgraft.engine.checkpoint import read_saved
from medgraft.engine.method import adapt
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Interrupted, Limit, Run, Shared
from medgraft.engine.schedule import OptimizerName, Schedule
from medgraft.errors import SettingsError
from medgraft.methods import FineTune
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model
from medgraft.models.regraft import regraft
from medgraft.plugins import resolve_method
from medgraft.testing import StopsAfter, check_method, make_cohort, make_model
from medgraft.types import Kind

SHORT = Schedule(epochs=2, batch_size=8, lr=1e-2)


def fine_tune(**settings: object) -> FineTune:
    return FineTune(**{"schedule": SHORT, "head_schedule": SHORT, **settings})  # type: ignore[arg-type]


def source(kind: Kind = "classify") -> Model:
    with seeded("source"):
        return make_model(kind)


def adapted(method: FineTune, kind: Kind = "classify", folder: Path | None = None) -> Model:
    return adapt(
        source(kind), Task(target=make_cohort(kind, "B")), method, Run(folder, device="cpu", progress=False)
    )


def changed_blocks(model: Model, kind: Kind = "classify") -> set[str]:
    before: dict[str, Tensor] = source(kind).state_dict()
    after = model.state_dict()
    return {
        block
        for block, names in model.blocks().items()
        if any(name not in before or not torch.equal(before[name], after[name]) for name in names)
    }


@pytest.mark.parametrize("kind", ["classify", "segment"])
@pytest.mark.parametrize("scope", ["all", "first", "last", "head"])
def test_each_scope_trains_exactly_its_blocks(scope: str, kind: Kind) -> None:
    model = adapted(fine_tune(scope=scope), kind)
    names = list(source(kind).blocks())
    new_head = {names[-1]} if kind == "classify" else set()
    expected = {
        "all": set(names),
        "first": {names[0]} | new_head,
        "last": set(names[-2:]),
        "head": {names[-1]},
    }[scope]
    assert changed_blocks(model, kind) == expected


def test_named_blocks_are_trained_and_unknown_ones_listed() -> None:
    middle = list(source("segment").blocks())[2]
    assert changed_blocks(adapted(fine_tune(scope=(middle,)), "segment"), "segment") == {middle}
    with pytest.raises(SettingsError, match=f"{middle}.*'nose'"):
        adapted(fine_tune(scope=("nose",)), "segment")


def batch_statistics(model: Model) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if "running_" in name}


def test_batch_statistics_stay_only_where_asked() -> None:
    before = batch_statistics(source())
    assert before
    frozen = batch_statistics(adapted(fine_tune(scope="first", freeze_batch_stats=True)))
    assert all(torch.equal(before[name], frozen[name]) for name in before)
    moving = batch_statistics(adapted(fine_tune(scope="first")))
    assert not any(torch.equal(before[name], moving[name]) for name in before)


def test_a_linear_probe_leaves_every_tensor_of_the_network_alone() -> None:
    model = adapted(fine_tune(scope="head"))
    before, head = source().state_dict(), set(model.blocks()["head"])
    assert all(
        torch.equal(before[name], tensor) for name, tensor in model.state_dict().items() if name not in head
    )


@pytest.mark.slow
def test_a_linear_probe_reaches_the_optimum_of_logistic_regression() -> None:
    """Features are cached, the loss is convex: scikit-learn must find the same minimum."""
    from sklearn.linear_model import LogisticRegression

    from medgraft.engine.features import extract_features

    cohort = make_cohort("classify", "B").split("train")
    schedule = Schedule(epochs=1500, batch_size=64, lr=0.05, optimizer="adam", weight_decay=0.02)
    model = adapt(
        source(),
        Task(target=cohort),
        fine_tune(scope="head", head_schedule=schedule),
        Run(device="cpu", progress=False),
    )
    features = extract_features(model, cohort)
    with torch.no_grad():
        ours = model.head_outputs(features).softmax(1)[:, 1].numpy()
    # a penalty of w/2 |W|^2 on both rows of a two-class softmax, biases included, is w/4 |w1 - w0|^2 on the log-odds
    with_ones = np.hstack([features.numpy(), np.ones((len(cohort), 1))])
    regression = LogisticRegression(C=2 / (0.02 * len(cohort)), fit_intercept=False, tol=1e-8, max_iter=10000)
    theirs = regression.fit(with_ones, cohort.labels).predict_proba(with_ones)[:, 1]
    assert np.abs(ours - theirs).max() < 1e-5
    assert theirs.std() > 0.01


def test_head_then_all_starts_from_the_trained_head(tmp_path: Path) -> None:
    adapted(fine_tune(scope="head_then_all"), folder=tmp_path)
    assert (tmp_path / "head" / "log.csv").exists() and (tmp_path / "log.csv").exists()
    assert (tmp_path / "head" / "once" / "features.safetensors").exists()


def test_from_scratch_shares_no_weight_with_the_source() -> None:
    still = Schedule(epochs=1, batch_size=8, lr=1e-12, weight_decay=0.0)
    model = adapted(fine_tune(scope="from_scratch", schedule=still))
    before = source().state_dict()
    convolutions = [name for name, tensor in model.state_dict().items() if tensor.ndim == 4]
    assert convolutions
    assert not any(torch.allclose(before[name], model.state_dict()[name], atol=1e-3) for name in convolutions)


def test_it_learns_what_a_disc_is() -> None:
    schedule = Schedule(epochs=12, batch_size=8, lr=3e-3)
    target = make_cohort("classify", "B", patients=24)
    model = adapt(
        source(),
        Task(target=target),
        fine_tune(schedule=schedule),
        Run(device="cpu", progress=False, select="last"),
    )
    from medgraft.engine.predict import predict_labels

    test = target.split("test")
    assert (predict_labels(model, test).labels == test.labels).mean() >= 0.85


def test_batch_statistics_are_estimated_from_the_training_rows() -> None:
    model = adapted(fine_tune(estimate_batch_stats=True))
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms and all(0 < int(norm.num_batches_tracked) <= 2 for norm in norms)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="exclude each other"):
        fine_tune(estimate_batch_stats=True, freeze_batch_stats=True)


def test_a_head_is_trained_on_features_of_statistics_that_stay(tmp_path: Path) -> None:
    """One batch of all rows: each norm holds mean and variance of what reaches it where all norms take their own."""
    target = make_cohort("classify", "B").split("train")
    whole = fine_tune(scope="head", estimate_batch_stats=True, head_schedule=plain())
    model = adapted(whole, folder=tmp_path)

    images = Run(device="cpu").loader(target, model.spec.preparation)(np.arange(len(target))).images
    by_hand, expected = source(), {}
    for name, module in by_hand.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train().register_forward_pre_hook(
                lambda _, inputs, name=name: expected.update({
                    f"{name}.running_mean": inputs[0].mean((0, 2, 3)),
                    f"{name}.running_var": inputs[0].var((0, 2, 3)),
                })
            )  # fmt: skip
    with torch.no_grad():
        by_hand(images)
    assert expected.keys() == batch_statistics(model).keys()
    for name, found in batch_statistics(model).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-3, atol=1e-5)
    table = read_saved(tmp_path / "once" / "features_of_own_batch_stats")
    assert table is not None
    with torch.no_grad():
        torch.testing.assert_close(
            model(images), model.head_outputs(table.tensors["features"]), rtol=1e-4, atol=1e-5
        )


def test_balanced_sampling_is_for_single_labels() -> None:
    with pytest.raises(SettingsError, match="one label per image"):
        adapted(fine_tune(balanced=True), "segment")


def plain(**settings: object) -> Schedule:
    """One step over all rows, whose gradient is the one that was measured."""
    fields = {"epochs": 1, "batch_size": 64, "lr": 0.05, "weight_decay": 0.0, "shape": "constant"}
    return Schedule(**{**fields, "optimizer": "sgd", "momentum": 0.0, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["classify", "segment"])
def test_auto_rgn_equals_a_step_written_by_hand(kind: Kind) -> None:
    target = make_cohort(kind, "B").split("train")
    method = fine_tune(
        layer_rates="auto_rgn",
        schedule=plain(),
        augmentation=None,
        freeze_batch_stats=True,
        head_lr_factor=3.0,
    )
    run = Run(device="cpu", progress=False)
    with seeded("here"):
        model, plan = regraft(source(kind), target.classes, kind=kind)
    with seeded("here"):
        tuned = method.adapt(source(kind), Task(target=target), run)

    loader = run.loader(target, model.spec.preparation)
    images, truth = loader(np.arange(len(target)))[:2]
    loss = build_loss(LossSettings.default(kind), kind)(model.eval()(images), truth)
    trained = {
        f"{path}.{name}": parameter
        for path, layer in model.named_modules()
        if not isinstance(layer, torch.nn.BatchNorm2d)
        for name, parameter in layer.named_parameters(recurse=False)
    }
    gradients = dict(zip(trained, torch.autograd.grad(loss, list(trained.values()))))
    relative = {
        name: (gradients[name].norm() / tensor.norm()).item()
        for name, tensor in trained.items()
        if name not in plan.names("new")
    }
    assert bool(plan.names("new")) == (kind == "classify") and len(relative) > 5
    for name, tensor in model.state_dict().items():
        if name in trained:
            rate = relative[name] / max(relative.values()) if name in relative else 3.0
            tensor = tensor - 0.05 * rate * gradients[name]
        torch.testing.assert_close(tuned.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)
    table = run.shared.records.tables["learning_rates"]
    assert dict(zip(table["tensor"], table["relative_gradient_norm"].dropna())) == pytest.approx(
        relative, rel=1e-3
    )


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_auto_rgn_goes_with_every_optimiser(optimizer: str) -> None:
    run = Run(device="cpu", progress=False)
    schedule = plain(optimizer=optimizer, epochs=2, lr=1e-3, momentum=0.9, batch_size=8)
    method = fine_tune(layer_rates="auto_rgn", scope="last", schedule=schedule)
    model = adapt(source("segment"), Task(target=make_cohort("segment", "B")), method, run)
    names = list(model.blocks())
    assert changed_blocks(model, "segment") == set(names[-2:])
    table = run.shared.records.tables["learning_rates"]
    assert set(table["block"]) == set(names[-2:]) and table["epoch"].unique().tolist() == [0, 1]
    assert (table.groupby("epoch")["lr"].max() == 1e-3).all() and (table["lr"] > 0).all()


def test_auto_rgn_is_refused_where_it_has_nothing_to_share_out() -> None:
    for scope in ("head", "from_scratch"):
        with pytest.raises(ValueError, match=f"scope='{scope}' has no"):
            fine_tune(layer_rates="auto_rgn", scope=scope)


def test_rates_that_were_used_are_recorded_whole_after_an_interruption(tmp_path: Path) -> None:
    def tables(run: Run) -> pd.DataFrame:
        adapt(source(), Task(target=make_cohort("classify", "B")), method, run)
        return run.shared.records.tables["learning_rates"]

    method = fine_tune(layer_rates="auto_rgn")
    whole = tables(Run(device="cpu", progress=False))
    stopping = Run(tmp_path, device="cpu", progress=False, checkpoint_seconds=0, shared=StopsAfter(3))
    with pytest.raises(Interrupted):
        tables(stopping)
    pd.testing.assert_frame_equal(tables(dataclasses.replace(stopping, shared=Shared())), whole)
    assert whole["epoch"].nunique() == 2


@pytest.mark.slow
def test_auto_rgn_keeps_the_promises_of_a_method() -> None:
    schedule = SHORT.model_copy(update={"optimizer": "avagrad", "lr": 0.1})
    assert (
        len(check_method(fine_tune(layer_rates="auto_rgn", scope="head_then_all", schedule=schedule)))
        == 3 * 8
    )


def test_keeps_the_promises_of_a_method() -> None:
    clauses = check_method(fine_tune(scope="head_then_all"))
    assert len(clauses) == 3 * 8


@pytest.mark.slow
def test_keeps_its_promises_in_two_processes() -> None:
    assert "two processes" in check_method(fine_tune(), processes=True)[-1]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"scope": "head", "schedule": {"epochs": 1}}, True),
        ({"scope": "head", "schedule": {"epochs": 1}, "head_schedule": {"epochs": 1}}, False),
        ({"scope": "head_then_all", "schedule": {"epochs": 1}, "head_schedule": {"epochs": 1}}, False),
        ({"scope": "head"}, False),
    ],
)
def test_a_schedule_that_does_nothing_is_told(settings: dict[str, Any], told: bool) -> None:
    short = Run(device="cpu", progress=False, workers=0, limit=Limit(1, 1))
    method = resolve_method("fine_tune", settings)
    adapt(make_model("classify"), Task(target=make_cohort("classify")), method, short)
    assert [warning.startswith("schedule does nothing") for warning in short.shared.warnings] == [True] * told
