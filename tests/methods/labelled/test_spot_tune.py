from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.method import adapt
from medgraft.engine.patches import Patches
from medgraft.engine.predict import predict_masks
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.errors import ModelError, NeedError
from medgraft.methods import SpotTUNet
from medgraft.methods.labelled.spot_tune import SpotTuning, new_layers, policy_table, tuned_shares
from medgraft.models.layers import find_layers
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model
from medgraft.models.simple import SimpleClassifier
from medgraft.models.spec import ModelSpec
from medgraft.models.spot_tuned import SpotTuned
from medgraft.models.storage import load_model
from medgraft.models.unet import UNet
from medgraft.testing import check_method, make_cohort, make_model
from medgraft.types import Kind, Preparation, Progress, Step

SHORT = Schedule(epochs=3, steps_per_epoch=4, batch_size=8)


def quiet() -> Run:
    return Run(device="cpu", progress=False, select="last")


def source(kind: Kind) -> Model:
    with seeded("source"):
        return make_model(kind)


def tune(kind: Kind, method: SpotTUNet, run: Run | None = None) -> SpotTuned:
    adapted = adapt(source(kind), Task(target=make_cohort(kind, "B")), method, run or quiet())
    assert isinstance(adapted, SpotTuned)
    return adapted


def objective_of(method: SpotTUNet) -> tuple[SpotTuning, Step]:
    """An objective over the made-up site, and one of its steps."""
    target, run = make_cohort("segment", "B").split("train"), quiet()
    with seeded("policy"):
        network = source("segment")
        model = SpotTuned(network.spec, network, policy_width=4)
    loader = run.loader(target, model.spec.preparation)
    objective = SpotTuning(model, loader, build_loss(LossSettings.default("segment"), "segment"), method)
    steps = list(objective.batches(Progress(0, 3), run))
    assert len(steps) == 4
    return objective, steps[0]


def choosing(model: SpotTuned, frozen: Tensor) -> None:
    """Make the policy network choose the same for every image, whatever it sees."""
    with torch.no_grad():
        model.policy_network.choice.weight.zero_()
        model.policy_network.choice.bias.copy_(torch.stack([-frozen, frozen], dim=1).flatten())


def test_the_penalty_is_the_share_of_layers_that_are_tuned() -> None:
    """Worked by hand: 3 of 13 layers are tuned for every image, and k is 0.5."""
    objective, step = objective_of(SpotTUNet(regularisation=0.5, schedule=SHORT))
    frozen = torch.full((13,), 100.0)
    frozen[[0, 4, 12]] = -100.0  # noise of a few units changes nothing
    choosing(objective.model, frozen)
    objective.eval()
    loss = objective.loss(step, "main", Progress(0, 3))
    assert loss.parts["penalty"].item() == pytest.approx(0.5 * 3 / 13)
    images, truth = step.tensors["images"], step.tensors["truth"]
    without = objective.criterion(objective.model(images), truth)
    assert loss.total.item() == pytest.approx(without.item() + 0.5 * 3 / 13, rel=1e-6)
    tuned = [name.removeprefix("tuned ") for name, share in loss.parts.items() if name != "penalty" and share]
    assert tuned == [objective.model.layers[index].name for index in (0, 4, 12)]


