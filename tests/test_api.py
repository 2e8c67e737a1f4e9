"""The verbs in Python: a run's folder says how it came about, repeats it, and goes into evidence and a report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import medgraft as mg
from medgraft.api.recipe import differences, read_recipe
from medgraft.data.cohort import Cohort
from medgraft.engine.method import MethodSettings, Needs
from medgraft.engine.run import Interrupted, Limit
from medgraft.errors import (
    DataError,
    LeakError,
    MedgraftError,
    ModelError,
    NeedError,
    RunError,
    SettingsError,
)
from medgraft.models.weights import hash_weights
from medgraft.testing import make_cohort, make_model

SHORT = mg.Schedule(epochs=2, batch_size=8, lr=1e-2)
SOURCE = "random/test_resnet"


def fine_tune(**settings):
    return mg.methods.FineTune(**{"schedule": SHORT, "head_schedule": SHORT, **settings})


def run(folder: Path | None = None, **more) -> mg.Run:
    return mg.Run(folder, device="cpu", progress=False, **more)


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def test_importing_medgraft_brings_no_heavy_package():
    code = (
        "import sys, medgraft; print([m for m in ('torch', 'pandas', 'timm', 'sklearn') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_every_name_is_there_and_no_other():
    for name in mg.__all__:
        assert getattr(mg, name) is not None
    assert set(mg.__all__) <= set(dir(mg))
    with pytest.raises(AttributeError, match="no attribute 'adopt'"):
        mg.adopt  # noqa: B018


# adapt


def test_a_runs_folder_tells_how_it_came_about(on_disk, tmp_path):
    table = on_disk("classify")
    cohort = mg.read_manifest(table)
    folder = tmp_path / "run"
    model = mg.adapt(
        SOURCE, mg.Task(target=cohort), fine_tune(), run(folder, seed=3), command=["medgraft", "adapt"]
    )
    recipe = json.loads((folder / "run.json").read_text())
    assert recipe["source"]["name"] == SOURCE
    assert recipe["task"]["source"] is None
    assert recipe["task"]["target"]["fingerprint"] == cohort.fingerprint()
    assert recipe["method"]["settings"] == fine_tune().model_dump(mode="json")
    assert (recipe["run"]["seed"], recipe["threads"], recipe["command"]) == (3, 1, ["medgraft", "adapt"])
    assert recipe["selection"] == "target_validation"
    assert recipe["weights_sha256"] == hash_weights(model)
    assert torch.__version__.startswith(recipe["versions"]["torch"])
    (told,) = mg.load_model(folder / "model").spec.provenance["adapted"]
    assert (told["method"], told["seed"], told["source"]["name"]) == ("fine_tune", 3, SOURCE)
    assert {path.name for path in folder.iterdir()} == {"model", "run.json", "log.csv", "records"}


def test_a_finished_run_is_returned_and_not_done_again(on_disk, tmp_path, monkeypatch):
    task = mg.Task(target=mg.read_manifest(on_disk("classify")))
    first = mg.adapt(SOURCE, task, fine_tune(), run(tmp_path / "run"))
    monkeypatch.setattr("medgraft.api.adaptation.adapt_verbosely", None)
    again = mg.adapt(SOURCE, task, fine_tune(), run(tmp_path / "run"))
    assert hash_weights(first) == hash_weights(again)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "run.seed"),
        ({"method": {"scope": "head"}}, "method.settings.scope"),
        ({"limit": Limit(1)}, "run.limit"),
    ],
)
def test_another_run_is_refused_and_left_as_it_is(on_disk, tmp_path, change, words):
    task = mg.Task(target=mg.read_manifest(on_disk("classify")))
    mg.adapt(SOURCE, task, mg.methods.SimpleBaseline(), run(tmp_path / "baseline"))
    mg.adapt(SOURCE, task, fine_tune(), run(tmp_path / "run"))
    before = weights(tmp_path / "run"), (tmp_path / "run" / "run.json").read_text()
    method = fine_tune(**change.pop("method", {}))
    with pytest.raises(RunError, match=f"holds a run that differs in .*{words}"):
        mg.adapt(SOURCE, task, method, run(tmp_path / "run", **change))
    assert before == (weights(tmp_path / "run"), (tmp_path / "run" / "run.json").read_text())


def test_changed_data_are_another_run(on_disk, tmp_path):
    table = on_disk("classify")
    mg.adapt(
        SOURCE, mg.Task(target=mg.read_manifest(table)), mg.methods.SimpleBaseline(), run(tmp_path / "run")
    )
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(table.parent / "00.png")
    changed = mg.Task(target=mg.read_manifest(table))
    with pytest.raises(RunError, match="the images and the table as they were, but some have changed"):
        mg.adapt(SOURCE, changed, mg.methods.SimpleBaseline(), run(tmp_path / "run"))


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    task = mg.Task(target=make_cohort("classify"))
    with pytest.raises(RunError, match="holds other files"):
        mg.adapt(SOURCE, task, fine_tune(), run(tmp_path))
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="is a file"):
        mg.adapt(SOURCE, task, fine_tune(), run(tmp_path / "file"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "thesis.txt"]


def test_a_run_that_fails_at_once_leaves_its_folder_free(tmp_path):
    task = mg.Task(target=make_cohort("classify"))
    with pytest.raises(SettingsError):
        mg.adapt(SOURCE, task, fine_tune(scope=("nostage",)), run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    mg.adapt(SOURCE, task, mg.methods.SimpleBaseline(), run(tmp_path / "run"))
    assert (tmp_path / "run" / "model").is_dir()


def test_a_stopped_run_stays_and_continues_to_the_same_weights(tmp_path):
    task = mg.Task(target=make_cohort("classify"))
    whole = mg.adapt(SOURCE, task, fine_tune(), run(tmp_path / "whole"))
    stopped = run(tmp_path / "run")
    stopped.request_stop()
    with pytest.raises(Interrupted):
        mg.adapt(SOURCE, task, fine_tune(), stopped)
    assert (tmp_path / "run" / "run.json").is_file() and not (tmp_path / "run" / "model").exists()
    for use in (lambda path: mg.predict(path, task.target), lambda path: mg.adapt(path, task)):
        with pytest.raises(RunError, match="needs a run that is finished"):
            use(tmp_path / "run")
    again = mg.adapt(SOURCE, task, fine_tune(), run(tmp_path / "run"))
    assert hash_weights(again) == hash_weights(whole)


def test_a_chain_of_runs_remembers_every_link(tmp_path):
    task = mg.Task(target=make_cohort("classify"))
    mg.adapt(SOURCE, task, fine_tune(), run(tmp_path / "first", seed=1))
    second = mg.adapt(tmp_path / "first", task, "simple_baseline", run(seed=2))
    assert [link["seed"] for link in second.spec.provenance["adapted"]] == [1, 2]


def test_a_new_seed_gives_a_random_source_new_weights():
    task = mg.Task(target=make_cohort("classify"))
    first, second, again = (mg.adapt(SOURCE, task, fine_tune(), run(seed=seed)) for seed in (0, 1, 0))
    assert hash_weights(first) == hash_weights(again) != hash_weights(second)


def test_a_weights_file_keeps_its_own_head_until_the_method_replaces_it(tmp_path):
    torch.save(make_model("classify").net.state_dict(), tmp_path / "weights.pt")
    task = mg.Task(target=make_cohort("classify"))
    folder = tmp_path / "run"
    mg.adapt(tmp_path / "weights.pt", task, fine_tune(), run(folder), architecture="test_resnet")
    plan = mg.load_evidence(folder).tables["plan/model"]
    outcomes = plan.set_index("tensor")["outcome"]
    assert outcomes[outcomes.index.str.contains("fc")].tolist() == ["new", "new", "dropped", "dropped"]


def test_the_optimisers_history_is_kept_where_asked(tmp_path):
    task = mg.Task(target=make_cohort("classify"))
    mg.adapt(SOURCE, task, fine_tune(), run(tmp_path / "with", save_optimizer=True))
    mg.adapt(SOURCE, task, fine_tune(), run(tmp_path / "without"))
    extra = {path.name for path in (tmp_path / "with" / "model").iterdir()}
    assert extra - {path.name for path in (tmp_path / "without" / "model").iterdir()}


class Named(MethodSettings):
    """A method that is installed nowhere."""

    name = "named"
    kinds = frozenset({"classify"})

    @property
    def needs(self):
        return Needs.of(target=("images", "truth"))

    def adapt(self, model, task, run):
        return model


@pytest.mark.parametrize(
    ("source", "task", "method", "error", "words"),
    [
        ("rando/x", {}, "fine_tune", ModelError, "Check the name or the path"),
        (SOURCE, {}, "finetune", SettingsError, r"did you mean 'fine_tune'"),
        (
            SOURCE,
            {},
            {"method": "fine_tune", "settings": {"scop": 1}},
            SettingsError,
            r"did you mean 'scope'",
        ),
        (SOURCE, {"kind": "encode"}, "fine_tune", NeedError, "this one's kind is 'encode'"),
        (SOURCE, {"split": "valid"}, "fine_tune", DataError, r"row 1 has 'valid'"),
        (SOURCE, {"only": "one"}, "fine_tune", DataError, "adapt needs at least two classes"),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing(tmp_path, source, task, method, error, words):
    cohort = make_cohort(task.get("kind", "classify"))
    if "split" in task:
        cohort = cohort.with_splits([task["split"]] * len(cohort))
    if "only" in task:
        cohort = Cohort.from_arrays(np.zeros((2, 8, 8, 1)), np.zeros(2), kind="classify", classes=("one",))
    with pytest.raises(error, match=words) as caught:
        mg.adapt(source, mg.Task(target=cohort), method, run(tmp_path / "run"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_missing_file_is_named(on_disk, tmp_path):
    table = on_disk("classify")
    (table.parent / "03.png").unlink()
    with pytest.raises(DataError, match=r"03\.png"):
        mg.adapt(SOURCE, mg.Task(target=mg.read_manifest(table)), fine_tune(), run(tmp_path / "run"))


def test_an_architecture_goes_with_a_file_only():
    with pytest.raises(SettingsError, match="a source that is a file of weights"):
        mg.adapt(SOURCE, mg.Task(target=make_cohort("classify")), architecture="resnet18")


# repeat


def test_repeating_gives_the_same_bytes(on_disk, tmp_path):
    cohort = mg.read_manifest(on_disk("classify")).few(5, seed=2)
    mg.adapt(SOURCE, mg.Task(target=cohort), fine_tune(scope="head_then_all"), run(tmp_path / "run", seed=4))
    torch.set_num_threads(2)  # the record brings its own
    mg.repeat(tmp_path / "run", tmp_path / "again", progress=False)
    assert torch.get_num_threads() == 2
    assert weights(tmp_path / "run") == weights(tmp_path / "again")
    first, second = read_recipe(tmp_path / "run"), read_recipe(tmp_path / "again")
    assert set(differences(first, second)) <= {"seconds"}


def test_repeating_a_repeat_continues_it(on_disk, tmp_path):
    mg.adapt(
        SOURCE, mg.Task(target=mg.read_manifest(on_disk("classify"))), fine_tune(), run(tmp_path / "run")
    )
    mg.repeat(tmp_path / "run" / "run.json", tmp_path / "again", progress=False)
    mg.repeat(tmp_path / "run" / "run.json", tmp_path / "again", progress=False)
    assert weights(tmp_path / "run") == weights(tmp_path / "again")


def test_changed_data_are_not_repeated_unless_allowed(on_disk, tmp_path):
    table = on_disk("classify")
    mg.adapt(
        SOURCE, mg.Task(target=mg.read_manifest(table)), mg.methods.SimpleBaseline(), run(tmp_path / "run")
    )
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(table.parent / "00.png")
    with pytest.raises(RunError, match="a row or an image of them has changed since"):
        mg.repeat(tmp_path / "run", tmp_path / "again")
    assert not (tmp_path / "again").exists()
    mg.repeat(tmp_path / "run", tmp_path / "again", allow_changed_data=True)
    assert weights(tmp_path / "run") != weights(tmp_path / "again")


def test_what_lived_in_memory_cannot_be_repeated(on_disk, tmp_path):
    mg.adapt(SOURCE, mg.Task(target=make_cohort("classify")), "simple_baseline", run(tmp_path / "a"))
    with pytest.raises(DataError, match="this one lived in memory"):
        mg.repeat(tmp_path / "a", tmp_path / "again")
    task = mg.Task(target=mg.read_manifest(on_disk("classify")))
    mg.adapt(make_model("classify"), task, "simple_baseline", run(tmp_path / "b"))
    with pytest.raises(RunError, match="this one was an object in memory"):
        mg.repeat(tmp_path / "b", tmp_path / "again")


def test_a_method_that_is_not_installed_is_named_anew(on_disk, tmp_path):
    task = mg.Task(target=mg.read_manifest(on_disk("classify")))
    mg.adapt(SOURCE, task, Named(), run(tmp_path / "run"))
    with pytest.raises(SettingsError, match="it got 'named'"):
        mg.repeat(tmp_path / "run", tmp_path / "again")


@pytest.mark.parametrize("text", [None, "{", "{}", "[]", '{"format": 99}'])
def test_a_file_that_is_no_record_is_refused(tmp_path, text):
    path = tmp_path / "run.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RunError, match=r"needs the run\.json|needs a run\.json"):
        mg.repeat(path, tmp_path / "again")


# evaluate, evidence, report


@pytest.mark.parametrize("kind", ["classify", "multilabel", "segment"])
def test_from_a_run_to_a_report(kind, tmp_path):
    cohort = make_cohort(kind, patients=18)
    source = "random/unet" if kind == "segment" else SOURCE
    limit = Limit(1, 1)
    mg.adapt(source, mg.Task(target=cohort), fine_tune(), run(tmp_path / "run", seed=5, limit=limit))
    evidence = mg.evaluate(tmp_path / "run", cohort.split("test"), subject="ours", repeats=20)
    assert {"history/ours/5", "plan/ours", "examples", f"classes/{cohort.name}"} <= set(evidence.tables)
    assert f"{'scores' if kind == 'segment' else 'predictions'}/ours/5" in evidence.tables
    assert [entry["what"] for entry in evidence.provenance] == ["adapt", "evaluate"]
    assert set(evidence.facts["seed"]) == {5} and set(evidence.facts["selection"]) == {"target_validation"}
    evidence.save(tmp_path / "evidence")
    page = mg.report(mg.load_evidence(tmp_path / "evidence"), tmp_path / "report.html").read_text()
    assert page.count("<html") == 1 and "ours" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_folder_of_a_model_is_evaluated_like_its_run(tmp_path):
    cohort = make_cohort("classify", patients=18)
    mg.adapt(SOURCE, mg.Task(target=cohort), mg.methods.SimpleBaseline(), run(tmp_path / "run"))
    one = mg.evaluate(tmp_path / "run", cohort.split("test"), repeats=20)
    other = mg.evaluate(tmp_path / "run" / "model", cohort.split("test"), repeats=20)
    bare = mg.evaluate(mg.load_model(tmp_path / "run" / "model"), cohort.split("test"), repeats=20)
    assert one.facts.equals(other.facts) and one.facts.equals(bare.facts)
    assert len(one.provenance) == len(other.provenance) == 2 and len(bare.provenance) == 1


def test_an_allowed_leak_is_told_in_the_evidence(tmp_path):
    images, labels = np.random.default_rng(0).integers(0, 255, (12, 16, 16, 1), np.uint8), np.arange(12) % 2
    leaking = Cohort.from_arrays(
        images,
        labels,
        kind="classify",
        classes=("a", "b"),
        patients=[f"p{number // 3}" for number in range(12)],
        split=["train", "train", "test"] * 4,
        name="leaking",
    )
    task = mg.Task(target=leaking)
    with pytest.raises(LeakError):
        mg.adapt(SOURCE, task, "simple_baseline", run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    mg.adapt(SOURCE, task, "simple_baseline", run(tmp_path / "run", allow_leak=True))
    warnings = mg.evaluate(tmp_path / "run", leaking.split("test"), repeats=5).warnings
    assert any(warning.startswith("Leaks were allowed: the same patient") for warning in warnings), warnings


def test_evidence_of_nothing_is_refused(tmp_path):
    with pytest.raises(MedgraftError):
        mg.load_evidence(tmp_path / "nowhere")


# predict


@pytest.fixture
def adapted(tmp_path):
    """The folder of a run on made-up images."""
    task = mg.Task(target=make_cohort("classify"))
    mg.adapt(SOURCE, task, mg.methods.SimpleBaseline(), run(tmp_path / "run"))
    return tmp_path / "run"


def test_predictions_equal_those_of_the_model(adapted, on_disk, tmp_path):
    table = on_disk("classify")
    told = mg.predict(adapted, table.parent, tmp_path / "out")
    cohort = mg.read_manifest(table)
    from medgraft.engine.predict import predict_labels

    expected = predict_labels(mg.load_model(adapted / "model"), cohort)
    np.testing.assert_allclose(told[["p_small", "p_large"]], expected.probabilities, atol=1e-6)
    assert told["predicted"].tolist() == [("small", "large")[label] for label in expected.labels]
    written = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert written["image"].tolist() == [str(table.parent / name) for name in cohort.table["image"]]
    pd.testing.assert_frame_equal(written, told, check_dtype=False)


def test_images_come_as_cohort_manifest_folder_or_files(adapted, on_disk):
    table = on_disk("classify")
    files = sorted(table.parent.glob("*.png"))
    by_folder = mg.predict(adapted, table.parent)
    for given in (files, [table.parent], table, mg.read_manifest(table)):
        told = mg.predict(adapted, given)
        np.testing.assert_array_equal(told["p_large"], by_folder["p_large"])
    assert mg.predict(adapted, files[3])["p_large"].tolist() == [by_folder["p_large"][3]]
    assert "image" not in mg.predict(adapted, table).columns


def test_predictions_need_no_truth_and_name_no_patient(adapted, on_disk):
    table = on_disk("classify")
    frame = pd.read_csv(table).drop(columns=["label", "split"])
    frame.to_csv(table, index=False)
    told = mg.predict(adapted, table)
    assert len(told) == 36 and "patient" not in told.columns


def test_masks_are_written_at_native_size(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (2, 24, 40, 1), np.uint8)
    model = make_model("segment")
    told = mg.predict(model, Cohort.from_arrays(images, kind="encode", name="x"), tmp_path / "out")
    assert told["mask"].tolist() == ["masks/row-000001.png", "masks/row-000002.png"]
    for row, name in enumerate(told["mask"]):
        mask = np.asarray(Image.open(tmp_path / "out" / name))
        assert mask.shape == (24, 40)
        assert told["share_disc"][row] == pytest.approx((mask == 1).mean())
    assert told.filter(like="share_").sum(axis=1).tolist() == pytest.approx([1, 1])


def test_a_late_broken_image_stops_nothing_that_is_done(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    for number in range(18):  # the predictor takes sixteen at a time
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / "images" / f"{number:02d}.png")
    (tmp_path / "images" / "17.png").write_bytes(b"no image")
    model = make_model("segment")
    with pytest.raises(DataError, match="row 18"):
        mg.predict(model, tmp_path / "images", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".unfinished"]
    (tmp_path / "images" / "17.png").unlink()
    predicted = []
    once = Cohort.picture
    monkeypatch.setattr(Cohort, "picture", lambda self, row: predicted.append(row) or once(self, row))
    told = mg.predict(model, tmp_path / "images", tmp_path / "out")
    assert 0 < len(predicted) < 10  # the seventeenth alone, though it is looked at more than once
    fresh = mg.predict(model, tmp_path / "images", tmp_path / "fresh")
    pd.testing.assert_frame_equal(told, fresh)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["masks", "predictions.csv"]
    for name in told["mask"]:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


def test_another_model_does_not_go_on_with_these_masks(tmp_path):
    cohort = make_cohort("segment", patients=6)
    first, second = make_model("segment"), make_model("segment")
    with torch.no_grad():
        second.head.bias[1] += 100  # the disc everywhere
    images = Cohort.from_arrays(np.stack([cohort.picture(row).array for row in range(3)]), kind="encode")
    mg.predict(first, images, tmp_path / "out")
    (tmp_path / "out" / "masks").rename(tmp_path / "out" / ".unfinished")
    told = mg.predict(second, images, tmp_path / "out")
    assert told["share_disc"].tolist() == [1, 1, 1]


def volume_files(folder: Path) -> list[np.ndarray]:
    """Two NIfTI volumes whose axes run elsewhere, and their labels as they are stored."""
    import nibabel

    folder.mkdir()
    stored = []
    for number, codes in enumerate(["RAS", "PIL"]):
        array = np.random.default_rng(number).integers(0, 200, (10, 12, 7)).astype(np.int16)
        turn = nibabel.orientations.ornt_transform(
            nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
        )
        image = nibabel.Nifti1Image(array, np.diag([2.0, 2.0, 3.0, 1.0])).as_reoriented(turn)
        nibabel.save(image, folder / f"{number}.nii.gz")
        stored.append(np.asarray(image.dataobj))
    return stored


def test_masks_of_volumes_lie_on_their_volumes(tmp_path):
    import nibabel

    stored = volume_files(tmp_path / "scans")
    told = mg.predict(make_model("segment"), tmp_path / "scans", tmp_path / "out", flips=("width",))
    assert told["mask"].tolist() == ["masks/row-000001.nii.gz", "masks/row-000002.nii.gz"]
    for row, name in enumerate(told["mask"]):
        mask = nibabel.load(tmp_path / "out" / name)
        image = nibabel.load(tmp_path / "scans" / f"{row}.nii.gz")
        assert mask.shape == stored[row].shape
        np.testing.assert_allclose(mask.affine, image.affine)
        assert told["share_disc"][row] == pytest.approx((np.asarray(mask.dataobj) == 1).mean())


def test_a_mask_can_be_asked_for_in_another_format(tmp_path):
    volume_files(tmp_path / "scans")
    told = mg.predict(make_model("segment"), tmp_path / "scans", tmp_path / "out", masks="npy")
    assert np.load(tmp_path / "out" / told["mask"][0]).shape == (7, 12, 10)
    with pytest.raises(SettingsError, match="DICOM"):
        mg.predict(make_model("segment"), tmp_path / "scans", tmp_path / "seg", masks="dicom_seg")
    assert not (tmp_path / "seg").exists()


def test_several_labels_are_joined(tmp_path):
    cohort = make_cohort("multilabel")
    model = mg.adapt(SOURCE, mg.Task(target=cohort), fine_tune(), run(limit=Limit(1, 1)))
    told = mg.predict(model, cohort)
    expected = ["|".join(n for n in ("small", "large") if row[f"p_{n}"] > 0.5) for _, row in told.iterrows()]
    assert told["predicted"].tolist() == expected


@pytest.mark.parametrize(
    ("images", "words"),
    [("nothing.png", "file 1, .*nothing.png, does not exist"), ("", "holds none"), ("broken.png", "row 1")],
)
def test_images_that_cannot_be_predicted_are_named(adapted, tmp_path, images, words):
    folder = tmp_path / "images"
    folder.mkdir()
    if images == "broken.png":
        (folder / images).write_bytes(b"\x89PNG\r\n\x1a\nno more")
    with pytest.raises(DataError, match=words) as caught:
        mg.predict(adapted, folder / images if images else folder, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError):
        mg.predict(tmp_path, tmp_path)
