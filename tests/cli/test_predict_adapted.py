"""`medgraft predict --adapt`: a model adapted to the images it is to predict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import medgraft as mg
from medgraft.api.images import open_images
from medgraft.data.task import Task
from medgraft.engine.method import adapt
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.engine.stain_normalised import ALONE
from medgraft.methods import AdaBN, Fourier, NormaliseStain
from medgraft.testing import make_cohort, make_model

FOURIER = ("--adapt", "fourier", "--choose", "random", "--beta", "0.1", "--device", "cpu", "--quiet")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An untrained segmenter in a folder, whose masks are not all alike."""
    with seeded("model"):
        made = make_model("segment")
    weight, bias = (made.get_parameter(name) for name in made.blocks()["head"])
    weight.data.mul_(300)
    images = mg.read_manifest(write(tmp_path, "A")).load(range(4), _preparer(made)).images
    bias.data.sub_(made.eval()(images).detach().movedim(1, -1).flatten(0, -2).mean(dim=0))
    return made.save(tmp_path / "model")


def _preparer(model):
    from medgraft.images.preparation import Preparer

    return Preparer(model.spec.preparation)


def write(folder: Path, site: str, size: int = 32) -> Path:
    """Images of a site with their patients; returns the table."""
    cohort = make_cohort("segment", site, patients=6, size=size)
    there = folder / f"site-{site}-{size}"
    there.mkdir()
    names = [f"{row:02d}.png" for row in range(len(cohort))]
    for row, name in enumerate(names):
        Image.fromarray(cohort.picture(row).array[..., 0]).save(there / name)
    pd.DataFrame({"image": names, "patient": cohort.patients}).to_csv(there / "table.csv", index=False)
    return there / "table.csv"


