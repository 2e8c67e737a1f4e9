"""Methods of other packages: found by entry point, kept apart, and explained when they are broken."""

from __future__ import annotations

import logging
import sys
import tomllib
from importlib.metadata import EntryPoint, PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medgraft import Run, Task, adapt, plugins
from medgraft.engine.features import extract_features
from medgraft.engine.schedule import Schedule
from medgraft.errors import SettingsError
from medgraft.testing import check_method, make_cohort, make_model

EXAMPLE = Path(__file__).parent / "plugin_example"


def installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def entry_point(name: str, value: str, package: str) -> EntryPoint:
    point = EntryPoint(name, value, "medgraft.methods")
    vars(point)["dist"] = SimpleNamespace(name=package)
    return point


@pytest.fixture
def offer(monkeypatch):
    """Pretend that packages with these entry points are installed, and no others."""

    def pretend(*points: EntryPoint) -> None:
        monkeypatch.setattr(
            plugins, "entry_points", lambda *, group: [point for point in points if point.group == group]
        )

    return pretend


@pytest.fixture
def example(monkeypatch, offer):
    """The example package, on the path and offered by the entry point that its pyproject names."""
    monkeypatch.syspath_prepend(str(EXAMPLE / "src"))
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    ((name, value),) = project["entry-points"]["medgraft.methods"].items()
    offer(entry_point(name, value, project["name"]))
    return plugins.methods()["nearest_mean"]


@pytest.mark.skipif(
    not installed("medgraft-plugin-example"), reason="pip install --no-deps ./tests/plugin_example first"
)
def test_an_installed_method_is_found_by_its_entry_point():
    found = plugins.find_plugins("methods")["nearest_mean"]
    assert found.owner == "medgraft-plugin-example"
    assert plugins.resolve_method("nearest_mean", {"temperature": "2"}).temperature == 2


def test_the_example_is_found_beside_ours(example):
    assert sorted(plugins.methods()) == [
        "ada_bn",
        "adapt_seg_net",
        "aiva",
        "barlow_twins",
        "clgr",
        "colorization",
        "dscsi_gan",
        "erm",
        "fine_tune",
        "fourier",
        "l2_sp",
        "lntl",
        "mmtl",
        "moco_v2",
        "moco_v3",
        "nearest_mean",
        "normalise_stain",
        "octl",
        "popar",
        "seg_jdot",
        "simmim",
        "simple_baseline",
        "simsiam",
        "spottunet",
        "stain_aglr",
        "stst",
        "tabe",
    ]
    assert plugins.resolve_method("nearest_mean", {"temperature": 3}).temperature == 3
    assert plugins.setting_docs(example)["temperature"].startswith("Larger values")


def test_the_example_keeps_every_promise(example):
    assert len(check_method(example())) == 8


def test_the_example_answers_with_the_nearest_mean(example):
    cohort, model = make_cohort("classify"), make_model("classify")
    adapted = adapt(model, Task(target=cohort), example(temperature=2.0), Run(device="cpu"))
    train, test = cohort.split("train"), cohort.split("test")
    features, labels = extract_features(model, train).double().numpy(), train.labels
    means = [features[labels == index].mean(0) for index in (0, 1)]
    within = np.mean([(row - means[label]) ** 2 for row, label in zip(features, labels)])
    seen = extract_features(model, test).double().numpy()
    distances = np.array([[((row - mean) ** 2).sum() for mean in means] for row in seen])
    expected = torch.from_numpy(-distances / (2 * 2.0 * within)).softmax(1).numpy()
    images = test.load(np.arange(len(test)), _preparer(adapted)).images
    np.testing.assert_allclose(adapted.predict(images).probabilities, expected, atol=1e-4)


def _preparer(model):
    from medgraft.images.preparation import Preparer

    return Preparer(model.spec.preparation)


def test_a_class_without_rows_is_never_the_answer(example):
    head_of_means = sys.modules[example.__module__].head_of_means
    weight, bias = head_of_means(torch.ones(2, 3), torch.tensor([0, 2]), 3)
    outputs = torch.ones(1, 3) @ weight.T + bias
    assert outputs.softmax(1)[0].tolist() == [0.5, 0.0, 0.5]


def test_a_broken_package_leaves_the_others_alone_and_is_reported(offer, caplog):
    offer(entry_point("broken", "no_such_package_anywhere:Method", "rotten-plugin"))
    with caplog.at_level(logging.WARNING):
        found = plugins.methods()
    assert sorted(found) == [
        "ada_bn",
        "adapt_seg_net",
        "aiva",
        "barlow_twins",
        "clgr",
        "colorization",
        "dscsi_gan",
        "erm",
        "fine_tune",
        "fourier",
        "l2_sp",
        "lntl",
        "mmtl",
        "moco_v2",
        "moco_v3",
        "normalise_stain",
        "octl",
        "popar",
        "seg_jdot",
        "simmim",
        "simple_baseline",
        "simsiam",
        "spottunet",
        "stain_aglr",
        "stst",
        "tabe",
    ]
    assert "'broken' of rotten-plugin" in caplog.text
    assert plugins.resolve_method("fine_tune").name == "fine_tune"
    with pytest.raises(SettingsError, match=r"ModuleNotFoundError.* Mend or uninstall rotten-plugin\."):
        plugins.resolve_method("broken")


