"""Colorization: what each step trains, where the module comes from, and what is shown of its colours."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.method import adapt
from medgraft.engine.predict import predict_labels
from medgraft.engine.randomness import seeded
from medgraft.engine.records import read_records
from medgraft.engine.run import Interrupted, Limit, Run, Shared
from medgraft.engine.schedule import Schedule
from medgraft.errors import ModelError, SettingsError
from medgraft.evidence import Evidence
from medgraft.images.pictures import side_by_side_with_difference
from medgraft.methods import Colorization, FineTune
from medgraft.methods.labelled.colorize import LearnedColours
from medgraft.models.colorization import DECONV, ColorU, PixelShuffle
from medgraft.models.colorized import Colorized, load_colorization, save_colorization
from medgraft.models.model import Model
from medgraft.models.regraft import regraft
from medgraft.models.storage import load_model
from medgraft.reports.pictures import recorded_pictures
from medgraft.reports.training import recorded_tables
from medgraft.testing import StopsAfter, check_method, make_cohort, make_model
from medgraft.types import Kind

SHORT = Schedule(epochs=2, steps_per_epoch=2, batch_size=8, lr=1e-2)


def colorization(**settings: Any) -> Colorization:
    network = {} if "start" in settings else {"width": 4, "blocks": 1, "depth": 2}
    schedules = {"step_one_schedule": SHORT, "schedule": SHORT}
    return Colorization(**network | schedules | {"augmentation": None} | settings)


def run(folder: Path | None = None, **options: Any) -> Run:
    return Run(folder, device="cpu", progress=False, **{"workers": 0, "select": "last"} | options)


def source_model(kind: Kind = "classify", channels: int = 3) -> Model:
    with seeded("source"):
        return make_model(kind, channels=channels)


def task(site: str = "B") -> Task:
    return Task(target=make_cohort("classify", site, patients=6))


def colorized(method: Colorization, model: Model | None = None, **options: Any) -> Colorized:
    adapted = adapt(model or source_model(), task(), method, run(**options))
    assert isinstance(adapted, Colorized)
    return adapted


def changed(first: dict[str, Tensor], second: dict[str, Tensor]) -> set[str]:
    assert first.keys() == second.keys()
    return {name for name in first if not torch.equal(first[name], second[name])}


# what is trained


@pytest.mark.parametrize("module", ["deconv", "pixel_shuffle", "color_u"])
def test_step_one_changes_no_tensor_of_the_backbone_but_its_head(module: str) -> None:
    source = source_model()
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    adapted = colorized(colorization(module=module, steps="module"))
    head = {"net.fc.weight", "net.fc.bias"}
    after = adapted.backbone.state_dict()
    assert any(name.endswith("running_mean") for name in before)
    assert {name: tensor.shape for name, tensor in after.items() if name not in head} == {
        name: tensor.shape for name, tensor in before.items() if name not in head
    }
    assert all(torch.equal(after[name], before[name]) for name in before if name not in head)
    images = torch.rand(2, 1, 32, 32)
    added = adapted.colorization.residual(images)
    assert added.abs().max() > 1e-4
    fresh = {"deconv": DECONV, "pixel_shuffle": PixelShuffle, "color_u": ColorU}[module]
    assert type(adapted.colorization) is fresh


def test_step_two_changes_every_tensor() -> None:
    one, two = colorized(colorization(steps="module")), colorized(colorization())
    still = set(one.state_dict()) - changed(one.state_dict(), two.state_dict())
    assert still == set()


def test_step_two_goes_on_from_step_one(tmp_path: Path) -> None:
    """With a rate too small to matter both steps end where the first one does, but for batch statistics."""
    crawl = Schedule(epochs=1, steps_per_epoch=1, batch_size=8, lr=1e-12, weight_decay=0)
    source = regraft(source_model(), task().classes)[0]
    save_colorization(colorized(colorization()), tmp_path / "start")  # so that nothing is left to chance
    settings = {"start": tmp_path / "start"}
    one = adapt(source, task(), colorization(**settings, steps="module"), run(path=("module",)))
    two = adapt(source, task(), colorization(**settings, schedule=crawl), run())
    parameters = dict(one.named_parameters())
    for name, parameter in two.named_parameters():
        torch.testing.assert_close(parameter, parameters[name], atol=1e-7, rtol=0)
    moved = changed(one.state_dict(), two.state_dict())
    assert any(name.startswith("backbone") and "running_mean" in name for name in moved)


def test_the_head_learns_faster_than_the_module_in_step_one() -> None:
    step = Schedule(epochs=1, steps_per_epoch=1, batch_size=8, lr=1e-3, optimizer="adam", weight_decay=0)
    settings = {"steps": "module", "step_one_schedule": step}
    slow = colorized(colorization(**settings, head_lr_factor=1.0))
    fast = colorized(colorization(**settings, head_lr_factor=10.0))
    start = colorized(colorization(steps="module", step_one_schedule=step.model_copy(update={"lr": 1e-12})))

    def moved(model: Colorized, name: str) -> float:
        return float((model.state_dict()[name] - start.state_dict()[name]).abs().mean())

    head, module = "backbone.net.fc.weight", "colorization.colours.weight"
    assert moved(fast, head) == pytest.approx(10 * moved(slow, head), rel=1e-3)
    assert moved(fast, module) == pytest.approx(moved(slow, module), rel=1e-5) and moved(slow, module) > 0


def test_without_colours_it_is_the_head_on_grey_replicated_to_three_channels() -> None:
    """The baseline's preparation gives the backbone the very input that an untrained module gives it."""
    cohort = task().target
    assert cohort is not None
    source = regraft(source_model(), cohort.classes)[0].eval()
    baseline = adapt(source, task(), FineTune(scope="head", head_schedule=SHORT), run())
    assert baseline.spec.channels == 3
    untrained = Colorized.around(baseline, DECONV(width=4, blocks=1)).eval()
    assert untrained.spec.preparation.channels == 1
    one, other = (predict_labels(model, cohort).probabilities for model in (baseline, untrained))
    np.testing.assert_array_equal(one, other)


