"""Change how images look, for networks that learn to give the clean image back: as Models Genesis does, in 2D.

Source of all: Zhou et al. 2019 (Models Genesis), with the numbers that Pang et al. 2022 (POPAR) published for 2D.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from medgraft.errors import ShapeError

CURVE_POINTS = 500
"""Of a Bezier curve, between which intensities are interpolated. Source: POPAR's code."""


def shuffle_pixels(images: Tensor, boxes: Tensor, seeds: Tensor) -> Tensor:
    """Fill small boxes of each image with their own pixels in random order.

    Args:
        images: (B, C, H, W), any dtype.
        boxes: (B, N, 4) int, top, left, height, width in pixels, inside the image. Where boxes overlap, the later one
            is seen; all are filled from the image as it was.
        seeds: (B,) int64; the same seed gives the same order.

    Returns: like `images`; channels of a pixel stay together.

    Raises:
        ShapeError: no images, or boxes or seeds of another number or outside the images.

    Source: Models Genesis. Differs from POPAR's code: that mixes channels, which makes grey images coloured.

    >>> shuffle_pixels(torch.arange(4).reshape(1, 1, 1, 4), torch.tensor([[[0, 1, 1, 3]]]), torch.tensor([0]))
    tensor([[[[0, 3, 1, 2]]]])
    """
    _check("shuffle_pixels", images, boxes, seeds)
    height, width = images.shape[2:]
    places = torch.arange(height * width).reshape(height, width)
    sources = places.repeat(len(images), 1, 1)
    for source, rows, seed in zip(sources, boxes.tolist(), seeds.tolist()):
        generator = torch.Generator().manual_seed(seed)
        for top, left, tall, wide in rows:
            box = slice(top, top + tall), slice(left, left + wide)
            mixed = torch.randperm(tall * wide, generator=generator)
            source[box] = places[box].flatten()[mixed].reshape(tall, wide)
    sources = sources.flatten(1)[:, None].expand(-1, images.shape[1], -1).to(images.device)
    return images.flatten(2).gather(2, sources).reshape(images.shape)


def bend_intensities(images: Tensor, controls: Tensor, rising: Tensor) -> Tensor:
    """Map intensities through a cubic Bezier curve, which keeps or reverses their order.

    Args:
        images: (B, C, H, W) float in [0, 1]; what is beyond is clipped.
        controls: (B, 2, 2) the two inner control points, each (input, output) in [0, 1]; the outer ones are (0, 0) and
            (1, 1). Both coordinates then never fall along the curve.
        rising: (B,) bool; True takes black to black and white to white, False black to white and white to black.

    Returns: like `images`, in [0, 1], linear between 500 points of the curve.

    Raises:
        ShapeError: no images, or other control points.

    Source: Models Genesis; 500 points as in POPAR's code.

    >>> straight = torch.tensor([[[1 / 3, 1 / 3], [2 / 3, 2 / 3]]])
    >>> bend_intensities(torch.tensor([0.0, 0.25, 1.0]).reshape(1, 1, 1, 3), straight, torch.tensor([False])).flatten()
    tensor([1.0000, 0.7500, 0.0000])
    """
    if images.ndim != 4 or controls.shape != (len(images), 2, 2) or rising.shape != (len(images),):
        raise ShapeError(
            "bend_intensities", "images (B, C, H, W), control points (B, 2, 2) and directions (B,)",
            f"got {tuple(images.shape)}, {tuple(controls.shape)} and {tuple(rising.shape)}",
            "Give each image two control points and one direction.",
        )  # fmt: skip
    inputs, outputs = _bezier(controls).to(images.device)
    outputs = torch.where(rising.to(images.device)[:, None], outputs, outputs.flip(1))
    values = images.double().flatten(1).clamp(0.0, 1.0)
    right = torch.searchsorted(inputs, values).clamp(1, CURVE_POINTS - 1)
    low, high = inputs.gather(1, right - 1), inputs.gather(1, right)
    share = (values - low) / (high - low)  # low < value <= high, or the value is 0: never 0 / 0
    bent = torch.lerp(outputs.gather(1, right - 1), outputs.gather(1, right), share)
    return bent.reshape(images.shape).to(images.dtype)


def in_paint(images: Tensor, boxes: Tensor, seeds: Tensor) -> Tensor:
    """Hide boxes of each image under uniform noise, the same in all channels.

    Args:
        images: (B, C, H, W) float in [0, 1].
        boxes: (B, N, 4) int, top, left, height, width in pixels, inside the image; height or width 0 hides nothing.
        seeds: (B,) int64, of the noise; the same seed gives the same noise on every device.

    Returns: like `images`; what is outside the boxes keeps its very values.

    Raises:
        ShapeError: no images, or boxes or seeds of another number or outside the images.

    Source: Models Genesis.

    >>> image = torch.ones(1, 1, 4, 4)
    >>> (in_paint(image, torch.tensor([[[1, 0, 2, 3]]]), torch.tensor([0])) == image)[0, 0].int()
    tensor([[1, 1, 1, 1],
            [0, 0, 0, 1],
            [0, 0, 0, 1],
            [1, 1, 1, 1]], dtype=torch.int32)
    """
    _check("in_paint", images, boxes, seeds)
    noise = _uniform_noise(images, seeds, channels=1)
    return torch.where(_covered(boxes, images), noise, images)


