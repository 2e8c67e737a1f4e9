"""The method `fourier`: what it promises, what it gains on a shifted site, and how beta is found."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import medgraft as mg
from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.donor_scans import few_scans, rows_by_scan
from medgraft.engine.fourier_adapted import FourierAdapted
from medgraft.engine.method import adapt, adapt_verbosely
from medgraft.engine.predict import predict_masks
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.select import Selector
from medgraft.errors import DataError, ModelError, NeedError, SettingsError, ShapeError
from medgraft.methods import FineTune, Fourier
from medgraft.methods.unseen.fourier import BETAS
from medgraft.models.model import Model
from medgraft.models.spec import ModelSpec
from medgraft.models.unet import UNet
from medgraft.testing import check_method, make_cohort, make_model
from medgraft.types import Preparation

SIZE, SLICES = 48, 4
PREPARATION = Preparation(channels=1, intensity="none")


def run(**options: object) -> Run:
    return Run(device="cpu", progress=False, workers=0, **options)  # type: ignore[arg-type]


def make_site(
    site: str,
    gain: float = 1.0,
    bias: float = 0.0,
    patients: int = 9,
    volumes: bool = False,
    **kept: object,
) -> Cohort:
    """Patients of four slices each: a body in the middle with a brighter disc in it, whose mask is known."""
    rng = np.random.default_rng([7, *site.encode()])
    rows, columns = np.mgrid[:SIZE, :SIZE]
    images, masks = [], []
    for _ in range(patients):
        centre, radius = rng.uniform(18, 30, 2), rng.uniform(6, 9)
        for place in range(SLICES):
            body = (rows - 24) ** 2 + (columns - 24) ** 2 <= 20**2
            disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= (radius * (1 - 0.1 * place)) ** 2
            image = 0.3 * body + 0.4 * (disc & body) + rng.normal(0, 0.02, (SIZE, SIZE))
            images.append((gain * image + bias).astype(np.float32)[..., None])
            masks.append((disc & body).astype(np.uint8))
    stacked, truth = np.stack(images), np.stack(masks)
    each = 1 if volumes else SLICES
    if volumes:
        shape = (patients, SLICES, SIZE, SIZE)
        stacked, truth = stacked.reshape(*shape, 1), truth.reshape(shape)
    split = np.repeat(["train"] * (patients - 3) + ["validation"] * 3, each)
    return Cohort.from_arrays(
        stacked,
        truth,
        kind="segment",
        classes=("rest", "disc"),
        patients=np.repeat([f"{site}{number}" for number in range(patients)], each).tolist(),
        sites=[site] * (patients * each),
        split=split.tolist(),
        name=site,
        **kept,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def trained() -> Model:
    """A tiny network that segments its own site well."""
    spec = ModelSpec(kind="segment", classes=("rest", "disc"), channels=1, preparation=PREPARATION)
    with seeded("trained"):
        model = UNet(spec, width=4, depth=2)
    schedule = Schedule(epochs=25, steps_per_epoch=8, batch_size=8, lr=0.01)
    method = FineTune(schedule=schedule, augmentation=None)
    return adapt(model, Task(target=make_site("A")), method, run(select="last"))


def dice(model: Model, cohort: Cohort) -> float:
    return Selector("oracle", cohort).score(model)


def test_dice_on_a_shifted_site_rises(trained: Model) -> None:
    source = make_site("A")
    shifted = make_site("B", gain=0.6, bias=0.25)
    assert dice(trained, make_site("B")) > 0.9  # the shift alone is in the way
    before = dice(trained, shifted)
    for settings in ({"how": "3d"}, {"how": "2d"}, {"how": "random", "donors": 3}):
        # the mean alone; more would swap the place of the disc, which differs by patient
        method = Fourier(beta=0.02, **settings)  # type: ignore[arg-type]
        after = dice(adapt(trained, Task(source=source), method, run()), shifted)
        assert before < 0.1 and after > 0.6


def test_volumes_are_adapted_slice_by_slice(trained: Model) -> None:
    method = Fourier(beta=0.03)
    by_slice = adapt(trained, Task(source=make_site("A")), method, run())
    by_volume = adapt(trained, Task(source=make_site("A", volumes=True)), method, run())
    assert isinstance(by_slice, FourierAdapted) and isinstance(by_volume, FourierAdapted)
    for name, buffer in by_slice.bank.named_buffers():
        assert torch.equal(by_volume.bank.get_buffer(name), buffer), name
    flat = list(predict_masks(by_slice, make_site("B", 0.6, 0.25)))
    whole = list(predict_masks(by_volume, make_site("B", 0.6, 0.25, volumes=True)))
    assert len(whole) * SLICES == len(flat)
    for number, mask in enumerate(whole):
        for place in range(SLICES):
            np.testing.assert_allclose(
                mask.confidence[place], flat[SLICES * number + place].confidence, atol=1e-5
            )


def test_the_adapted_model_is_evaluated_predicted_and_read_like_any_other(
    trained: Model, tmp_path: Path
) -> None:
    out = run(folder=tmp_path / "run")
    method = {"method": "fourier", "settings": {"beta": 0.02, "least_agreement": 1.0}}
    adapted = mg.adapt(trained, mg.Task(source=make_site("A")), method, out)
    shifted = make_site("B", 0.6, 0.25)
    evidence = mg.evaluate(adapted, shifted, repeats=20)
    of_file = mg.evaluate(tmp_path / "run", shifted, repeats=20)
    assert evidence.facts["value"].tolist() == of_file.facts["value"].tolist()
    (warning,) = [text for text in evidence.warnings if "remark" in text]
    assert warning.startswith("B: of 36 predictions 36 have a remark (most often: not adapted: agreement 0.")
    told = mg.predict(tmp_path / "run", shifted, tmp_path / "out")
    assert told["remark"].str.startswith("not adapted").all()
    plain = mg.predict(trained, shifted)
    assert told["share_disc"].tolist() == plain["share_disc"].tolist()


def test_masks_left_by_a_stopped_prediction_serve_only_the_same_settings(
    trained: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of two betas are the same, so more than these must name a mask."""
    from medgraft.api import prediction

    monkeypatch.setattr(prediction, "forget_unfinished", lambda out: None)
    shifted, shares = make_site("B", 0.6, 0.25, patients=4), []
    model = adapt(trained, Task(source=make_site("A")), Fourier(beta=0.02), run())
    assert isinstance(model, FourierAdapted)
    for beta in (0.02, 0.0, 0.02):
        model.beta, model.predict_by = beta, "patient" if beta > 0 else "image"
        shares.append(mg.predict(model, shifted, tmp_path / "out")["share_disc"].tolist())
    assert shares[0] == shares[2] != shares[1]


