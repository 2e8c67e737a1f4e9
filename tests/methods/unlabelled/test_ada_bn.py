"""AdaBN: statistics against a forward pass by hand, and everything else as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.batch_stats import batch_norms
from medgraft.engine.loading import Loader
from medgraft.engine.method import adapt, adapt_verbosely, withhold
from medgraft.engine.patches import Patches
from medgraft.engine.predict import predict_masks
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.engine.supervised import draw_batches
from medgraft.errors import DataError, ModelError, NeedError
from medgraft.methods import AdaBN
from medgraft.methods.unlabelled.ada_bn import compare_batch_stats
from medgraft.models.model import Model
from medgraft.models.spec import ModelSpec
from medgraft.models.unet import UNet
from medgraft.models.weights import hash_weights
from medgraft.testing import check_method, make_cohort, make_model
from medgraft.types import Kind, Preparation

SHUFFLE = "batch statistics"


def run(**options: object) -> Run:
    return Run(device="cpu", progress=False, workers=0, **options)  # type: ignore[arg-type]


def source_model(kind: Kind, **options: object) -> Model:
    with seeded("source"):
        return make_model(kind, **options)  # type: ignore[arg-type]


def images_of(model: Model, cohort: Cohort) -> Tensor:
    return Loader(cohort, model.spec.preparation)(range(len(cohort))).images


def moments_by_hand(model: Model, batch: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Mean and variance of what enters every batch norm when one batch goes through it in training mode."""
    found: list[tuple[Tensor, Tensor]] = []

    def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].detach().double().movedim(1, 0).flatten(1)
        mean = values.sum(dim=1) / values.shape[1]
        found.append((mean, (values - mean[:, None]).square().sum(dim=1) / (values.shape[1] - 1)))

    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hooks = [norm.register_forward_pre_hook(look) for norm in batch_norms(model)]
    model.train()(batch)
    for hook in hooks:
        hook.remove()
    model.load_state_dict(state)
    return found