def test_a_package_may_fail_to_import_in_any_way(offer, tmp_path, monkeypatch):
    (tmp_path / "raises_at_import.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    offer(entry_point("broken", "raises_at_import:Method", "rotten-plugin"))
    assert "broken" not in plugins.methods()


def test_what_is_not_a_method_is_said_to_lack_something(offer):
    offer(entry_point("counter", "collections:Counter", "counting"))
    with pytest.raises(SettingsError, match="it lacks name, kinds, needs, adapt"):
        plugins.resolve_method("counter")


def test_a_name_clash_names_both_owners(offer):
    offer(entry_point("fine_tune", "collections:Counter", "copycat"))
    with pytest.raises(SettingsError, match="'fine_tune' belongs to medgraft and to copycat"):
        plugins.find_plugins("methods")


def test_a_clash_of_two_other_packages_is_refused_too(offer):
    offer(entry_point("same", "a:A", "first"), entry_point("same", "b:B", "second"))
    with pytest.raises(SettingsError, match="'same' belongs to first and to second"):
        plugins.resolve_method("fine_tune")


def test_a_package_seen_twice_does_not_clash_with_itself(offer):
    offer(entry_point("same", "a:A", "first"), entry_point("same", "a:A", "first"))
    assert plugins.find_plugins("methods")["same"].owner == "first"


def test_finding_imports_nothing(offer):
    offer(entry_point("broken", "no_such_package_anywhere:Method", "rotten-plugin"))
    assert "broken" in plugins.find_plugins("methods")
    assert "no_such_package_anywhere" not in sys.modules


def test_readers_and_models_are_imported_once_and_a_failure_is_logged(monkeypatch, caplog):
    loads = []
    good = SimpleNamespace(
        name="good", value="x:X", dist=SimpleNamespace(name="p"), load=lambda: loads.append(1)
    )
    bad = SimpleNamespace(name="bad", value="x:X", dist=SimpleNamespace(name="q"), load=lambda: 1 / 0)
    offered = {"medgraft.readers": [bad], "medgraft.models": [good]}
    monkeypatch.setattr(plugins, "entry_points", lambda *, group: offered.get(group, []))
    plugins.activate.cache_clear()
    with caplog.at_level(logging.WARNING):
        plugins.activate()
        plugins.activate()
    plugins.activate.cache_clear()
    assert loads == [1]
    assert "bad of q cannot be imported" in caplog.text


def test_an_unknown_method_gets_a_hint(offer):
    offer()
    with pytest.raises(SettingsError, match=r"it got 'finetune' \(did you mean 'fine_tune'\?\)"):
        plugins.resolve_method("finetune")


def test_every_wrong_setting_is_named_in_one_sentence():
    with pytest.raises(SettingsError) as caught:
        plugins.resolve_method("fine_tune", {"scop": "head", "blocks": "many", "schedule": {"lrr": 1}})
    text = str(caught.value)
    assert "'scop' is not one of them (did you mean 'scope'?)" in text
    assert "'blocks':" in text and "'many'" in text
    assert "'schedule.lrr' is not one of those of Schedule" in text
    assert "Its settings are: scope," in text


def test_a_group_given_in_part_keeps_the_methods_own_defaults():
    assert plugins.resolve_method("fine_tune", {"head_schedule": {"epochs": 7}}).head_schedule.lr == 1e-2


def test_a_path_imports_a_class_but_not_from_a_file():
    path = "medgraft.methods.labelled.simple_baseline:SimpleBaseline"
    assert plugins.resolve_method(path, {"side": 3}).side == 3
    with pytest.raises(SettingsError, match="A file may not import code"):
        plugins.resolve_method({"method": path})
    with pytest.raises(SettingsError, match="gave AttributeError"):
        plugins.resolve_method(path + "s")


def test_a_file_names_its_method_and_nothing_else():
    with pytest.raises(SettingsError, match="it does not name its method"):
        plugins.resolve_method({"settings": {}})
    with pytest.raises(SettingsError, match="it also has extra"):
        plugins.resolve_method({"method": "fine_tune", "extra": 1})


def test_settings_given_twice_are_refused():
    method = plugins.resolve_method("simple_baseline")
    assert plugins.resolve_method(method) is method
    with pytest.raises(SettingsError):
        plugins.resolve_method(method, {"side": 3})


@pytest.mark.parametrize("method", ["fine_tune", "l2_sp", "mmtl", "spottunet"])
def test_a_preset_lies_over_the_methods_own_schedule(method):
    found = plugins.resolve_method(method, {"schedule": {"preset": "avagrad_25", "lr": 1.0}}).schedule
    assert found == Schedule(preset="avagrad_25", lr=1.0)
    again = plugins.resolve_method(method, {"schedule": found.model_dump()}).schedule
    assert again == found