# where the module comes from


def test_a_saved_module_is_taken_up_again(tmp_path: Path) -> None:
    first = colorized(colorization(module="color_u"))
    alone = save_colorization(first, tmp_path / "module")
    first.save(tmp_path / "model")
    still = Schedule(epochs=1, steps_per_epoch=1, batch_size=8, lr=1e-12, weight_decay=0)
    for folder in (alone, tmp_path / "model"):
        second = colorized(colorization(start=folder, steps="module", step_one_schedule=still))
        assert type(second.colorization) is ColorU
        weight = "unet.head.weight"
        torch.testing.assert_close(
            second.colorization.state_dict()[weight], first.colorization.state_dict()[weight]
        )


def test_a_folder_without_a_module_is_refused(tmp_path: Path) -> None:
    source_model().save(tmp_path / "other")
    with pytest.raises(
        ModelError, match="a colorization module, or a model that has one, but got a Classifier"
    ):
        colorized(colorization(start=tmp_path / "other"))


def test_a_saved_module_and_the_description_of_another_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="start names a network, and width describes another"):
        Colorization(start=tmp_path, width=8)


def test_a_chain_goes_on_with_module_and_backbone(tmp_path: Path) -> None:
    first = colorized(colorization(module="pixel_shuffle"))
    before = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    first.save(tmp_path / "A")
    still = Schedule(epochs=1, steps_per_epoch=1, batch_size=8, lr=1e-12, weight_decay=0)
    other = Task(target=three_classes(make_cohort("classify", "A", patients=9)))
    method = colorization(steps="module", step_one_schedule=still)
    second = adapt(load_model(tmp_path / "A"), other, method, run())
    assert isinstance(second, Colorized) and type(second.colorization) is PixelShuffle
    assert second.spec.classes == ("a", "b", "c")
    assert not changed(before, first.state_dict())
    for name, tensor in second.backbone.state_dict().items():
        if not name.startswith("net.fc"):
            assert torch.equal(tensor, before[f"backbone.{name}"])
    torch.testing.assert_close(
        second.colorization.state_dict()["colours.weight"], before["colorization.colours.weight"]
    )