def assert_statistics(adapted: Model, of_batches: list[list[tuple[Tensor, Tensor]]]) -> None:
    """Running statistics are the plain means over batches, in every layer."""
    for norm, moments in zip(batch_norms(adapted), zip(*of_batches, strict=True), strict=True):
        for running, values in zip((norm.running_mean, norm.running_var), zip(*moments), strict=True):
            assert running is not None
            torch.testing.assert_close(
                running.double(), torch.stack(values).mean(dim=0), rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("kind", ["classify", "segment"])
def test_statistics_are_those_of_one_big_batch(kind: Kind) -> None:
    model, target = source_model(kind), make_cohort(kind, "B").split("train").take(range(10))
    adapted = AdaBN(batch_size=10).adapt(model, Task(target=target), run())
    assert_statistics(adapted, [moments_by_hand(model, images_of(model, target))])


@pytest.mark.parametrize("passes", [1, 3])
def test_statistics_of_unequal_batches_are_means_over_batches(passes: int) -> None:
    model, target = source_model("segment"), make_cohort("segment", "B").split("train").take(range(5))
    adapted = AdaBN(batch_size=3, passes=passes).adapt(model, Task(target=target), run(seed=4))
    images, drawn = images_of(model, target), run(seed=4).generator(SHUFFLE)
    batches = [rows for _ in range(passes) for rows in draw_batches(5, 3, drawn)]
    assert [len(rows) for rows in batches] == [3, 2] * passes
    assert_statistics(adapted, [moments_by_hand(model, images[rows]) for rows in batches])
    if passes > 1:
        assert len({tuple(rows) for rows in batches}) > 2


def test_statistics_of_volumes_without_masks_are_those_of_drawn_slices() -> None:
    rng = np.random.default_rng(0)
    volumes = rng.normal(size=(3, 6, 20, 16, 1)).astype(np.float32)
    target = Cohort.from_arrays(volumes, kind="segment", patients=["a", "a", "b"])
    model = source_model("segment")
    adapted = AdaBN(batch_size=9).adapt(model, Task(target=target), run())
    slices, drawn = Patches(target, model.spec.preparation), run().generator(SHUFFLE)
    batches = [slices(rows, drawn) for rows in draw_batches(18, 9, drawn, weights=slices.weights)]
    assert len(batches) == 2 and all(batch.truth is None for batch in batches)
    assert_statistics(adapted, [moments_by_hand(model, batch.images) for batch in batches])


def test_three_dimensional_networks_see_volumes() -> None:
    volumes = np.random.default_rng(0).normal(size=(3, 8, 20, 16, 1)).astype(np.float32)
    target = Cohort.from_arrays(volumes, kind="segment")
    preparation = Preparation(dimensions=3, channels=1, intensity="zscore")
    spec = ModelSpec(kind="segment", classes=("rest", "lesion"), channels=1, preparation=preparation)
    with seeded("source"):
        model = UNet(spec, width=4, depth=2)
    adapted = AdaBN(batch_size=3).adapt(model, Task(target=target), run())
    rows = Patches(target, preparation)
    drawn = run().generator(SHUFFLE)
    (chosen,) = draw_batches(3, 3, drawn, weights=rows.weights)
    assert_statistics(adapted, [moments_by_hand(model, rows(chosen, drawn).images)])


def test_weights_stay_bit_for_bit_and_predictions_change() -> None:
    model, target = source_model("segment"), make_cohort("segment", "B")
    result = adapt_verbosely(model, Task(target=target), AdaBN(batch_size=4), run())
    adapted = result.model
    assert result.selection == "none"  # nothing was trained, so no epoch was chosen
    assert adapted.spec == model.spec
    for name, weight in model.named_parameters():
        assert torch.equal(weight, adapted.get_parameter(name))
    for norm, before in zip(batch_norms(adapted), batch_norms(model), strict=True):
        assert norm.momentum == before.momentum and not norm.training
        assert not torch.equal(norm.running_mean, before.running_mean)  # type: ignore[arg-type]
    told = [mask.confidence for mask in predict_masks(model, target)]
    assert not np.allclose(told, [mask.confidence for mask in predict_masks(adapted, target)], atol=1e-3)


def test_the_same_run_gives_the_same_bytes_and_another_seed_others() -> None:
    model, task = source_model("segment"), Task(target=make_cohort("segment", "B"))
    hashes = [hash_weights(adapt(model, task, AdaBN(batch_size=4), run(seed=seed))) for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_only_training_images_count() -> None:
    target = make_cohort("classify", "B")
    model = source_model("classify")
    given = withhold(Task(target=target), AdaBN().needs)
    whole = adapt(model, Task(target=target), AdaBN(), run())
    assert given.target is not None and given.target.fields == {"images", "patients"}
    only = Cohort.from_arrays(
        np.stack([target.split("train").picture(row).array for row in range(16)]), kind="classify"
    )
    assert hash_weights(adapt(model, Task(target=only), AdaBN(), run())) == hash_weights(whole)


def test_dropout_stays_off() -> None:
    model, task = source_model("segment"), Task(target=make_cohort("segment", "B"))
    plain = AdaBN().adapt(model, task, run())
    first = model.get_submodule("encoder1.first")
    model.get_submodule("encoder1").add_module("first", nn.Sequential(first, nn.Dropout(0.9)))
    dropping = AdaBN().adapt(model.train(), task, run())
    for one, other in zip(batch_norms(plain), batch_norms(dropping), strict=True):
        assert torch.equal(one.running_mean, other.running_mean)  # type: ignore[arg-type]


def test_the_distance_of_statistics_is_recorded_by_layer() -> None:
    model, with_table = source_model("segment"), run()
    adapted = adapt(model, Task(target=make_cohort("segment", "B")), AdaBN(), with_table)
    table = with_table.shared.records.tables["batch_statistics"]
    names = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert table["layer"].tolist() == names and names[0] == "encoder1.first_norm"
    for row, one, other in zip(
        table.to_dict("records"), batch_norms(model), batch_norms(adapted), strict=True
    ):
        means = [norm.running_mean.double() for norm in (one, other)]  # type: ignore[union-attr]
        variances = [norm.running_var.double() + 1e-5 for norm in (one, other)]  # type: ignore[union-attr]
        source, target = (Normal(mean, variance.sqrt()) for mean, variance in zip(means, variances))
        assert row["channels"] == len(means[0])
        assert row["divergence"] == pytest.approx(kl_divergence(target, source).mean().item())
        distance = (means[1] - means[0]) ** 2 / variances[0]
        assert row["mean_distance"] == pytest.approx(distance.mean().item())
        ratio = np.log(variances[1].numpy() / variances[0].numpy()).mean()
        assert row["log_variance_ratio"] == pytest.approx(ratio)


def test_distances_equal_a_number_worked_by_hand() -> None:
    model, other = source_model("segment"), source_model("segment")
    norm = batch_norms(other)[0]
    norm.running_mean.fill_(2.0)  # type: ignore[union-attr]
    norm.running_var.fill_(4.0)  # type: ignore[union-attr]
    first, *rest = compare_batch_stats(model, other)  # a new norm has mean 0, variance 1
    assert first.mean_distance == pytest.approx(4.0, rel=1e-4)
    assert first.log_variance_ratio == pytest.approx(np.log(4), rel=1e-4)
    assert first.divergence == pytest.approx((4 - 1 - np.log(4) + 4) / 2, rel=1e-4)
    assert all(shift[2:] == (0, 0, 0) for shift in rest)


def test_what_has_no_statistics_or_another_kind_is_refused() -> None:
    target = make_cohort("segment", "B")
    with pytest.raises(ModelError, match="batch norm that keeps running statistics, but this one has none"):
        adapt(source_model("segment", norm="instance"), Task(target=target), AdaBN(), run())
    with pytest.raises(ModelError, match="kind of task, 'segment', but this one's kind is 'classify'"):
        adapt(source_model("classify"), Task(target=target), AdaBN(), run())


def test_images_without_annotation_have_to_be_told_what_is_sought() -> None:
    images = np.zeros((4, 32, 32, 1), np.uint8)
    unknown = Cohort.from_arrays(images, kind="encode")
    with pytest.raises(NeedError, match="--kind segment"):
        adapt(source_model("segment"), Task(target=unknown), AdaBN(), run())


def test_the_statistics_of_a_single_image_come_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    few = make_cohort("segment", "B").split("train")
    model = source_model("segment")
    AdaBN().adapt(model, Task(target=few.take([0, 1])), run())
    assert not caplog.records
    AdaBN().adapt(model, Task(target=few.take([0])), run())
    (told,) = caplog.messages
    assert "a single image" in told


def test_a_batch_that_gives_a_layer_one_value_is_refused() -> None:
    one = make_cohort("classify", "B").split("train").take([0])
    model = source_model("classify")
    with pytest.raises(DataError, match="more than one value per channel"):
        AdaBN().adapt(model, Task(target=one), run())


def test_keeps_the_promises_of_a_method() -> None:
    assert len(check_method(AdaBN(batch_size=8))) == 3 * 8