def stain(table: Path) -> Path:
    """Give the images of a table a colour that follows their grey; returns the table."""
    for path in table.parent.glob("*.png"):
        grey = np.asarray(Image.open(path))
        Image.fromarray(np.stack([grey, grey // 2, 255 - grey // 2], -1)).save(path)
    return table


def of_kind(path: Path) -> mg.Cohort:
    cohort = open_images(path)[0]
    cohort.kind, cohort.classes = "segment", ("background", "disc")
    return cohort


def run() -> Run:
    return Run(device="cpu", progress=False)


def test_images_are_predicted_in_the_contrast_of_donors(medgraft, model, tmp_path):
    donors, images = write(tmp_path, "B"), write(tmp_path, "C")
    told = medgraft("predict", model, images, "--out", tmp_path / "out", "--donors", donors, *FOURIER)
    assert told.exit_code == 0, told.output
    written = pd.read_csv(tmp_path / "out" / "predictions.csv")
    task = Task(source=of_kind(donors))
    adapted = adapt(mg.load_model(model), task, Fourier(how="random", beta=0.1), run())
    expected = mg.predict(adapted, images)
    np.testing.assert_allclose(written["share_disc"], expected["share_disc"], atol=1e-12)
    plain = mg.predict(model, images)
    assert (written["share_disc"] - plain["share_disc"]).abs().max() > 0.01
    assert "remark" not in written.columns


def test_images_are_predicted_with_their_own_statistics(medgraft, model, tmp_path):
    images = write(tmp_path, "B")
    words = ("--adapt", "ada_bn", "--device", "cpu", "--quiet")
    assert medgraft("predict", model, images, "--out", tmp_path / "out", *words).exit_code == 0
    written = pd.read_csv(tmp_path / "out" / "predictions.csv")
    adapted = adapt(mg.load_model(model), Task(target=of_kind(images)), AdaBN(), run())
    np.testing.assert_allclose(written["share_disc"], mg.predict(adapted, images)["share_disc"], atol=1e-12)
    assert not np.allclose(written["share_disc"], mg.predict(model, images)["share_disc"])
    for name in adapted.state_dict():  # the model in its folder stays what it was
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert adapted.state_dict()[name].equal(mg.load_model(model).state_dict()[name])


def test_a_folder_of_single_images_may_lend_too(medgraft, model, tmp_path):
    donors, images = write(tmp_path, "B", size=48), write(tmp_path, "C", size=48)
    words = ("--adapt", "fourier", "--donors", donors.parent, "--beta", "0.05", "--device", "cpu", "--quiet")
    told = medgraft("predict", model, images.parent, "--out", tmp_path / "out", *words)
    assert told.exit_code == 0, told.output
    assert len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 12


def test_what_does_not_go_together_is_one_sentence(refused, model, tmp_path):
    images, donors = write(tmp_path, "B"), write(tmp_path, "C")
    other = write(tmp_path, "C", size=40)
    words = ("predict", model, images, "--out", tmp_path / "out", "--quiet", "--device", "cpu")
    assert "Fourier adaptation needs images of the source that lend" in refused(*words, "--adapt", "fourier")
    assert "it got 'fuorier'" in refused(*words, "--adapt", "fuorier", "--donors", donors)
    assert "adapt='fourier' beside donors and beta" in refused(*words, "--donors", donors, "--beta", "0.1")
    assert "adapt='fourier' beside donors" in refused(*words, "--adapt", "ada_bn", "--donors", donors)
    assert "Register and prepare them like the donors" in refused(*words, *FOURIER, "--donors", other)
    assert "random, 2d, 2.5d, 3d" in refused(
        *words, "--adapt", "fourier", "--donors", donors, "--choose", "4d"
    )
    assert "'beta': beta must be at most 0.5" in refused(
        *words, "--adapt", "fourier", "--donors", donors, "--beta", "3"
    )
    by_likeness = (*words, "--adapt", "fourier", "--donors", donors, "--beta", "0.1")
    assert "Choose donors at random" in refused(*by_likeness)
    assert "nowhere" in refused(*words, *FOURIER, "--donors", tmp_path / "nowhere.csv")
    alone = (
        "predict",
        model,
        images.parent / "00.png",
        "--out",
        tmp_path / "out",
        "--quiet",
        "--device",
        "cpu",
    )
    assert "this scan has one slice" in refused(*alone, *FOURIER[:-3], "--donors", donors)
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "blank.png")
    assert "has one value throughout" in refused(*words, *FOURIER, "--donors", tmp_path / "blank.png")
    assert not (tmp_path / "out").exists()


def test_a_model_that_carries_donors_takes_no_others(refused, model, tmp_path):
    images, donors = write(tmp_path, "B"), write(tmp_path, "C")
    adapted = Fourier(how="random", beta=0.1).adapt(mg.load_model(model), Task(source=of_kind(donors)), run())
    adapted.save(tmp_path / "adapted")
    words = ("predict", tmp_path / "adapted", images, "--out", tmp_path / "out", "--donors", donors, *FOURIER)
    assert "this one carries its own. Leave --adapt out" in refused(*words)


def test_tissue_is_predicted_in_the_colours_of_donors(medgraft, refused, tmp_path):
    with seeded("colour"):
        made = make_model("classify", channels=3)
    made.get_parameter(made.blocks()["head"][0]).data.mul_(30)
    model, donors, images = (
        made.save(tmp_path / "model"),
        stain(write(tmp_path, "B")),
        stain(write(tmp_path, "C")),
    )
    words = ("predict", model, images, "--adapt", "normalise_stain", "--device", "cpu", "--quiet")
    told = medgraft(*words, "--out", tmp_path / "out", "--donors", donors)
    assert told.exit_code == 0, told.output
    written = pd.read_csv(tmp_path / "out" / "predictions.csv")
    lent = of_kind(donors)
    lent.kind, lent.classes = "classify", made.spec.classes
    adapted = adapt(made, Task(source=lent), NormaliseStain(), run())
    found, expected, plain = (
        table["p_first"] for table in (written, mg.predict(adapted, images), mg.predict(model, images))
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found - plain).abs().max() > 0.01
    alone = (*words[:2], images.parent, *words[3:-1], "--out", tmp_path / "alone", "--donors", donors)
    told = medgraft(*alone)  # files, of which nothing tells the patients
    assert f"Warning: of 12 predictions 12 have a remark ({ALONE})." in told.stderr.splitlines()
    assert "remark" not in medgraft(*alone, "--quiet").output
    words = (*words, "--out", tmp_path / "none")
    assert "Stain normalisation needs images of the source that lend their colours" in refused(*words)
    assert "adapt='fourier' beside beta" in refused(*words, "--donors", donors, "--beta", "0.1")
    adapted.save(tmp_path / "adapted")
    again = (words[0], tmp_path / "adapted", *words[2:])
    assert "this one carries its own. Leave --adapt out" in refused(*again, "--donors", donors)