def three_classes(cohort: Cohort) -> Cohort:
    images = np.stack([cohort.picture(number).array for number in range(len(cohort))])
    labels = np.arange(len(images)) // 2 % 3
    names = [f"p{number // 2}" for number in range(len(images))]
    return Cohort.from_arrays(images, labels, kind="classify", classes=("a", "b", "c"), patients=names)


def test_other_methods_take_up_a_colorized_model() -> None:
    first = colorized(colorization(steps="module"))
    second = adapt(first, task("A"), FineTune(schedule=SHORT, augmentation=None), run())
    assert isinstance(second, Colorized) and second.spec.channels == 1


def test_a_head_alone_is_trained_behind_a_module_that_stays() -> None:
    """The comparison for a module learned elsewhere: neither it nor the backbone changes, batch statistics included."""
    first = colorized(colorization(steps="module"))
    other = Task(target=three_classes(make_cohort("classify", "A", patients=9)))
    second = adapt(first, other, FineTune(scope="head", head_schedule=SHORT), run())
    after = second.state_dict()
    for name, tensor in first.state_dict().items():
        assert torch.equal(after[name], tensor) or name.startswith("backbone.net.fc")
    assert after["backbone.net.fc.weight"].shape[0] == 3


# refusals


def test_sources_of_one_channel_are_refused() -> None:
    with pytest.raises(
        ModelError, match=r"colour images \(3 channels\), but this one's images have 1\. Start"
    ):
        colorized(colorization(), source_model(channels=1))


def test_channels_may_not_be_changed() -> None:
    with pytest.raises(ModelError, match="three channels, but got Classifier for 1 channels"):
        colorized(colorization(preparation={"channels": 1}))


def test_balancing_needs_one_label_per_image() -> None:
    several = Task(target=make_cohort("multilabel"))
    with pytest.raises(SettingsError, match="one label per image, but the kind is 'multilabel'"):
        adapt(source_model("multilabel"), several, colorization(balanced=True), run())
    assert colorized(colorization(balanced=True, steps="module")).spec.kind == "classify"


# evidence


def test_colours_are_recorded_step_by_step(tmp_path: Path) -> None:
    adapted = adapt(source_model(), task(), colorization(), run(tmp_path))
    assert isinstance(adapted, Colorized)
    found = read_records(tmp_path)
    table, picture = (
        found.tables["deviation_from_grey"],
        found.images["learned_colours (grey, step one, step two, what was added, magnified)"],
    )
    assert table["step"].tolist() == ["before training", "step one", "step two"]
    assert table["images"].tolist() == [8, 8, 8]
    away = table["mean_absolute_deviation"].tolist()
    assert away[0] == 0 and away[1] > 0 and away[2] > 0 and away[1] != away[2]
    np.testing.assert_allclose(table[["red", "green", "blue"]].mean(axis=1), away)
    cohort = task().target
    assert cohort is not None
    images = run().loader(cohort.split("train"), adapted.spec.preparation)(np.arange(8)).images
    with torch.no_grad():
        by_hand = (adapted.colorization(images) - adapted.colorization.replicate(images)).abs().mean()
    assert away[2] == pytest.approx(float(by_hand), rel=1e-5)
    # four images below one another; three versions and a difference side by side
    assert picture.shape == (4 * 32 + 3 * 2, 4 * 32 + 3 * 2, 3) and picture.dtype == np.uint8
    grey, last = picture[:, :32], picture[:, 68:100]
    assert (grey == grey[..., :1]).all() and not (last == last[..., :1]).all()