def test_the_loss_and_its_gradients_are_those_of_the_published_formulas() -> None:
    """Written naively: one Gumbel-softmax per image and layer, and choices forced upon the network image by image."""
    method = SpotTUNet(regularisation=0.3, temperature=0.7, schedule=SHORT)
    objective, step = objective_of(method)
    objective.eval()  # in training mode batch norm would join the images
    model, noise = objective.model, step.tensors["noise"]
    with torch.no_grad():
        model.tuned.get_parameter("bottleneck.first.weight").mul_(1.5)
    choice = model.policy_network.choice.weight
    total = objective.loss(step, "main", Progress(0, 3)).total
    found = torch.autograd.grad(total, choice)[0]

    logits = model.policy_logits(step.tensors["images"])
    soft = ((logits + noise) / 0.7).softmax(dim=2)[..., 1]
    hard = ((logits + noise).argmax(dim=2) == 1).float()
    probe = hard.clone().requires_grad_()
    outputs = [
        model.outputs_under(image[None], row[None]) for image, row in zip(step.tensors["images"], probe)
    ]
    expected = (
        objective.criterion(torch.cat(outputs), step.tensors["truth"])
        + 0.3 * (1 - probe).sum() / probe.numel()
    )
    assert 0 < hard.mean() < 1
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    slope = torch.autograd.grad(expected, probe)[0]
    torch.testing.assert_close(
        found, torch.autograd.grad((soft * slope).sum(), choice)[0], rtol=1e-3, atol=1e-6
    )


def test_both_copies_start_as_the_source_and_only_one_is_trained() -> None:
    run = quiet()
    adapted = tune("segment", SpotTUNet(schedule=SHORT, policy_width=4), run)
    start = source("segment").state_dict()
    for name, tensor in adapted.source.state_dict().items():
        assert torch.equal(tensor, start[name]), name  # batch statistics among them
    moved = [
        name for name, tensor in adapted.tuned.state_dict().items() if not torch.equal(tensor, start[name])
    ]
    assert {"encoder1.first.weight", "encoder1.first_norm.running_mean", "head.weight"} <= set(moved)


def test_only_layers_with_new_weights_have_no_frozen_copy() -> None:
    same, other = tune("segment", SpotTUNet(schedule=SHORT, policy_width=4)), tune(
        "classify", SpotTUNet(schedule=SHORT, policy_width=4)
    )  # fmt: skip
    assert same.always_tuned == () and same.layers == find_layers(same.tuned)
    assert other.always_tuned == ("net.fc",)
    assert new_layers(same.tuned, ["encoder2.second_norm.bias"]) == ["encoder2.second"]


def test_a_high_price_freezes_everything_and_gives_the_source_bit_for_bit() -> None:
    schedule = Schedule(epochs=4, steps_per_epoch=6, batch_size=8, shape="constant")
    target = make_cohort("segment", "B")
    run = quiet()
    method = SpotTUNet(regularisation=50.0, schedule=schedule, policy_width=4, policy_lr=0.1)
    adapted = tune("segment", method, run)
    assert (run.shared.records.tables["policy"]["tuned"] == 0).all()
    by_epoch = run.shared.records.tables["policy_by_epoch"].groupby("epoch")["tuned"].mean()
    assert by_epoch[0] > 0.1 and by_epoch[3] < 0.02
    images = target.split("test")
    loader = run.loader(images, adapted.spec.preparation)(np.arange(len(images))).images
    assert torch.equal(adapted.predict(loader).outputs, source("segment").predict(loader).outputs)


def test_the_policy_is_that_of_the_training_images() -> None:
    run = quiet()
    adapted = tune("segment", SpotTUNet(schedule=SHORT, policy_width=4), run)
    target = make_cohort("segment", "B").split("train")
    images = run.loader(target, adapted.spec.preparation)(np.arange(len(target))).images
    expected = torch.stack([1 - adapted.policy(image[None])[0] for image in images]).double().mean(dim=0)
    table = run.shared.records.tables["policy"]
    assert table["tuned"].tolist() == pytest.approx(expected.tolist())
    assert table["layer"].tolist() == [layer.name for layer in adapted.layers]
    assert table["block"].drop_duplicates().tolist() == list(source("segment").blocks())
    assert table["level"].tolist() == [1, 1, 2, 2, 3, 3, 2, 2, 2, 1, 1, 1, 1]


