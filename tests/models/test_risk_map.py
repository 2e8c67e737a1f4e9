"""Transfer risk map: risk, map, weights and loss against recorded values, loops and numbers worked by hand.

tests/golden/leep_pixel.npz: made from the equations of Nguyen et al. 2020 and our reading of the weighting.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from medgraft.errors import SettingsError
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.risk_map import RiskMap, foreground_of, pixel_risk, risk_weights, spread_per_image

GOLDEN = {
    name: torch.from_numpy(array)
    for name, array in np.load(Path(__file__).parents[1] / "golden" / "leep_pixel.npz").items()
}
LABELS, EXPECTED = GOLDEN["labels"], GOLDEN["pixel_log_eep"].exp()
RISK, ALL = GOLDEN["risk_neglog"], torch.ones_like(LABELS, dtype=torch.bool)
SMALL: dict[str, Any] = {"rtol": 0.0, "atol": 1e-9}


def test_risk_map_and_weights_are_the_recorded_ones() -> None:
    torch.testing.assert_close(pixel_risk(EXPECTED), RISK, **SMALL)
    torch.testing.assert_close(spread_per_image(RISK, ALL), GOLDEN["risk_minmax_per_image"], **SMALL)
    sizes = (36 / GOLDEN["n_fg"].double()).view(2, 1, 1)
    weights = risk_weights(RISK, ALL, LABELS > 0, RiskMap())
    torch.testing.assert_close(weights, GOLDEN["weight_pow10_minmax"] * sizes, **SMALL)


@pytest.mark.parametrize(
    ("recorded", "settings"),
    [
        ("loss_allpix_over_nfg", RiskMap(weights="risk")),
        ("loss_fgonly_over_nfg", RiskMap(weights="risk", numerator="foreground")),
        ("loss_oneplus_minmax_allpix_over_nfg", RiskMap(weights="one_plus")),
        ("loss_pow10_allpix_over_nfg", RiskMap()),
    ],
)
def test_losses_are_the_recorded_ones(recorded: str, settings: RiskMap) -> None:
    weights = risk_weights(RISK, ALL, LABELS > 0, settings)
    found = (weights * GOLDEN["ce_map"]).flatten(1).mean(1).mean()
    assert found.item() == pytest.approx(GOLDEN[recorded].item(), abs=1e-9)


def example() -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, truth, risk; the third image shows no foreground, of the fourth some labels are 9: ignored."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(4, 3, 5, 6, generator=generator)
    truth = torch.randint(0, 3, (4, 5, 6), generator=generator)
    truth[2] = 0
    truth[3, :2] = 9
    return outputs, truth, torch.rand(4, 5, 6, generator=generator) * 4


def weights_by_loop(risk: Tensor, truth: Tensor, settings: RiskMap) -> list[float]:
    """Sum-of-pixels weights of one image, divided by its foreground, pixel by pixel; 0 where ignored."""
    risks, labels = risk.flatten().tolist(), truth.flatten().tolist()
    known = [r for r, y in zip(risks, labels) if y != 9]
    shown = sum(0 < y < 9 for y in labels)
    weights = []
    for r, y in zip(risks, labels):
        m = (r - min(known)) / (max(known) - min(known))
        weight = {"power": settings.base**m, "one_plus": 1 + m, "risk": r}[settings.weights]
        counts = y != 9 and (settings.numerator == "all" or y > 0)
        weights.append(weight / (shown or len(known)) if counts else 0.0)
    return weights


@pytest.mark.parametrize("settings", [
    RiskMap(), RiskMap(base=3.0, numerator="foreground"), RiskMap(weights="one_plus"), RiskMap(weights="risk"),
])  # fmt: skip
def test_the_loss_equals_a_loop_over_pixels(settings: RiskMap) -> None:
    outputs, truth, risk = example()
    loss = build_loss(
        LossSettings(terms={"cross_entropy": 2.0}, ignore_label=9, risk_map=settings), "segment"
    )
    found = loss(outputs, truth, risk_weights(risk, truth != 9, truth > 0, settings))
    total = 0.0
    for image in range(4):
        each = functional.cross_entropy(
            outputs[image : image + 1], truth[image : image + 1], reduction="none", ignore_index=9
        )
        weights = weights_by_loop(risk[image], truth[image], settings)
        total += sum(weight * value for weight, value in zip(weights, each.flatten().tolist()))
    assert found.item() == pytest.approx(2 * total / 4, rel=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy", "dice_cross_entropy"])
def test_the_loss_of_a_batch_is_the_mean_of_its_halves(name: Any) -> None:
    outputs, truth, risk = example()
    settings = RiskMap()
    loss = build_loss(LossSettings(name=name, ignore_label=9, risk_map=settings), "segment")

    def of(part: slice) -> float:
        weights = risk_weights(risk[part], truth[part] != 9, truth[part] > 0, settings)
        return loss(outputs[part], truth[part], weights).item()

    assert of(slice(None)) == pytest.approx((of(slice(2)) + of(slice(2, 4))) / 2, rel=1e-6)


def test_soft_dice_stays_as_it_is() -> None:
    outputs, truth, risk = example()
    truth = truth.clamp(max=2)
    weights = risk_weights(risk, truth >= 0, truth > 0, RiskMap())
    both = LossSettings(terms={"cross_entropy": 1.0, "soft_dice": 1.0}, risk_map=RiskMap())
    weighted = build_loss(both, "segment")(outputs, truth, weights)
    alone = build_loss(LossSettings(name="cross_entropy", risk_map=RiskMap()), "segment")
    dice = build_loss(LossSettings(name="soft_dice"), "segment")(outputs, truth)
    torch.testing.assert_close(weighted, alone(outputs, truth, weights) + dice)


def test_a_map_of_one_risk_weighs_all_pixels_alike() -> None:
    risk = torch.full((1, 2, 3), 2.0)
    risk[0, 0, 0] += 1e-6  # rounding
    known = torch.ones(1, 2, 3, dtype=torch.bool)
    assert spread_per_image(risk, known).tolist() == [[[0.0] * 3] * 2]
    foreground = torch.zeros_like(known)
    foreground[0, 1] = True
    assert risk_weights(risk, known, foreground, RiskMap()).tolist() == [[[2.0] * 3] * 2]  # 6 pixels over 3


def test_without_foreground_the_mean_is_the_plain_one_or_nothing() -> None:
    risk, known = torch.tensor([[0.0, 1.0]]), torch.ones(1, 2, dtype=torch.bool)
    assert risk_weights(risk, known, ~known, RiskMap()).tolist() == [[1.0, 10.0]]
    assert risk_weights(risk, known, ~known, RiskMap(numerator="foreground")).tolist() == [[0.0, 0.0]]


def test_images_of_which_nothing_is_known_count_as_nothing() -> None:
    outputs, truth, risk = example()
    truth[:] = 9
    weights = risk_weights(risk, truth != 9, truth > 0, RiskMap())
    loss = build_loss(LossSettings(name="cross_entropy", ignore_label=9, risk_map=RiskMap()), "segment")
    assert weights.isfinite().all() and loss(outputs, truth, weights).item() == 0


def test_foreground_by_intensity_is_what_differs_from_black_however_it_was_standardised() -> None:
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 1:3, 1:3] = torch.tensor([[0.3, 0.9], [0.5, 0.001]])
    truth = torch.zeros(1, 4, 4, dtype=torch.int64)
    for standardised in (image, (image - 0.4) / 0.2):
        found = foreground_of(standardised, truth, RiskMap(foreground="intensity"))
        assert found.nonzero().tolist() == [[0, 1, 1], [0, 1, 2], [0, 2, 1]]
    assert not foreground_of(image, truth, RiskMap()).any()


def test_the_risk_has_a_ceiling() -> None:
    assert pixel_risk(torch.zeros(1, dtype=torch.float64)).item() == pytest.approx(-math.log(1e-6))


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValidationError, match="soft Dice alone"):
        LossSettings(name="soft_dice", risk_map=RiskMap())
    with pytest.raises(ValidationError):
        RiskMap(base=1.0)
    with pytest.raises(SettingsError, match="needs kind 'segment'"):
        build_loss(LossSettings(name="cross_entropy", risk_map=RiskMap()), "classify")
    loss = build_loss(LossSettings(name="cross_entropy", risk_map=RiskMap()), "segment")
    with pytest.raises(SettingsError, match="weighs pixels by the source's risk"):
        loss(torch.zeros(1, 2, 3), torch.zeros(1, 3, dtype=torch.int64))
