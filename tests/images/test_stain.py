"""Stain normalisers against published packages, scikit-image, NumPy and synthetic truth.

tests/golden/stain_norm.npz: Macenko and both Reinhards of torchstain, whose bytes are truncated.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor

from medgraft.errors import DataError, ShapeError
from medgraft.images.cielab import lab_to_rgb, rgb_to_lab
from medgraft.images.reinhard import LabStatistics, Reinhard
from medgraft.images.stain import SAMPLED, Macenko, Vahadane, lasso_of_two, quantile

GOLDEN = dict(np.load(Path(__file__).parents[1] / "golden" / "stain_norm.npz"))
NORMALISERS = (Macenko(), Vahadane(), Reinhard())
LABORATORIES = (((0.65, 0.70, 0.29), (0.12, 0.95, 0.25)), ((0.55, 0.75, 0.40), (0.22, 0.90, 0.38)))


def golden(name: str) -> Tensor:
    return torch.from_numpy(GOLDEN[name]).permute(2, 0, 1)[None].double() / 255


def levels(images: Tensor) -> np.ndarray:
    """Bytes as the packages make them."""
    return (255 * images[0].permute(1, 2, 0)).floor().numpy()


def unit(laboratory: int) -> Tensor:
    vectors = torch.tensor(LABORATORIES[laboratory], dtype=torch.float64).T
    return vectors / vectors.norm(dim=0)


def tissue(
    seed: int = 0, laboratory: int = 0, white: float = 1.0, strengths: tuple[float, float] = (1.0, 1.0),
    count: int = 1, side: int = 48,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Nuclei with little eosin, eosin with little haematoxylin, and a strip of glass: images and amounts."""
    generator = torch.Generator().manual_seed(seed)
    much, more, kind = torch.rand(3, count, side, side, dtype=torch.float64, generator=generator)
    nucleus = kind < 0.3
    amounts = torch.stack(
        [torch.where(nucleus, 0.5 + 1.2 * much, 0.05 * much), torch.where(nucleus, 0.1 * more, 0.2 + 0.9 * more)], 1
    ) * torch.tensor(strengths, dtype=torch.float64).view(2, 1, 1)  # fmt: skip
    amounts[:, :, : side // 8] = 0.0
    return white * torch.exp(-torch.einsum("cs,bshw->bchw", unit(laboratory), amounts)), amounts


def degrees(one: Tensor, other: Tensor) -> Tensor:
    return torch.rad2deg(torch.arccos((one * other).sum(0).clamp(-1, 1)))


def test_macenko_is_that_of_torchstain() -> None:
    macenko = Macenko()
    source, target = macenko.fit(golden("src")), macenko.fit(golden("tgt"))
    np.testing.assert_allclose(source.vectors, GOLDEN["macenko_HE_src"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(source.strengths, GOLDEN["macenko_maxC_src"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(target.vectors, GOLDEN["macenko_HERef"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(target.strengths, GOLDEN["macenko_maxCRef"], rtol=0, atol=1e-9)
    images, changed = macenko.normalise(golden("src"), target)
    assert changed.tolist() == [True]
    assert np.abs(levels(images) - GOLDEN["macenko_numpy"]).max() <= 1
    single = macenko.normalise(golden("src").float(), target).images
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), images, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("modified", "name"), [(False, "reinhard_plain"), (True, "reinhard_modified")])
def test_reinhard_is_that_of_torchstain(modified: bool, name: str) -> None:
    reinhard = Reinhard(modified=modified)
    target = reinhard.fit(golden("tgt"))
    np.testing.assert_allclose(target.mean, GOLDEN["reinhard_target_means"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(target.sd, GOLDEN["reinhard_target_stds"], rtol=0, atol=1e-4)
    images = reinhard.normalise(golden("src"), target).images
    assert np.abs(levels(images) - GOLDEN[name]).max() <= 1
    single = reinhard.normalise(golden("src").float(), target).images
    torch.testing.assert_close(single.double(), images, rtol=0, atol=1e-4)


def test_cielab_is_that_of_scikit_image() -> None:
    images = torch.rand(2, 3, 16, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    images[0, :, 0] = torch.tensor([0.0, 1e-3, 0.02, 0.04045, 0.05, 0.1, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0])
    images[0, :2, 1] = 0.0
    lab = rgb_to_lab(images)
    for row in range(2):
        np.testing.assert_allclose(
            lab[row].permute(1, 2, 0), rgb2lab(images[row].permute(1, 2, 0)), atol=3e-4
        )
    torch.testing.assert_close(rgb_to_lab(images.float()).double(), lab, rtol=0, atol=2e-4)
    torch.testing.assert_close(lab_to_rgb(lab), images, rtol=0, atol=1e-7)
    torch.testing.assert_close(lab_to_rgb(lab.float()).double(), images, rtol=0, atol=1e-5)
    vivid = lab * torch.tensor([1.0, 1.8, 1.8]).view(3, 1, 1)  # much of it is no colour at all
    shown = np.stack([lab2rgb(each) for each in vivid.permute(0, 2, 3, 1).numpy()])
    np.testing.assert_allclose(lab_to_rgb(vivid).permute(0, 2, 3, 1), shown, rtol=0, atol=1e-4)


def test_reinhard_gives_the_mean_and_spread_of_the_target() -> None:
    source, reference = tissue(0)[0], tissue(1, laboratory=1, strengths=(0.7, 0.8))[0]
    reference = 0.08 + 0.8 * reference  # pale, so that nothing is clipped
    reinhard = Reinhard()
    matched = reinhard.normalise(0.15 + 0.7 * source, reinhard.fit(reference)).images[0].permute(1, 2, 0)
    assert matched.min() > 0 and matched.max() < 1
    ours, theirs = rgb2lab(matched.numpy()), rgb2lab(reference[0].permute(1, 2, 0).numpy())
    np.testing.assert_allclose(ours.mean((0, 1)), theirs.mean((0, 1)), rtol=0, atol=1e-3)
    np.testing.assert_allclose(ours.std((0, 1)), theirs.std((0, 1)), rtol=0, atol=1e-3)


def test_statistics_of_a_set_are_those_of_all_its_pixels() -> None:
    images = torch.cat([tissue(seed, laboratory=seed % 2)[0] for seed in range(3)])
    lab = np.concatenate([rgb2lab(image.permute(1, 2, 0).numpy()).reshape(-1, 3) for image in images])
    found = Reinhard().fit(images)
    np.testing.assert_allclose(found.mean, lab.mean(0), rtol=0, atol=1e-3)
    np.testing.assert_allclose(found.sd, lab.std(0), rtol=0, atol=1e-3)


@pytest.mark.parametrize("normaliser", [Macenko(), Vahadane()])
def test_stains_of_a_set_are_those_of_its_tiles_side_by_side(normaliser: Macenko | Vahadane) -> None:
    images = tissue(count=3)[0]
    wide = torch.cat(list(images), 2)[None]
    one, other = normaliser.fit(images), normaliser.fit(wide)
    assert degrees(one.vectors, other.vectors).max() < 0.1
    torch.testing.assert_close(one.strengths, other.strengths, rtol=1e-2, atol=0)


def test_an_image_matched_to_itself_stays() -> None:
    images = tissue(white=240 / 255)[0]
    macenko, reinhard, vahadane = Macenko(), Reinhard(), Vahadane()
    inside = macenko.normalise(images, macenko.fit(images)).images[:, :, 8:]
    # Macenko adds a level of 256 and does not take it away again.
    torch.testing.assert_close(inside, images[:, :, 8:], rtol=0, atol=2 / 255)
    torch.testing.assert_close(
        reinhard.normalise(images, reinhard.fit(images)).images, images, rtol=0, atol=1e-6
    )
    same = vahadane.normalise(images, vahadane.fit(images)).images
    assert (same - images).abs().mean() < 0.02  # the cost of amounts and of amounts below 0 remains


@pytest.mark.parametrize(("seed", "laboratory"), list(product(range(3), range(2))))
def test_macenko_recovers_the_truth(seed: int, laboratory: int) -> None:
    images, amounts = tissue(seed, laboratory, white=240 / 255)
    stains = Macenko().fit(images)
    assert degrees(stains.vectors, unit(laboratory)).max() < 3
    found = Macenko().amounts(images, stains)
    for stain in range(2):
        assert (
            torch.corrcoef(torch.stack([found[:, stain].flatten(), amounts[:, stain].flatten()]))[0, 1] > 0.98
        )


@pytest.mark.parametrize(("seed", "laboratory"), list(product(range(3), range(2))))
def test_vahadane_recovers_the_truth_from_any_seed(seed: int, laboratory: int) -> None:
    images, amounts = tissue(seed, laboratory)
    vahadane = Vahadane(seed=seed)
    stains = vahadane.fit(images)
    assert degrees(stains.vectors, unit(laboratory)).max() < 5
    torch.testing.assert_close(stains.vectors.norm(dim=0), torch.ones(2, dtype=torch.float64))
    assert (stains.vectors >= 0).all()
    found = vahadane.amounts(images, stains)
    assert found.shape == amounts.shape and found.min() == 0
    assert (found - amounts).abs().mean() < 0.05


def test_other_seeds_find_the_same_colours_and_the_same_seed_the_same_bits() -> None:
    images = tissue(side=64)[0]
    fits = [Vahadane(seed=seed, pixels=1000).fit(images).vectors for seed in (0, 0, 1, 2)]
    assert torch.equal(fits[0], fits[1]) and not torch.equal(fits[0], fits[2])
    assert max(degrees(fits[0], other).max() for other in fits[2:]) < 1


def test_vahadane_stands_at_a_minimum() -> None:
    images = tissue()[0]
    stains, sparsity = Vahadane(rounds=1000).fit(images), 0.1
    pixels = images[0].flatten(1)
    density = -pixels.log()[:, rgb2lab(images[0].permute(1, 2, 0).numpy())[..., 0].ravel() < 80]

    def cost(vectors: Tensor) -> Tensor:
        vectors = (vectors / vectors.norm(dim=0)).clamp(min=0)
        amounts = lasso_of_two(density, vectors, sparsity)
        return 0.5 * (density - vectors @ amounts).square().sum() + sparsity * amounts.sum()

    least = cost(stains.vectors)
    for place, step in product(range(6), (-1e-2, 1e-2)):
        moved = stains.vectors.clone()
        moved.view(-1)[place] += step
        assert cost(moved) > least


def test_the_lasso_of_two_is_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    values = 3 * torch.rand(3, 60, dtype=torch.float64, generator=generator) - 0.7
    for seed in range(4):
        atoms = torch.rand(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        atoms = atoms / atoms.norm(dim=0)
        for sparsity in (0.0, 0.1, 0.6):
            found = lasso_of_two(values, atoms, sparsity)
            # The same problem as least squares: A h with A'A = atoms'atoms, and b with A'b = atoms'v - sparsity.
            root = torch.linalg.cholesky(atoms.mT @ atoms).mT
            right = torch.linalg.solve(root.mT, atoms.mT @ values - sparsity)
            expected = np.stack([nnls(root.numpy(), column)[0] for column in right.T.numpy()], 1)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("length", [1, 2, 7, 100, 2049, 40_000])
def test_quantiles_are_those_of_numpy(length: int) -> None:
    values = torch.randn(length, dtype=torch.float64, generator=torch.Generator().manual_seed(length)).round(
        decimals=2
    )
    for share in (0.5, 0.9, 0.99, 0.999, 1.0):
        np.testing.assert_allclose(quantile(values, share), np.quantile(values, share), rtol=0, atol=1e-12)
        padded = torch.cat([torch.full((length,), -9.0, dtype=torch.float64), values])
        assert quantile(padded, share, length) == quantile(values, share)


@pytest.mark.parametrize("offset", range(SAMPLED))
def test_quantiles_of_values_that_repeat_with_the_sampling_are_exact(offset: int) -> None:
    values = torch.arange(20_000.0)
    values[offset::SAMPLED] = 1e6  # the sample holds all of these, or none
    for share in (0.9, 0.97, 0.99, 0.999):
        np.testing.assert_allclose(quantile(values, share), np.quantile(values, share), rtol=1e-6)


@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.parametrize("order", [(0, 2, 3, 1), (1, 0, 2, 3)])
def test_how_images_lie_in_memory_does_not_matter(
    normaliser: Macenko | Vahadane | Reinhard, order: tuple[int, ...]
) -> None:
    tiles = tissue(count=2)[0].contiguous()
    moved = tiles.permute(order).contiguous().permute([order.index(axis) for axis in range(4)])
    target = normaliser.fit(tissue(5, laboratory=1)[0])
    assert moved.shape == tiles.shape and moved.stride() != tiles.stride()
    changed = normaliser.normalise(moved, target).images  # type: ignore[arg-type]
    torch.testing.assert_close(changed, normaliser.normalise(tiles, target).images)  # type: ignore[arg-type]


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_a_source_makes_all_tiles_of_a_slide_change_alike(normaliser: Macenko | Vahadane | Reinhard) -> None:
    tiles = torch.cat([tissue(count=2)[0], torch.ones(1, 3, 48, 48, dtype=torch.float64)])
    target = normaliser.fit(tissue(5, laboratory=1)[0])  # type: ignore[arg-type]
    together = normaliser.normalise(tiles, target, normaliser.fit(tiles))  # type: ignore[arg-type]
    assert together.changed.tolist() == [True] * 3
    alone = normaliser.normalise(tiles[1:2], target, normaliser.fit(tiles)).images  # type: ignore[arg-type]
    torch.testing.assert_close(together.images[1:2], alone, rtol=0, atol=1e-12)
    own = normaliser.normalise(tiles, target)  # type: ignore[arg-type]
    assert own.changed.tolist() == [True, True, False]
    assert (own.images[1] - together.images[1]).abs().max() > 1e-5


@pytest.mark.parametrize(("normaliser", "remains"), [(Macenko(), 0.2), (Vahadane(), 0.2), (Reinhard(), 0.8)])
def test_another_laboratory_comes_nearer_to_the_reference(
    normaliser: Macenko | Vahadane | Reinhard, remains: float
) -> None:
    """The same tissue stained in two laboratories: after normalisation the two look much more alike."""
    here, there = tissue(strengths=(0.8, 1.2), white=240 / 255)[0], tissue(laboratory=1, white=240 / 255)[0]
    images = normaliser.normalise(here, normaliser.fit(there)).images  # type: ignore[arg-type]
    assert (images - there).abs().mean() < remains * (here - there).abs().mean()


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_tiles_with_too_little_tissue_come_back_as_they_came(
    normaliser: Macenko | Vahadane | Reinhard,
) -> None:
    kinds = {
        "white": torch.ones(3, 48, 48), "nearly white": torch.full((3, 48, 48), 0.93),
        "few pixels": torch.ones(3, 48, 48), "one pixel": torch.ones(3, 48, 48),
    }  # fmt: skip
    kinds["few pixels"][:, 0, :6] = torch.rand(3, 6, generator=torch.Generator().manual_seed(0)) / 2
    kinds["one pixel"][:, 0, 0] = 0.0
    tiles = torch.stack([*kinds.values(), tissue()[0][0].float()])
    target = normaliser.fit(tiles[-1:])  # type: ignore[arg-type]
    images, changed = normaliser.normalise(tiles, target)  # type: ignore[arg-type]
    assert changed.tolist() == [False] * 4 + [True]
    assert torch.equal(images[:4], tiles[:4])
    for row in range(4):
        with pytest.raises(DataError, match="tissue"):
            normaliser.fit(tiles[row : row + 1])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="tissue"):
        normaliser.fit(tiles[:0])  # type: ignore[arg-type]
    assert normaliser.normalise(tiles[:0], target).images.shape == (0, 3, 48, 48)  # type: ignore[arg-type]


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_strange_tiles_never_give_anything_but_numbers(normaliser: Macenko | Vahadane | Reinhard) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(3, 40, 40, generator=generator)
    strange = {
        "black": torch.zeros(3, 40, 40), "grey": torch.full((3, 40, 40), 0.4),
        "one colour": torch.tensor([0.6, 0.2, 0.5])[:, None, None].expand(3, 40, 40),
        "grey levels": noise[:1].expand(3, 40, 40), "noise": noise,
        "red": noise * torch.tensor([1.0, 0, 0]).view(3, 1, 1),
        "two colours": torch.where(noise[0] < 0.5, torch.tensor([0.6, 0.2, 0.5]).view(3, 1, 1), 0.3),
        "one stain": tissue(side=40, strengths=(1.0, 0.0))[0][0].float(),
    }  # fmt: skip
    tiles = torch.stack(list(strange.values()))
    target = normaliser.fit(tissue()[0])  # type: ignore[arg-type]
    for least in (0.01, 0.0):
        normaliser = normaliser.model_copy(update={"least_tissue": least})
        images, changed = normaliser.normalise(tiles, target)  # type: ignore[arg-type]
        assert images.isfinite().all() and images.min() >= 0 and images.max() <= 1
        assert torch.equal(images[~changed], tiles[~changed])
        assert not normaliser.normalise(torch.ones(1, 3, 8, 8), target).images.isnan().any()  # type: ignore[arg-type]


def test_one_colour_holds_no_two_stains_but_can_be_shifted() -> None:
    flat = torch.tensor([0.6, 0.2, 0.5]).view(1, 3, 1, 1).expand(1, 3, 40, 40)
    for normaliser in (Macenko(), Vahadane()):
        assert not normaliser.normalise(flat, normaliser.fit(tissue()[0])).changed
    target = LabStatistics(torch.tensor([55.0, 20.0, -10.0]), torch.tensor([9.0, 4.0, 4.0]))
    moved = Reinhard().normalise(flat, target).images
    torch.testing.assert_close(rgb_to_lab(moved)[0, :, 0, 0], target.mean, rtol=0, atol=1e-3)


@pytest.mark.parametrize("normaliser", [Macenko(), Vahadane()])
def test_a_stain_that_a_slide_lacks_is_amplified_no_further_than_from_a_faint_one(
    normaliser: Macenko | Vahadane,
) -> None:
    images, target = tissue()[0], normaliser.fit(tissue()[0])
    lacking, faint = (
        target._replace(strengths=torch.tensor([1.0, least], dtype=torch.float64)) for least in (0.0, 0.01)
    )
    changed = normaliser.normalise(images, target, lacking).images
    assert torch.equal(changed, normaliser.normalise(images, target, faint).images)


def test_white_stays_white() -> None:
    images = tissue()[0]
    vahadane = Vahadane()
    glass = vahadane.normalise(images, vahadane.fit(tissue(1, laboratory=1)[0])).images[:, :, :6]
    torch.testing.assert_close(glass, torch.ones_like(glass))
    macenko = Macenko()
    glass = macenko.normalise(images, macenko.fit(tissue(1, laboratory=1)[0])).images[:, :, :6]
    assert glass.min() > 0.95


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_the_input_its_neighbours_and_autocast_do_not_matter(
    normaliser: Macenko | Vahadane | Reinhard,
) -> None:
    images = torch.cat([tissue(seed)[0] for seed in range(3)]).float()
    before, target = images.clone(), normaliser.fit(tissue(5, laboratory=1)[0])  # type: ignore[arg-type]
    together = normaliser.normalise(images, target).images  # type: ignore[arg-type]
    assert torch.equal(images, before)
    alone = normaliser.normalise(images[1:2], target).images  # type: ignore[arg-type]
    assert torch.equal(together[1:2], alone)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(normaliser.normalise(images, target).images, together)  # type: ignore[arg-type]
    half = normaliser.normalise(images.half(), target).images  # type: ignore[arg-type]
    assert half.dtype == torch.float16 and (half.float() - together).abs().mean() < 2e-3


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_what_is_no_colour_image_in_0_to_1_is_refused(normaliser: Macenko | Vahadane | Reinhard) -> None:
    images = tissue()[0].float()
    target = normaliser.fit(images)  # type: ignore[arg-type]
    for wrong in (images[:, :1], images[0], (images * 65535).to(torch.int32), (255 * images).byte()):
        with pytest.raises(ShapeError, match=r"float images \(B, 3, H, W\)"):
            normaliser.normalise(wrong, target)  # type: ignore[arg-type]
    unknown = images.clone()
    unknown[0, 0, 0, 0] = float("nan")
    for wrong in (255 * images, images - 0.5, unknown):
        with pytest.raises(DataError, match=r"values in \[0, 1\]"):
            normaliser.fit(wrong)