def test_what_was_drawn_stands_in_the_table_epoch_by_epoch() -> None:
    run = quiet()
    adapted = tune("segment", SpotTUNet(schedule=SHORT, policy_width=4), run)
    history, table = (run.shared.records.tables[name] for name in ("history", "policy_by_epoch"))
    assert len(table) == 3 * len(adapted.layers) and table["tuned"].between(0, 1).all()
    second = table[(table["epoch"] == 1) & (table["layer"] == "bottleneck.first")]["tuned"].item()
    assert second == history["tuned bottleneck.first"][1]
    shares = history.filter(like="tuned ").mean(axis=1)
    assert history["penalty"].tolist() == pytest.approx((0.005 * shares).tolist())


def test_layers_that_are_always_tuned_stand_in_the_policy_as_such() -> None:
    network = source("segment")
    model = SpotTuned(network.spec, network, always_tuned=["head", "encoder1.first"], policy_width=4)
    table = policy_table(model, torch.linspace(0, 0.5, 11))
    assert table["tuned"].iloc[[0, 1, 12]].tolist() == [1.0, 0.0, 1.0]


def test_the_policy_of_patches_is_measured_on_patches() -> None:
    network = source("segment")
    model = SpotTuned(network.spec, network, policy_width=4)
    frozen = torch.full((13,), 1.0)
    frozen[3] = -1.0
    choosing(model, frozen)
    preparation = model.spec.preparation.model_copy(update={"patch": (16, 16)})
    patches = Patches(make_cohort("segment", "B"), preparation, foreground=0.5)
    shares = tuned_shares(model, patches, torch.Generator().manual_seed(0), batch_size=7)
    assert shares.tolist() == [float(index == 3) for index in range(13)]


def test_volumes_are_chosen_for_window_by_window() -> None:
    """And a policy that freezes everything segments whole volumes as the source does."""
    random = np.random.default_rng(0)
    masks = np.zeros((4, 8, 24, 24), np.uint8)
    masks[:, 2:6, 8:16, 8:16] = 1
    images = (random.normal(60, 8, masks.shape) + 50 * masks).clip(0, 255).astype(np.uint8)[..., None]
    cohort = Cohort.from_arrays(
        images, masks, kind="segment", classes=("rest", "ball"), patients=["a", "b", "c", "d"]
    )
    preparation = Preparation(dimensions=3, channels=1, patch=(4, 16, 16))
    spec = ModelSpec(kind="segment", classes=("rest", "ball"), channels=1, preparation=preparation)
    with seeded("source"):
        network = UNet(spec, width=4, depth=2)
    run = quiet()
    adapted = adapt(network, Task(target=cohort), SpotTUNet(schedule=SHORT, policy_width=4), run)
    assert isinstance(adapted, SpotTuned) and len(run.shared.records.tables["policy"]) == 13
    choosing(adapted, torch.ones(13))
    for found, expected in zip(predict_masks(adapted, cohort), predict_masks(network, cohort), strict=True):
        assert np.array_equal(found.confidence, expected.confidence)


def test_avagrad_trains_the_copy_and_sgd_the_choice() -> None:
    """As in the publication that compares the policies of the two."""
    schedule = Schedule(epochs=2, batch_size=8, optimizer="avagrad", lr=0.5)
    sgd, avagrad = (
        tune("segment", SpotTUNet(schedule=one, policy_width=4, regularisation=0.0)).tuned.state_dict()
        for one in (schedule.model_copy(update={"optimizer": "sgd"}), schedule)
    )
    assert not torch.equal(sgd["head.weight"], avagrad["head.weight"])
    assert not torch.equal(avagrad["head.weight"], source("segment").state_dict()["head.weight"])


def test_the_two_parts_have_their_own_rates() -> None:
    objective, _ = objective_of(SpotTUNet(schedule=SHORT))
    tuned, policy = objective.groups("main")
    assert (tuned.lr_factor, tuned.weight_decay, tuned.optimizer) == (1.0, None, None)
    assert policy[1:] == (10.0, 1e-3, "sgd")
    held = {id(parameter) for group in (tuned, policy) for parameter in group.parameters}
    model = objective.model
    assert held == {id(p) for part in (model.tuned, model.policy_network) for p in part.parameters()}


