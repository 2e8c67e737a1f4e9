"""Predictions of images in the contrast of donors, against a loop that swaps, predicts and averages one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.engine.donor_bank import DonorBank
from medgraft.engine.fourier_adapted import FourierAdapted, Restyling, agreement, confidence
from medgraft.engine.predict import predict_labels, predict_masks
from medgraft.engine.randomness import generator, seeded
from medgraft.errors import DataError, ModelError, ShapeError
from medgraft.images.fourier import swap_low_frequencies
from medgraft.models.model import Model, Prediction
from medgraft.models.spec import ModelSpec
from medgraft.models.storage import load_model
from medgraft.models.unet import UNet
from medgraft.testing import make_model
from medgraft.types import Kind, Preparation

SIZE, SLICES, BETA = 48, 4, 0.1


def scan(seed: int, slices: int = SLICES, channels: int = 1) -> Tensor:
    drawn = torch.Generator().manual_seed(seed)
    smooth = torch.rand(slices, channels, 6, 6, generator=drawn)
    large = torch.nn.functional.interpolate(smooth, SIZE, mode="bicubic")
    return large + 0.05 * torch.rand(slices, channels, SIZE, SIZE, generator=drawn)


SCANS = [scan(seed, slices=6) for seed in range(5)]  # long enough to have neighbours on both sides
TARGET = 0.6 * scan(50) + 0.3


def network(kind: Kind = "segment", channels: int = 1) -> Model:
    with seeded("network"):
        model = make_model(kind, channels=channels)
    weight, bias = (model.get_parameter(name) for name in model.blocks()["head"])
    with torch.no_grad():  # untrained ones hardly look at the image, and say the same of all
        weight.mul_(300 if kind == "segment" else 3000)
        outputs = model.eval()(scan(50, channels=channels))
        bias.sub_(outputs.movedim(1, -1).flatten(0, -2).mean(dim=0))
    return model


def adapted(kind: Kind = "segment", beta: float = BETA, **settings: object) -> FourierAdapted:
    model = network(kind)
    bank = DonorBank.from_scans(SCANS, beta=max(beta, BETA))
    return FourierAdapted(model.spec, network=model, bank=bank, beta=beta, restyling=Restyling(**settings))  # type: ignore[arg-type]


def by_hand(model: FourierAdapted, images: Tensor, chosen: Tensor, output: str = "real") -> Tensor:
    """Mean probabilities, one slice and one donor at a time."""
    donors = torch.cat(SCANS)
    found = []
    for image, rows in zip(images, chosen):
        total = 0.0
        for row in rows.tolist():
            swapped = swap_low_frequencies(image[None], donors[row][None], model.beta, "circle", output)  # type: ignore[arg-type]
            total = total + model.network.predict(swapped).probabilities[0].double()
        found.append(total / len(rows))
    return torch.stack(found)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["classify", "multilabel", "segment"])
@pytest.mark.parametrize(("how", "output"), [("2.5d", "real"), ("3d", "abs_max"), ("random", "real")])
def test_probabilities_of_versions_are_averaged(kind: Kind, how: str, output: str) -> None:
    model = adapted(kind, how=how, output=output, donors=3)
    predicted = model.predict(TARGET)
    drawn = generator(0, "donors")
    chosen = model.bank.choose(TARGET, torch.arange(SLICES), how, 3, drawn)  # type: ignore[arg-type]
    expected = by_hand(model, TARGET, chosen, output)
    torch.testing.assert_close(predicted.probabilities.double(), expected, rtol=0, atol=1e-5)
    assert (expected - model.network.predict(TARGET).probabilities).abs().max() > 1e-3
    labels = (expected > 0.5).long() if kind == "multilabel" else expected.argmax(dim=1)
    assert torch.equal(predicted.labels, labels)
    again = predicted.outputs.sigmoid() if kind == "multilabel" else predicted.outputs.softmax(dim=1)
    torch.testing.assert_close(again, predicted.probabilities, rtol=0, atol=1e-5)


def test_averaging_probabilities_is_not_averaging_logits() -> None:
    model = adapted(how="random", donors=7)
    chosen = model.bank.choose(TARGET, torch.arange(SLICES), "random", 7, generator(0, "donors"))
    logits = []
    for image, rows in zip(TARGET, chosen):
        donors = torch.cat(SCANS)[rows]
        swapped = swap_low_frequencies(image[None].expand_as(donors), donors, BETA)
        logits.append(model.network.predict(swapped).outputs.mean(dim=0))
    of_logits = torch.stack(logits).softmax(dim=1)
    assert (model.predict(TARGET).probabilities - of_logits).abs().max() > 1e-4


@pytest.mark.parametrize("beta", [0.0, -0.01])
def test_beta_of_zero_is_the_plain_prediction_bit_for_bit(beta: float) -> None:
    model = adapted(beta=beta)
    assert model.predict_by == "image"
    for one, other in zip(model.predict(TARGET), model.network.predict(TARGET)):
        assert torch.equal(one, other)


def test_the_own_contrast_changes_nothing() -> None:
    plain = network()
    bank = DonorBank.from_scans([TARGET], beta=BETA)
    model = FourierAdapted(plain.spec, network=plain, bank=bank, beta=BETA)
    found, expected = model.predict(TARGET), plain.predict(TARGET)
    torch.testing.assert_close(found.probabilities, expected.probabilities, rtol=0, atol=1e-5)


def test_blank_slices_stay_blank_and_blank_donors_lend_nothing() -> None:
    target = TARGET.clone()
    target[0] = 0.0
    donor = SCANS[0].clone()
    donor[1] = 0.0
    plain = network()
    model = FourierAdapted(
        plain.spec, network=plain, bank=DonorBank.from_scans([donor], beta=BETA), beta=BETA
    )
    found, expected = model.predict(target).probabilities, plain.predict(target).probabilities
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[:2], expected[:2], rtol=0, atol=1e-6)
    assert (found[2] - expected[2]).abs().max() > 1e-3


def test_a_bank_of_one_scan_is_enough() -> None:
    plain = network()
    bank = DonorBank.from_scans(SCANS[:1], beta=BETA)
    for how in ("random", "3d", "2.5d"):
        model = FourierAdapted(plain.spec, network=plain, bank=bank, beta=BETA, restyling=Restyling(how=how))
        expected = by_hand(model, TARGET, torch.arange(SLICES)[:, None])
        if how != "2.5d":  # which may take a neighbour
            torch.testing.assert_close(
                model.predict(TARGET).probabilities.double(), expected, atol=1e-5, rtol=0
            )


def test_saved_and_loaded_it_predicts_the_same(tmp_path: Path) -> None:
    model = adapted(how="2d", donors=2, least_agreement=0.1, match="index")
    model.seed = 5
    loaded = load_model(model.save(tmp_path / "model"))
    assert isinstance(loaded, FourierAdapted)
    assert loaded.config()["restyling"] == model.config()["restyling"] and loaded.seed == 5
    for one, other in zip(model.predict(TARGET), loaded.predict(TARGET)):
        assert torch.equal(one, other)


def test_slices_are_matched_by_position() -> None:
    places = np.arange(6) * 2.0
    plain = network()
    bank = DonorBank.from_scans(SCANS[:1], beta=BETA, positions=[places])
    model = FourierAdapted(
        plain.spec, network=plain, bank=bank, beta=BETA, restyling=Restyling(match="position")
    )
    backwards = places[:SLICES][::-1].copy()
    expected = by_hand(model, TARGET, torch.arange(SLICES).flip(0)[:, None])
    found = model.predict(TARGET, positions=backwards).probabilities
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)
    with pytest.raises(DataError, match="position_mm"):
        model.predict(TARGET)


# Limits


def test_a_scan_past_a_limit_keeps_its_plain_prediction_bit_for_bit() -> None:
    plain = network().predict(TARGET)
    rows = np.array([3, 4, 7, 9])
    free = adapted(how="2d")
    alike = agreement(plain, free.predict(TARGET), free.spec)
    lost = confidence(plain, free.spec) - confidence(free.predict(TARGET), free.spec)
    assert 0 < alike < 1 and lost > 0
    for settings, reason in (
        ({"least_agreement": alike + 0.001}, "agreement"),
        ({"most_confidence_lost": lost - 1e-6}, "confidence"),
    ):
        model = adapted(how="2d", **settings)
        for one, other in zip(model.predict(TARGET, rows=rows), plain):
            assert torch.equal(one, other)
        assert sorted(model.remarks) == rows.tolist() and reason in model.remarks[3]
    within = adapted(how="2d", least_agreement=alike - 0.001, most_confidence_lost=lost + 1e-6)
    assert torch.equal(within.predict(TARGET, rows=rows).outputs, free.predict(TARGET).outputs)
    assert within.remarks == {}


def test_agreement_and_confidence_equal_numbers_worked_by_hand() -> None:
    def told(labels: list[list[int]], sure: float) -> Prediction:
        chosen = torch.tensor(labels)[None]
        maps = torch.nn.functional.one_hot(chosen, 3).movedim(-1, 1).float()
        return Prediction(maps, maps * sure + (1 - maps) * (1 - sure) / 2, chosen)

    spec = ModelSpec(kind="segment", classes=("rest", "a", "b"))
    one, other = told([[0, 1, 1, 2]], 0.8), told([[0, 1, 2, 2]], 0.7)
    assert agreement(one, other, spec) == pytest.approx(2 / 3)
    assert agreement(one, one, spec) == agreement(told([[0, 0]], 1), told([[0, 0]], 1), spec) == 1
    assert confidence(one, spec) == pytest.approx(0.8) and confidence(other, spec) == pytest.approx(0.7)
    several = ModelSpec(kind="multilabel", classes=("a", "b"))
    labels = torch.tensor([[1, 0]]), torch.tensor([[1, 1]])
    first, second = (Prediction(label, torch.tensor([[0.9, 0.2]]), label) for label in labels)
    assert agreement(first, second, several) == 0.5
    assert confidence(first, several) == pytest.approx(0.85)


# Through the predictor


def slices_of(scans: list[Tensor], order: list[int] | None = None, **columns: list[float]) -> Cohort:
    """A cohort with a row per slice, of patients p0, p1, ..."""
    import pandas as pd

    images = torch.cat(scans).movedim(1, -1).numpy()
    patients = np.asarray([f"p{number}" for number, one in enumerate(scans) for _ in one])
    rows = np.arange(len(images)) if order is None else np.asarray(order)
    attributes = pd.DataFrame(columns).iloc[rows].reset_index(drop=True) if columns else None
    return Cohort.from_arrays(
        images[rows], kind="encode", patients=patients[rows].tolist(), attributes=attributes
    )


def as_stored(model: FourierAdapted) -> FourierAdapted:
    """With images taken as they are."""
    preparation = Preparation(channels=model.spec.channels, intensity="none")
    model.spec = model.network.spec = model.spec.changed(preparation=preparation)
    return model


def test_the_predictor_brings_whole_scans_wherever_their_rows_stand() -> None:
    model = as_stored(adapted(how="3d", least_agreement=1.0))
    targets = [TARGET, 0.5 * scan(51)]
    shuffled = slices_of(targets, order=[4, 0, 5, 1, 2, 6, 3, 7])
    expected = torch.cat([model.network.predict(one).probabilities for one in targets])
    found = {mask.row: mask for mask in predict_masks(model, shuffled, batch_size=3)}
    assert sorted(model.remarks) == list(range(8))
    for row, place in enumerate([4, 0, 5, 1, 2, 6, 3, 7]):
        assert np.array_equal(found[row].labels, expected[place].argmax(dim=0).numpy())
    classifier = as_stored(adapted("classify", how="3d"))
    told = predict_labels(classifier, shuffled, batch_size=2).probabilities
    wanted = torch.cat([classifier.predict(one).probabilities for one in targets])
    np.testing.assert_allclose(told, wanted[[4, 0, 5, 1, 2, 6, 3, 7]].numpy(), atol=1e-5)


def test_the_predictor_brings_positions_along() -> None:
    plain = network("classify")
    bank = DonorBank.from_scans(SCANS[:1], beta=BETA, positions=[np.arange(6) * 2.0])
    settings = Restyling(match="position")
    model = as_stored(FourierAdapted(plain.spec, network=plain, bank=bank, beta=BETA, restyling=settings))
    cohort = slices_of([TARGET], position_mm=[6.0, 4.0, 2.0, 0.0])
    for flips in ((), ("width",)):
        told = predict_labels(model, cohort, flips=flips).probabilities  # type: ignore[arg-type]
        expected = model.predict(TARGET, positions=np.array([6.0, 4.0, 2.0, 0.0])).probabilities
        if not flips:
            np.testing.assert_allclose(told, expected.numpy(), atol=1e-5)
    with pytest.raises(DataError, match="row 1 holds 'nan'"):
        predict_labels(model, slices_of([TARGET], position_mm=[np.nan, 4.0, 2.0, 0.0]))


def test_what_a_model_has_against_a_scan_names_its_first_row() -> None:
    model = as_stored(adapted())
    with pytest.raises(ShapeError, match=r"\(from row 1, image in memory\)"):
        list(predict_masks(model, slices_of([TARGET[..., :40, :40]]), batch_size=2))


def test_a_volume_is_a_scan() -> None:
    model = as_stored(adapted(how="3d", least_agreement=None))
    volumes = torch.stack([TARGET, scan(51)]).movedim(2, -1).numpy()
    cohort = Cohort.from_arrays(volumes, kind="encode")
    for mask, one in zip(predict_masks(model, cohort, batch_size=2), (TARGET, scan(51)), strict=True):
        expected = model.predict(one).probabilities
        np.testing.assert_allclose(mask.confidence, expected.amax(dim=1).numpy(), atol=1e-5)


# What does not fit


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    model = adapted()
    with pytest.raises(ShapeError, match="Register and prepare them like the donors"):
        model.predict(TARGET[..., :40])
    with pytest.raises(DataError, match="this scan has one slice"):
        model.predict(TARGET[:1])
    bank = DonorBank.from_scans(SCANS, beta=0.01)
    with pytest.raises(ModelError, match="Build the bank for this network and beta"):
        FourierAdapted(model.spec, network=model.network, bank=bank, beta=0.02)
    with pytest.raises(ModelError, match="Build the bank for this network and beta"):
        FourierAdapted(network(channels=3).spec, network=network(channels=3), bank=model.bank, beta=BETA)
    patched = Preparation(channels=1, patch=(32, 32))
    spec = ModelSpec(kind="segment", classes=("rest", "disc"), channels=1, preparation=patched)
    with pytest.raises(ModelError, match="without a patch"):
        FourierAdapted(spec, network=UNet(spec, width=4, depth=2), bank=model.bank, beta=BETA)