def out_paint(images: Tensor, boxes: Tensor, seeds: Tensor) -> Tensor:
    """Hide all but boxes of each image under uniform noise, another in each channel.

    Args:
        images: (B, C, H, W) float in [0, 1].
        boxes: (B, N, 4) int, top, left, height, width in pixels, inside the image: what stays. An image whose boxes all
            have a height or width of 0 stays as it is.
        seeds: (B,) int64, of the noise; the same seed gives the same noise on every device.

    Returns: like `images`; what is inside the boxes keeps its very values.

    Raises:
        ShapeError: no images, or boxes or seeds of another number or outside the images.

    Source: Models Genesis.

    >>> image = torch.ones(1, 1, 2, 3)
    >>> (out_paint(image, torch.tensor([[[0, 0, 1, 2]]]), torch.tensor([0])) == image)[0, 0].int()
    tensor([[1, 1, 0],
            [0, 0, 0]], dtype=torch.int32)
    """
    _check("out_paint", images, boxes, seeds)
    kept = _covered(boxes, images)
    kept |= ~kept.flatten(1).any(1).reshape(-1, 1, 1, 1)
    return torch.where(kept, images, _uniform_noise(images, seeds, channels=images.shape[1]))


class AppearanceParameters(NamedTuple):
    """What happens to each image of a batch; CPU tensors whose first dimension is the batch."""

    shuffled: Tensor
    """(B, blocks, 4) int64 boxes."""
    bent: Tensor
    """(B,) bool, whether intensities change."""
    controls: Tensor
    """(B, 2, 2) points of the curve."""
    rising: Tensor
    """(B,) bool, its direction."""
    hidden: Tensor
    """(B, 5, 4) int64 boxes of in-painting; zeros where there is none."""
    kept: Tensor
    """(B, 5, 4) int64 boxes of out-painting; zeros where there is none."""
    seeds: Tensor
    """(B,) int64, of the order of pixels and of the noise."""


Chance = Annotated[float, Field(ge=0, le=1)]


