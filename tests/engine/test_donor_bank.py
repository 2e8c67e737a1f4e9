"""The bank of donors: what it keeps, whom it chooses, against a choice slice by slice on the scans themselves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgraft.engine.donor_bank import DonorBank, How
from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.images.fourier import low_amplitude, swap_low_frequencies
from medgraft.images.sr_sim import sr_sim, sr_sim_maps
from medgraft.models.model import Model, register
from medgraft.models.spec import ModelSpec
from medgraft.models.storage import load_model
from medgraft.types import JSON, Kind, Preparation


def make_scan(seed: int, slices: int = 7, size: tuple[int, int] = (64, 56)) -> NDArray[np.float32]:
    """A bright ellipsoid of its own size with a dark core, and noise."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.linspace(-1, 1, side) for side in (slices, *size)), indexing="ij")
    shape = rng.uniform(0.5, 0.9, 3)
    away = np.sqrt(sum((axis / (half + (axis is grid[0]) * 0.6)) ** 2 for axis, half in zip(grid, shape)))
    scan = (away < 1) * rng.uniform(0.5, 1.0) - (away < rng.uniform(0.3, 0.7)) * 0.3
    return (scan + 0.05 * rng.random(away.shape)).astype(np.float32)


def scaled(scan: NDArray[np.float32]) -> NDArray[np.float64]:
    low, high = np.percentile(scan, (1, 99))
    return (np.clip(scan.astype(np.float64), low, high) - low) / (high - low)