# Beta


def test_beta_is_the_best_mean_over_pairs_of_sites(trained: Model) -> None:
    sites = {
        name: make_site(name, gain, bias, patients=4) for name, gain, bias in (("A", 1, 0), ("B", 0.6, 0.25))
    }
    arrays = [np.stack([cohort.picture(row).array for row in range(16)]) for cohort in sites.values()]
    masks = [np.stack([cohort.mask(row).array[..., 0] for row in range(16)]) for cohort in sites.values()]
    patients = [patient for cohort in sites.values() for patient in cohort.patients]
    both = Cohort.from_arrays(
        np.concatenate(arrays), np.concatenate(masks), kind="segment", classes=("rest", "disc"),
        patients=patients, sites=["A"] * 16 + ["B"] * 16, name="both",
    )  # fmt: skip
    method, with_table = Fourier(beta="averaged", donors=2), run()
    assert method.needs.source == {"images", "truth", "sites"}
    adapted = adapt(trained, Task(source=both), method, with_table)
    assert isinstance(adapted, FourierAdapted)
    table = with_table.shared.records.tables["betas"]
    assert set(zip(table["donors"], table["images"])) == {("A", "B"), ("B", "A")} and len(table) == 14
    for line in table[table["beta"].isin(BETAS[::3])].to_dict("records"):
        assert line["score"] == pytest.approx(_dice_of_all(trained, sites, line), abs=1e-6)
    means = {beta: table[table["beta"] == beta]["score"].mean() for beta in BETAS}
    assert adapted.beta == max(means, key=lambda beta: means[beta])
    assert len(adapted.bank.slices) == 8  # donors of both sites


def _dice_of_all(trained: Model, sites: dict[str, Cohort], line: dict[str, object]) -> float:
    lender = sites[str(line["donors"])]
    unsplit = Cohort.from_arrays(
        np.stack([lender.picture(row).array for row in range(16)]), kind="segment",
        patients=lender.patients.tolist(), classes=("rest", "disc"),
    )  # fmt: skip
    model = Fourier(beta=line["beta"], donors=2).adapt(trained, Task(source=unsplit), run())  # type: ignore[arg-type]
    return dice(model, sites[str(line["images"])])


def test_beta_is_chosen_by_the_rule_of_the_run(trained: Model) -> None:
    task = Task(source=make_site("A"), target=make_site("B", 0.6, 0.25))
    with_table = run(select="oracle")
    result = adapt_verbosely(trained, task, Fourier(beta="chosen"), with_table)
    table = with_table.shared.records.tables["betas"]
    assert result.selection == "oracle" and result.warnings
    assert isinstance(result.model, FourierAdapted)
    assert result.model.beta == table["beta"][int(table["score"].argmax())]
    fixed = adapt(trained, task, Fourier(beta=0.035), run())
    assert task.target is not None
    assert table["score"].iloc[-1] == pytest.approx(dice(fixed, task.target.split("validation")), abs=1e-6)
    with pytest.raises(SettingsError, match="needs labelled validation rows"):
        adapt(trained, task, Fourier(beta="chosen"), run(select="last"))