def test_a_module_trained_before_is_shown_before_training_too() -> None:
    first = colorized(colorization(steps="module"))
    on = run()
    adapt(first, task(), colorization(steps="module"), on)
    table = on.shared.records.tables["deviation_from_grey"]
    assert table["step"].tolist() == ["before training", "step one"] and table["red"][0] > 0
    picture = on.shared.records.images[
        "learned_colours (grey, before training, step one, what was added, magnified)"
    ]
    assert picture.shape[1] == 4 * 32 + 3 * 2


def test_the_report_shows_picture_and_table() -> None:
    on = run()
    adapt(source_model(), task(), colorization(steps="module"), on)
    evidence = Evidence(tables=on.shared.records.tables, images=on.shared.records.images)
    assert [name for name, _ in recorded_pictures(evidence)] == [
        "learned_colours (grey, step one, what was added, magnified)"
    ]
    assert "deviation_from_grey" in [view.title for view in recorded_tables(evidence)]


def test_a_row_of_the_picture_has_one_scale() -> None:
    grey = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).repeat(1, 3, 1, 1)
    picture = side_by_side_with_difference([grey, 2 * grey, 0 * grey])
    shown, difference = picture[0, :10, 0].tolist(), picture[0, 12:, 0].tolist()
    assert shown == [0, 128, 255, 255, 0, 255, 255, 255, 0, 0]
    assert difference == [128, 0]  # nothing is mid-grey; the second pixel lost most
    assert side_by_side_with_difference([torch.zeros(1, 3, 200, 100)]).shape == (96, 48 + 2 + 48, 3)


def test_looking_changes_nothing() -> None:
    module = DECONV(width=4, blocks=1).train()
    cohort = task().target
    assert cohort is not None
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    colours = LearnedColours(module, run().loader(cohort, module.spec.preparation), run())
    colours.look("again")
    assert module.training and not changed(before, module.state_dict())
    assert list(colours.columns) == ["grey", "again"]


# promises


def test_a_run_interrupted_in_either_step_ends_with_the_same_weights_and_evidence(tmp_path: Path) -> None:
    whole, on = None, run(tmp_path / "whole", checkpoint_seconds=0)
    whole = adapt(source_model(), task(), colorization(), on)
    for stop_after in (3, 6):  # four steps each
        folder = tmp_path / str(stop_after)
        stopping = run(folder, checkpoint_seconds=0, shared=StopsAfter(stop_after))
        with pytest.raises(Interrupted):
            adapt(source_model(), task(), colorization(), stopping)
        resumed_run = dataclasses.replace(stopping, shared=Shared())
        resumed = adapt(source_model(), task(), colorization(), resumed_run)
        assert not changed(whole.state_dict(), resumed.state_dict())
        one, two = (read_records(path).images for path in (tmp_path / "whole", folder))
        assert one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


def test_a_loaded_model_predicts_the_same(tmp_path: Path) -> None:
    adapted, cohort = colorized(colorization()), task().target
    assert cohort is not None
    adapted.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    one, two = (predict_labels(model, cohort).probabilities for model in (adapted, loaded))
    assert np.array_equal(one, two)
    assert torch.equal(
        load_colorization(tmp_path / "model").state_dict()["colours.weight"],
        adapted.colorization.state_dict()["colours.weight"],
    )


@pytest.mark.slow
@pytest.mark.parametrize("module", ["deconv", "pixel_shuffle"])
def test_it_keeps_every_promise(module: str) -> None:
    assert len(check_method(colorization(module=module))) == 24


def test_a_limit_cuts_both_steps() -> None:
    on = run(limit=Limit(epochs=1, steps=1))
    adapt(source_model(), task(), colorization(), on)
    assert on.shared.records.tables["module/history"]["step"].tolist() == [1]
    assert on.shared.records.tables["history"]["step"].tolist() == [1]


@pytest.mark.slow
def test_two_processes_train_as_one_would() -> None:
    assert "two processes" in check_method(colorization(module="color_u"), processes=True)[-1]