class Appearance(BaseModel):
    """Random changes of how images look; the defaults are those of POPAR.

    In this order: pixels shuffled within small boxes, intensities through a curve, then in- or out-painting.

    >>> images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> Appearance()(images, torch.Generator().manual_seed(1)).shape
    torch.Size([4, 3, 32, 32])
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: Annotated[int, Field(ge=0)] = 40
    """Boxes in each image whose pixels are shuffled; sides from 1 pixel to a tenth of the image's."""
    bend_chance: Chance = 0.9
    """Probability that intensities change."""
    falling: Chance = 0.5
    """Share of these whose black and white are swapped."""
    paint_chance: Chance = 0.9
    """Probability of painting."""
    out_paint_share: Chance = 0.8
    """Share of this that is out-painting, boxes of 3/7 to 4/7 of the side kept; of the rest, boxes of 1/6 to 1/3 are
    hidden."""

    def sample(
        self, batch_size: int, height: int, width: int, generator: torch.Generator
    ) -> AppearanceParameters:
        """Draw what shall happen to each image.

        Args:
            batch_size: number of images.
            height: of the images in pixels, at least 14.
            width: likewise.
            generator: on the CPU. The same numbers are drawn whatever the chances, and those of the first images are
                the same however many follow.

        Returns: the parameters for `apply`.

        Raises:
            ShapeError: the images are too small for painting, whose boxes stay 3 pixels off the border.
        """
        if min(height, width) < SMALLEST:
            raise ShapeError(
                "Appearance", f"images of at least {SMALLEST} x {SMALLEST} pixels", f"these are {height} x {width}",
                "Prepare to a larger size.",
            )  # fmt: skip
        size = (height, width)
        drawn = torch.rand(batch_size, DRAWS + 4 * self.blocks, generator=generator, dtype=torch.float64)
        bent, falling, painted, outside, seeds = drawn[:, :5].unbind(1)
        controls, goes_on, boxes, shuffled = torch.split(
            drawn[:, 5:], [4, BOXES, 4 * BOXES, 4 * self.blocks], 1
        )
        boxes, painting, out = (
            boxes.reshape(batch_size, BOXES, 4),
            painted < self.paint_chance,
            outside < self.out_paint_share,
        )
        more = goes_on < GOES_ON
        hides = (painting & ~out)[:, None] & more.cumprod(1).bool()
        more[:, 0] = True  # at least one box is kept
        keeps = (painting & out)[:, None] & more.cumprod(1).bool()
        hidden = _boxes(boxes, size, [(side // 6, side // 3) for side in size], BORDER)
        kept = _boxes(boxes, size, [(side - 4 * side // 7, side - 3 * side // 7) for side in size], BORDER)
        return AppearanceParameters(
            shuffled=_boxes(
                shuffled.reshape(batch_size, self.blocks, 4), size, [(1, side // 10) for side in size], 0
            ),
            bent=bent < self.bend_chance,
            controls=controls.reshape(batch_size, 2, 2),
            rising=falling >= self.falling,
            hidden=hidden * hides[..., None],
            kept=kept * keeps[..., None],
            seeds=(2**31 * seeds).long(),
        )

    def apply(self, images: Tensor, parameters: AppearanceParameters) -> Tensor:
        """Change a batch exactly as the parameters say.

        Args:
            images: (B, C, H, W) float in [0, 1], before they are standardised.
            parameters: from `sample`, for images of this size.

        Returns: like `images`, in [0, 1].

        Raises:
            ShapeError: parameters of another batch or size.
        """
        order, noise = parameters.seeds, AFTER_ORDER + parameters.seeds
        images = shuffle_pixels(images, parameters.shuffled, order)
        bent = bend_intensities(images, parameters.controls, parameters.rising)
        images = torch.where(parameters.bent.to(images.device).reshape(-1, 1, 1, 1), bent, images)
        return out_paint(in_paint(images, parameters.hidden, noise), parameters.kept, noise)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change a batch at random: `sample`, then `apply`."""
        if images.ndim != 4:
            raise ShapeError(
                "Appearance", "images (B, C, H, W)", f"got {tuple(images.shape)}", "Add the missing axes."
            )
        height, width = images.shape[2:]
        return self.apply(images, self.sample(len(images), height, width, generator))


BOXES = 5
"""Boxes of painting at most."""
GOES_ON = 0.95
"""Probability of each further box; the first one of in-painting counts as such."""
BORDER = 3
"""Pixels between boxes of painting and the image's border at least."""
SMALLEST = 14
"""Side in which the largest box of painting, 4/7 of it, and both borders fit."""
DRAWS = 5 + 4 + BOXES + 4 * BOXES
"""Uniform numbers that `sample` takes per image, and four more per block."""
AFTER_ORDER = 2**31
"""Added to the seeds, which are below it, for noise with numbers of its own."""


def _bezier(controls: Tensor) -> Tensor:
    """(B, 2, 2) inner control points to (2, B, points) float64: inputs, which never fall, and outputs."""
    time = torch.linspace(0.0, 1.0, CURVE_POINTS, dtype=torch.float64)
    first, second = controls.double().cpu().clamp(0.0, 1.0).permute(1, 2, 0)[..., None]
    curve = 3 * (1 - time) ** 2 * time * first + 3 * (1 - time) * time**2 * second + time**3
    # Rounding must not make it fall.
    rising: Tensor = curve.clamp(0.0, 1.0).cummax(-1).values
    return rising


def _boxes(drawn: Tensor, size: tuple[int, int], sides: list[tuple[int, int]], border: int) -> Tensor:
    """(B, N, 4) uniform numbers to boxes: sides anywhere between two, both possible, then anywhere off the border."""
    boxes = torch.empty(drawn.shape, dtype=torch.int64)
    for axis, (whole, (least, most)) in enumerate(zip(size, sides)):
        length = least + (drawn[..., 2 + axis] * (most - least + 1)).long()
        boxes[..., 2 + axis] = length
        boxes[..., axis] = border + (drawn[..., axis] * (whole - length - 2 * border + 1)).long()
    return boxes


def _covered(boxes: Tensor, images: Tensor) -> Tensor:
    """(B, 1, H, W) bool, on the images' device: which pixels lie in any box."""
    within = []
    for axis in (0, 1):
        start, length = boxes[..., axis, None].to(images.device), boxes[..., 2 + axis, None].to(images.device)
        pixels = torch.arange(images.shape[2 + axis], device=images.device)
        within.append((pixels >= start) & (pixels < start + length))
    covered: Tensor = (within[0][..., :, None] & within[1][..., None, :]).any(1, keepdim=True)
    return covered


def _uniform_noise(images: Tensor, seeds: Tensor, channels: int) -> Tensor:
    shape = (channels, *images.shape[2:])
    drawn = [torch.rand(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds.tolist()]
    return torch.stack(drawn).to(images) if drawn else images


def _check(who: str, images: Tensor, boxes: Tensor, seeds: Tensor) -> None:
    count = len(images)
    fitting = images.ndim == 4 and seeds.shape == (count,)
    fitting = fitting and boxes.ndim == 3 and boxes.shape[::2] == (count, 4) and not boxes.is_floating_point()
    if not fitting:
        raise ShapeError(
            who, "images (B, C, H, W), whole-numbered boxes (B, N, 4) and seeds (B,)",
            f"got {tuple(images.shape)}, {boxes.dtype} {tuple(boxes.shape)} and {tuple(seeds.shape)}",
            "Give each image its boxes and one seed.",
        )  # fmt: skip
    ends = boxes[..., :2] + boxes[..., 2:]
    if (boxes < 0).any() or (ends > torch.tensor(images.shape[2:], device=ends.device)).any():
        raise ShapeError(
            who, f"boxes inside {images.shape[2]} x {images.shape[3]} pixels", "one ends outside",
            "Draw them for images of this size.",
        )  # fmt: skip