def test_averaging_needs_two_sites(trained: Model) -> None:
    with pytest.raises(DataError, match="two labelled source sites at least, but A has A"):
        adapt(trained, Task(source=make_site("A")), Fourier(beta="averaged"), run())


# Donors


def test_no_more_scans_than_asked_for_are_kept_whole(trained: Model) -> None:
    source = make_site("A").split("train")
    few = few_scans(source, PREPARATION, 2, torch.Generator().manual_seed(0))
    assert len(few) == 2 * SLICES and len(set(few.patients)) == 2
    assert [len(rows) for rows in rows_by_scan(few, PREPARATION)] == [SLICES, SLICES]
    assert few_scans(source, PREPARATION, 6, torch.Generator()) is source
    adapted = adapt(trained, Task(source=source), Fourier(scans=3), run())
    assert isinstance(adapted, FourierAdapted) and adapted.bank.slices == [SLICES] * 3


def test_donors_are_found_by_position(trained: Model) -> None:
    places = pd.DataFrame({"position_mm": np.tile(np.arange(SLICES) * 3.0, 9)})
    method = Fourier(match="position", beta=0.03)
    adapted = adapt(trained, Task(source=make_site("A", attributes=places)), method, run())
    assert isinstance(adapted, FourierAdapted)
    assert adapted.bank.positions.tolist() == np.tile([0.0, 3.0, 6.0, 9.0], 6).tolist()
    by_index = adapt(trained, Task(source=make_site("A")), Fourier(beta=0.03), run())
    there = [mask.confidence for mask in predict_masks(by_index, make_site("B", 0.6, 0.25))]
    for mask in predict_masks(adapted, make_site("B", 0.6, 0.25, attributes=places)):
        assert np.array_equal(mask.confidence, there[mask.row])
    with pytest.raises(NeedError, match=r"source\.attributes"):
        adapt(trained, Task(source=make_site("A")), method, run())
    other = pd.DataFrame({"age": [50] * 36})
    with pytest.raises(DataError, match="the column 'position_mm' in the manifest of the donors"):
        adapt(trained, Task(source=make_site("A", attributes=other)), method, run())


def test_what_helps_little_is_said(trained: Model, caplog: pytest.LogCaptureFixture) -> None:
    source = make_site("A").split("train")
    with caplog.at_level(logging.WARNING):
        adapt(trained, Task(source=source), Fourier(beta=0.022), run())
    assert not caplog.text
    with caplog.at_level(logging.WARNING):
        adapt(trained, Task(source=source.take(range(SLICES))), Fourier(beta=0.02), run())
    assert "only the mean of each slice is matched: more needs a beta above 0.021" in caplog.text
    assert "one donor scan" in caplog.text


def test_what_does_not_fit_is_refused_in_a_sentence(trained: Model) -> None:
    blank = np.zeros((4, SIZE, SIZE, 1), np.float32)
    blank[2:, 10] = 1
    two = Cohort.from_arrays(
        blank, kind="segment", classes=("rest", "disc"), patients=["a", "a", "b", "b"], name="two"
    )
    with pytest.raises(DataError, match=r"scan 1 of two \(row 1\) has one value throughout"):
        adapt(trained, Task(source=two), Fourier(), run())
    with pytest.raises(ModelError, match="kind, 'segment', but this one's kind is 'classify'"):
        adapt(make_model("classify"), Task(source=make_site("A")), Fourier(), run())
    with pytest.raises(NeedError, match=r"source\.images"):
        adapt(trained, Task(target=make_site("A")), Fourier(), run())
    model = adapt(trained, Task(source=make_site("A")), Fourier(), run())
    with pytest.raises(ShapeError, match="Register and prepare them like the donors"):
        list(predict_masks(model, make_cohort("segment", size=40)))
    volume = Preparation(channels=1, dimensions=3)
    spec = ModelSpec(kind="segment", classes=("rest", "disc"), channels=1, preparation=volume)
    with pytest.raises(ModelError, match="this one sees whole volumes"):
        adapt(UNet(spec, width=4, depth=2), Task(source=make_site("A", volumes=True)), Fourier(), run())
    for beta in (0.6, float("nan"), float("-inf"), "best"):
        with pytest.raises(ValueError, match="beta"):
            Fourier(beta=beta)  # type: ignore[arg-type]


def test_keeps_the_promises_of_a_method() -> None:
    assert len(check_method(Fourier(how="random", beta=0.1))) == 3 * 8