def test_the_schedule_is_the_published_one_where_it_is_silent() -> None:
    default = SpotTUNet().schedule
    assert (default.epochs, default.batch_size, default.lr, default.momentum) == (60, 16, 1e-3, 0.9)
    assert [round(default.learning_rate(epoch), 6) for epoch in (0, 44, 45, 59)] == [1e-3, 1e-3, 1e-4, 1e-4]
    for schedule in (default, SpotTUNet(schedule=Schedule(epochs=3)).schedule):
        assert (schedule.optimizer, schedule.nesterov, schedule.weight_decay) == ("sgd", True, 0.0)
    named = SpotTUNet(
        schedule=Schedule(optimizer="avagrad", lr=1.0, weight_decay=0.1, shape="cosine")
    ).schedule
    assert (named.optimizer, named.weight_decay, named.shape) == ("avagrad", 0.1, "cosine")
    assert SpotTUNet.model_validate(SpotTUNet().model_dump()) == SpotTUNet()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"temperature": 0}, "greater than 0"),
        ({"regularisation": -1}, "greater than or equal to 0"),
        ({"policy_width": 0}, "greater than or equal to 1"),
        ({"policy_optimizer": "avagrad"}, "'sgd' or 'adam'"),
        ({"k": 1}, "not permitted"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SpotTUNet.model_validate(settings)


def test_models_without_layers_to_choose_and_tasks_without_truth_are_refused() -> None:
    simple = SimpleClassifier(ModelSpec(classes=("small", "large")), "colour")
    with pytest.raises(ModelError, match="needs a U-Net or a timm network as its source, but got a Simple"):
        adapt(simple, Task(target=make_cohort("classify", "B")), SpotTUNet(schedule=SHORT), quiet())
    unlabelled = make_cohort("segment", "B").only({"images", "patients"})
    with pytest.raises(NeedError, match=r"target\.truth"):
        adapt(source("segment"), Task(target=unlabelled), SpotTUNet(schedule=SHORT), quiet())


def test_a_second_choice_on_top_is_refused() -> None:
    adapted = tune("segment", SpotTUNet(schedule=SHORT, policy_width=4))
    with pytest.raises(ModelError, match="a U-Net or a timm network as its source, but got a SpotTuned"):
        adapt(adapted, Task(target=make_cohort("segment", "B")), SpotTUNet(schedule=SHORT), quiet())


def test_the_records_and_the_model_outlive_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", device="cpu", progress=False, select="last")
    adapted = tune("classify", SpotTUNet(schedule=SHORT, policy_width=4), run)
    assert {path.stem for path in (tmp_path / "run" / "records").iterdir()} >= {"policy", "policy_by_epoch"}
    adapted.save(tmp_path / "model")
    loaded, images = load_model(tmp_path / "model"), torch.rand(3, 1, 32, 32)
    assert torch.equal(loaded.predict(images).outputs, adapted.predict(images).outputs)


@pytest.mark.parametrize("policy_optimizer", ["sgd", pytest.param("adam", marks=pytest.mark.slow)])
def test_keeps_the_promises_of_a_method(policy_optimizer: str) -> None:
    """With another optimiser there are two of them, and both are resumed exactly."""
    schedule = Schedule(epochs=2, batch_size=8)
    method = SpotTUNet.model_validate(
        {"schedule": schedule, "policy_width": 4, "policy_optimizer": policy_optimizer}
    )
    assert len(check_method(method)) == 3 * 8


@pytest.mark.slow
def test_keeps_its_promises_in_two_processes() -> None:
    method = SpotTUNet(schedule=Schedule(epochs=2, batch_size=8), policy_width=4)
    assert "two processes agree from run to run" in check_method(method, processes=True)[-1]