def similarity(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Of whole slices, which have no more than 120 pixels a side here."""
    maps = [sr_sim_maps(torch.from_numpy(image)[None, None]) for image in (one, other)]
    return float(sr_sim(*maps))


def index(slices: int) -> Tensor:
    return torch.arange(slices)


SCANS = [make_scan(seed) for seed in range(5)]
TARGET = make_scan(99)
STARTS = [0, 7, 14, 21, 28]


def candidates(place: int, how: How) -> list[tuple[int, int]]:
    """(scan, slice) in the order of the bank."""
    middle = how == "2.5d" and 2 <= place < 5
    return [(donor, place + o) for donor in range(5) for o in (range(-2, 3) if middle else [0])]


@pytest.mark.parametrize("how", ["2d", "2.5d"])
def test_the_most_similar_slices_are_chosen_slice_by_slice(how: How) -> None:
    chosen = DonorBank.from_scans(SCANS).choose(torch.from_numpy(TARGET), index(7), how, donors=4)
    donors, target = [scaled(scan) for scan in SCANS], scaled(TARGET)
    assert chosen.shape == (7, 4)
    for place in range(7):
        scores = {
            STARTS[donor] + at: similarity(target[place], donors[donor][at])
            for donor, at in candidates(place, how)
        }
        best = sorted(scores, key=lambda row: -scores[row])[:4]
        # the bank's maps are rounded, so near ties may change places
        assert [scores[row] for row in chosen[place].tolist()] == pytest.approx(
            [scores[row] for row in best], abs=1e-4
        )
        assert len(set(chosen[place].tolist())) == 4
    if how == "2.5d":  # one scan may lend several slices
        scan_of = chosen[3] // 7
        assert max(Counter(scan_of.tolist()).values()) > 1


def test_whole_scans_are_chosen_by_their_mean() -> None:
    chosen = DonorBank.from_scans(SCANS).choose(torch.from_numpy(TARGET), index(7), "3d", donors=3)
    donors, target = [scaled(scan) for scan in SCANS], scaled(TARGET)
    means = [np.mean([similarity(target[z], donor[z]) for z in range(7)]) for donor in donors]
    best = np.argsort(means)[::-1][:3]
    expected = torch.tensor([[STARTS[donor] + z for donor in best] for z in range(7)])
    assert torch.equal(chosen, expected)


def test_chance_draws_a_scan_for_each_slice_and_donor() -> None:
    bank = DonorBank.from_scans(SCANS)
    target = torch.from_numpy(np.concatenate([TARGET] * 40))
    places = torch.arange(280) % 7
    chosen = bank.choose(target, places, "random", 7, torch.Generator().manual_seed(3))
    assert torch.equal(chosen % 7, places[:, None].expand(280, 7))
    counts = np.bincount((chosen // 7).flatten().numpy(), minlength=5)
    assert counts.min() > 300 and any(len(set(row)) < 7 for row in chosen.tolist())
    again = bank.choose(target, places, "random", 7, torch.Generator().manual_seed(3))
    assert torch.equal(chosen, again)


def test_equal_scores_keep_the_order_of_the_bank() -> None:
    bank = DonorBank.from_scans([SCANS[1], SCANS[0], SCANS[1], SCANS[1]])
    for how in ("2d", "3d"):
        chosen = bank.choose(torch.from_numpy(SCANS[1]), index(7), how, donors=3)
        assert chosen.tolist() == [[z, 14 + z, 21 + z] for z in range(7)]


def test_places_in_millimetres_find_the_nearest_slice() -> None:
    bank = DonorBank.from_scans(SCANS[:2], positions=[np.arange(7) * 2.0 - 6, np.arange(7) * -3.0 + 9])
    slices = torch.from_numpy(TARGET[:3])
    rows = bank.choose(slices, torch.tensor([-100.0, 0.4, 5.2]), "2d", donors=2)
    assert [sorted(row) for row in rows.tolist()] == [[0, 13], [3, 10], [6, 8]]


def test_scans_of_other_length_lend_their_last_slice() -> None:
    bank = DonorBank.from_scans([SCANS[0], SCANS[1][:3]])
    rows = bank.choose(torch.from_numpy(TARGET), index(7), "2d", donors=2)
    assert [sorted(row) for row in rows.tolist()] == [[z, 7 + min(z, 2)] for z in range(7)]


@pytest.mark.parametrize("how", ["random", "2d", "2.5d", "3d"])
def test_a_bank_of_one_scan_lends_that(how: How) -> None:
    bank = DonorBank.from_scans(SCANS[:1])
    rows = bank.choose(torch.from_numpy(TARGET), index(7), how, 7, torch.Generator().manual_seed(0))
    assert rows.shape == (7, 7 if how == "random" else 1)
    assert int(rows.min()) >= 0 and int(rows.max()) < 7


def test_a_slice_does_not_depend_on_the_slices_chosen_with_it() -> None:
    bank = DonorBank.from_scans(SCANS)
    # the same range of values, so that the scale is the same
    twice = torch.from_numpy(np.concatenate([TARGET, TARGET]))
    alone = bank.choose(torch.from_numpy(TARGET), index(7), "2.5d")
    together = bank.choose(twice, torch.cat([index(7), index(7)]), "2.5d")
    assert torch.equal(together[:7], alone) and torch.equal(together[7:], alone)


def test_crops_follow_the_intensity_and_stay_inside() -> None:
    """A bright patch near each corner of large slices; the crop holds it, so the slice finds its own kind."""
    rng = np.random.default_rng(0)
    patch = rng.random((20, 20)).astype(np.float32) + 0.5
    scans = []
    for top, left in ((0, 0), (0, 230), (180, 0), (180, 230), (90, 100)):
        scan = np.zeros((2, 200, 250), np.float32)
        scan[0, top : top + 20, left : left + 20] = patch
        scans.append(scan)  # the second slice is blank
    bank = DonorBank.from_scans(scans)
    assert bank.gradient.shape == (10, 120, 120)
    strength = bank.gradient[::2].float().sum((1, 2))
    assert float(strength.min()) > 0.8 * float(strength.max()) > 0
    # around the middle of the patch, wherever it can be
    rows, columns = (bank.gradient[8].sum(axis) for axis in (1, 0))
    assert rows.nonzero().flatten()[[0, -1]].tolist() == columns.nonzero().flatten()[[0, -1]].tolist()
    assert not bank.gradient[1::2].any()
    chosen = bank.choose(torch.from_numpy(scans[4]), index(2), "2d", donors=1)
    assert chosen.flatten().tolist() == [8, 1]


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_blank_scans_are_kept_and_chosen_without_nan(value: float) -> None:
    flat = np.full((3, 64, 56), value, np.float32)
    bank = DonorBank.from_scans([flat, SCANS[0][:3]])
    assert torch.isfinite(bank.saliency).all()
    rows = bank.choose(torch.from_numpy(flat), index(3), "2d", donors=1)
    assert rows.flatten().tolist() == [0, 1, 2]


def test_rounded_maps_change_scores_by_little() -> None:
    bank = DonorBank.from_scans(SCANS)
    scores = bank._scores(torch.from_numpy(TARGET)[:, None], index(7)[:, None].expand(7, 5), 0)[..., 0]
    target = scaled(TARGET)
    for donor, scan in enumerate(SCANS):
        exact = [similarity(target[z], scaled(scan)[z]) for z in range(7)]
        np.testing.assert_allclose(scores[:, donor].numpy(), exact, rtol=0, atol=1e-4)


def test_images_are_restyled_as_by_whole_donors() -> None:
    bank = DonorBank.from_scans(SCANS, beta=0.1, region="square")
    images, rows = torch.from_numpy(TARGET)[:, None], torch.tensor([0, 8, 16, 3, 3, 33, 34])
    donors = torch.from_numpy(np.concatenate(SCANS))[rows][:, None]
    for beta, output in ((1e-6, "real"), (0.05, "real"), (0.1, "abs_max")):
        expected = swap_low_frequencies(images, donors, beta, "square", output)
        torch.testing.assert_close(bank.restyle(images, rows, beta, output), expected, rtol=0, atol=1e-6)


def test_colour_is_kept_per_channel() -> None:
    scans = [np.stack([make_scan(seed + 10 * c) for c in range(3)], axis=1) for seed in range(2)]
    bank = DonorBank.from_scans(scans, beta=0.05)
    blocks = low_amplitude(torch.from_numpy(np.concatenate(scans)), 0.05)
    torch.testing.assert_close(bank.amplitude, blocks)
    assert bank.choose(torch.from_numpy(scans[1]), index(7), "2d", donors=1).flatten().tolist() == list(
        range(7, 14)
    )


def test_fifty_scans_of_two_hundred_slices_stay_under_200_megabytes() -> None:
    bank = DonorBank.from_scans([np.random.default_rng(0).random((2, 256, 256), dtype=np.float32)])
    per_slice = sum(buffer.nbytes for buffer in bank.buffers()) / 2
    assert bank.amplitude.shape == (2, 1, 17, 9)
    assert per_slice == 17 * 9 * 4 + 30 * 30 * 2 + 120 * 120 + 4
    assert 50 * 200 * per_slice < 170e6


@register
class HoldsBank(Model):
    """A model that has a bank as a part."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"encode"})

    def __init__(self, spec: ModelSpec, *, bank: JSON) -> None:
        super().__init__(spec)
        self.bank = DonorBank.from_config(bank)

    def config(self) -> JSON:
        return {"bank": self.bank.config()}


@pytest.mark.parametrize("size", [(64, 56), (30, 20)])
def test_a_model_that_holds_a_bank_is_saved_and_loaded_with_it(tmp_path: Path, size: tuple[int, int]) -> None:
    scans = [make_scan(seed, size=size) for seed in range(3)]
    bank = DonorBank.from_scans(scans, positions=[np.arange(7)] * 3)
    spec = ModelSpec(kind="encode", classes=(), channels=1, preparation=Preparation(channels=1))
    model = HoldsBank(spec, bank=bank.config())
    model.bank = bank
    loaded = load_model(model.save(tmp_path / "model"))
    assert isinstance(loaded, HoldsBank)
    assert loaded.bank.config() == bank.config()
    for name, buffer in bank.named_buffers():
        assert (
            torch.equal(loaded.bank.get_buffer(name), buffer)
            and buffer.dtype == loaded.bank.get_buffer(name).dtype
        )
    target = torch.from_numpy(make_scan(5, size=size))
    how: How = "2.5d" if size == (64, 56) else "random"
    draws = [
        b.choose(target, index(7), how, 7, torch.Generator().manual_seed(0)) for b in (bank, loaded.bank)
    ]
    assert torch.equal(*draws)


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    bank, target = DonorBank.from_scans(SCANS[:2]), torch.from_numpy(TARGET)
    with pytest.raises(DataError, match="at least one donor scan"):
        DonorBank.from_scans([])
    with pytest.raises(ShapeError, match="scan 1 has"):
        DonorBank.from_scans([SCANS[0], SCANS[1][:, :60]])
    with pytest.raises(DataError, match="Donor scan 1 needs finite numbers"):
        DonorBank.from_scans([SCANS[0], SCANS[1] * np.nan])
    with pytest.raises(ShapeError, match="slices of shape"):
        DonorBank.from_scans([SCANS[0][0]])
    with pytest.raises(ShapeError, match="one position per slice"):
        DonorBank.from_scans(SCANS[:2], positions=[np.arange(7)])
    with pytest.raises(ShapeError, match="like those of the bank"):
        bank.choose(target[:, :60], index(7), "2d")
    with pytest.raises(ShapeError, match="like those of the bank"):
        bank.restyle(target[:, None, :60], index(7), 0.01)
    with pytest.raises(ShapeError, match="Lower beta"):
        bank.restyle(target[:, None], index(7), 0.1)
    with pytest.raises(ShapeError, match="each of 7 slices"):
        bank.choose(target, index(6), "2d")
    with pytest.raises(DataError, match="positions of the donors"):
        bank.choose(target, index(7) * 2.0, "2d")
    with pytest.raises(SettingsError, match="at least one donor"):
        bank.choose(target, index(7), "2d", donors=0)
    with pytest.raises(SettingsError, match="a generator to draw from"):
        bank.choose(target, index(7), "random")
    small = DonorBank.from_scans([make_scan(0, size=(30, 50))])
    with pytest.raises(ShapeError, match="at random"):
        small.choose(torch.from_numpy(make_scan(1, size=(30, 50))), index(7), "2d")
