"""Give images the contrast of others: their amplitude at low frequencies, while the phase stays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from medgraft.errors import SettingsError, ShapeError

Region = Literal["circle", "square"]
"""`circle`: frequencies nearer to 0 than beta * min(H, W); `square`: both at most floor(beta * min(H, W))."""
Output = Literal["real", "abs_max"]
"""`real`: the inverse transform; `abs_max`: its modulus divided by its maximum, per image and channel."""


def low_frequencies(shape: Sequence[int], beta: float, region: Region = "circle") -> Tensor:
    """The frequencies whose amplitude is swapped.

    Args:
        shape: (H, W) of the images.
        beta: radius (circle) or half side (square) as a fraction of min(H, W), at most 0.5. At 0 or below nothing is
            swapped. While beta * min(H, W) is at most 1 (square: below 1), it is the mean alone.
        region: of Fourier space.

    Returns: (N, 2) int64, cycles per height and per width, negative ones included.

    Raises:
        SettingsError: beta is above 0.5 or no number.

    Source: Zakazov et al. 2022 and its published code for the circle, whose radius is not rounded; Yang & Soatto 2020
        (FDA), the code in NumPy, for the square.

    >>> len(low_frequencies((256, 256), beta=0.01)), len(low_frequencies((256, 256), 0.01, "square"))
    (21, 25)
    >>> low_frequencies((182, 218), beta=0.005)  # the mean alone
    tensor([[0, 0]])
    """
    _check_beta("low_frequencies", beta)
    if beta <= 0:
        return torch.zeros(0, 2, dtype=torch.int64)
    radius = beta * min(shape)
    rows, columns = (_frequencies(side, _reach(radius, region)) for side in shape)
    return torch.cartesian_prod(rows, columns)[_inside(rows, columns, radius, region).flatten()]


def low_amplitude(images: Tensor, beta: float, region: Region = "circle") -> Tensor:
    """The small part of donors that a swap needs: their amplitude at low frequencies.

    It is divided by the number of pixels, so that at frequency 0 it is the modulus of the mean. Opposite frequencies
    have the same amplitude; one of the two is kept.

    Args:
        images: (B, C, H, W) float, any range.
        beta: the greatest that is to be swapped, above 0 and at most 0.5.
        region: of Fourier space.

    Returns: (B, C, h, w) of the images' dtype (float32 for shorter ones), at least 0. Frequencies run along the height
        from -(w - 1), along the width from 0 to w - 1.

    Raises:
        ShapeError: the images are no floats with four axes.
        SettingsError: beta is not above 0 and at most 0.5.

    >>> low_amplitude(torch.full((1, 1, 64, 64), 0.25), beta=0.02)[0, 0].round(decimals=4)
    tensor([[0.0000, 0.0000],
            [0.2500, 0.0000],
            [0.0000, 0.0000]])
    """
    _check_images("low_amplitude", images)
    _check_beta("low_amplitude", beta)
    if beta <= 0:
        raise SettingsError(
            "low_amplitude", "a beta above 0", f"got {beta}", "Give the greatest beta to be used."
        )
    height, width = images.shape[-2:]
    waves = _Waves.of(height, width, _reach(beta * min(height, width), region), images)
    return waves.transform(images).abs()


def swap_amplitude(
    images: Tensor, donor_block: Tensor, beta: float, region: Region = "circle", output: Output = "real"
) -> Tensor:
    """Give images the contrast of donors, keeping their anatomy.

    Only low frequencies are computed: what changes there is transformed back and added to the images, whose other
    frequencies stay what they are. With a beta just above 0, each image is divided by its mean and multiplied by the
    donor's, which is the control "match the mean only".

    Args:
        images: (B, C, H, W) float, any range; they keep their phase.
        donor_block: (B, C, h, w) or (1, C, h, w) float from `low_amplitude`, of this or a greater beta, of donors of
            the same H and W. That they had this size cannot be seen from the block.
        beta: radius of the region as a fraction of min(H, W), at most 0.5; at 0 or below the images come back as
            they are, whatever `output`.
        region: of Fourier space.
        output: what the authors of the circle feed to the network is `abs_max`: its maximum is 1, or 0 for images
            that are 0 throughout, but negative values fold up and the donor's mean is lost.

    Returns: like `images`; `real` may leave their range. A mean below 0 stays below 0.

    Raises:
        ShapeError: the images or the block do not fit together, or the block is of a smaller beta.
        SettingsError: beta is above 0.5 or no number.

    Source: Zakazov et al. 2022, section 3; Yang & Soatto 2020. Differs: frequencies that an image lacks (no more than
        rounding is left of them) have no phase and stay away, so that blank images stay blank.

    >>> dark, bright = torch.rand(2, 1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) + torch.tensor(
    ...     [0.0, 2.0]).view(2, 1, 1, 1, 1)
    >>> swapped = swap_amplitude(dark, low_amplitude(bright, beta=0.1), beta=0.01)
    >>> bool((swapped.mean() - bright.mean()).abs() < 1e-5)
    True
    """
    _check_images("swap_amplitude", images)
    _check_beta("swap_amplitude", beta)
    if beta <= 0:
        return images
    height, width = images.shape[-2:]
    radius = beta * min(height, width)
    waves = _Waves.of(height, width, _reach(radius, region), images)
    wanted = _central_part(donor_block, waves, images)
    own = waves.transform(images)
    modulus = own.abs()
    inside = _inside(waves.rows, waves.columns, radius, region).to(images.device)
    # Relative to the sum of absolute values, what the sums of the transform round to
    rounding = torch.finfo(modulus.dtype).eps * torch.linalg.vector_norm(
        images, dim=(-2, -1), dtype=modulus.dtype
    )
    known = inside & (modulus > (rounding / math.sqrt(height * width))[..., None, None])
    change = own * torch.where(known, wanted / torch.where(known, modulus, 1.0) - 1, 0.0)
    swapped = waves.add_to(images, change)
    return _as_published(swapped) if output == "abs_max" else swapped


def swap_low_frequencies(
    images: Tensor, donors: Tensor, beta: float, region: Region = "circle", output: Output = "real"
) -> Tensor:
    """Give images the contrast of donor images; `swap_amplitude` for donors that are at hand whole.

    Args:
        images: (B, C, H, W) float, any range; they keep their phase.
        donors: (B, C, H, W) or (1, C, H, W) float; they give their amplitude.
        beta, region, output: as for `swap_amplitude`.

    Returns: like `images`.

    Raises:
        ShapeError: the two differ in size.
        SettingsError: beta is above 0.5 or no number.

    Source: as for `swap_amplitude`.

    >>> images = torch.rand(2, 3, 24, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> torch.allclose(swap_low_frequencies(images, images, beta=0.1), images)
    True
    """
    _check_images("swap_low_frequencies", donors)
    if donors.shape[-2:] != images.shape[-2:]:
        raise ShapeError(
            "swap_low_frequencies", "images and donors of one size",
            f"got {_size(images)} and {_size(donors)}", "Resize or register the donors to the images.",
        )  # fmt: skip
    if beta <= 0:
        return images
    return swap_amplitude(images, low_amplitude(donors, beta, region), beta, region, output)


class _Waves(NamedTuple):
    """The few waves of low frequency, as matrices that transform rows and columns of pixels.

    rows, columns: (h,) and (w,) int64 frequencies; opposite ones, of which the latter is negative, are left out.
    down: (h, H) complex, along, back: real and imaginary parts side by side, (W, 2w) and (2w, W).
    """

    rows: Tensor
    columns: Tensor
    down: Tensor
    along: Tensor
    back: Tensor

    @classmethod
    def of(cls, height: int, width: int, reach: int, images: Tensor) -> _Waves:
        rows, columns = _frequencies(height, reach), torch.arange(reach + 1)
        exact = torch.float64 if images.dtype == torch.float64 else torch.float32
        kind, place = exact.to_complex(), images.device
        down, along = _wave(rows, height), _wave(columns, width)
        # Opposite frequencies add the conjugate; frequency 0 and that of alternating pixels are their own opposites.
        counted = torch.where((columns == 0) | (2 * columns == width), 1.0, 2.0)[:, None]
        back = torch.view_as_real((along * counted).to(kind))
        return cls(
            rows,
            columns,
            (down / (height * width)).to(place, kind),
            torch.view_as_real(along.to(kind)).transpose(0, 1).flatten(1).to(place),
            back.transpose(1, 2).flatten(0, 1).to(place),
        )

    def transform(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, h, w) complex, divided by the number of pixels."""
        with torch.autocast(images.device.type, enabled=False):
            parts = images.to(self.along.dtype) @ self.along
            return self.down @ torch.view_as_complex(parts.view(*parts.shape[:-1], -1, 2))

    def add_to(self, images: Tensor, change: Tensor) -> Tensor:
        """Images (B, C, H, W) plus the inverse transform of (B, C, h, w)."""
        pixels = images.shape[-2] * images.shape[-1]
        with torch.autocast(images.device.type, enabled=False):
            parts = torch.view_as_real(self.down.mH @ change * pixels).flatten(-2)
            flat = images.to(self.along.dtype).reshape(-1, images.shape[-1])
            added = torch.addmm(flat, parts.flatten(0, -2), self.back)
        return added.reshape(images.shape).to(images.dtype)


def _wave(frequencies: Tensor, side: int) -> Tensor:
    """exp(-2 pi i f x / side), (frequencies, side); whole turns are taken off in integers."""
    turns = torch.outer(frequencies, torch.arange(side)) % side
    return torch.polar(torch.ones((), dtype=torch.float64), -2 * math.pi * turns.double() / side)


def _reach(radius: float, region: Region) -> int:
    """The highest frequency of the region along an axis."""
    return math.ceil(radius) - 1 if region == "circle" else math.floor(radius)


def _frequencies(side: int, reach: int) -> Tensor:
    """-reach .. reach; of these, side / 2 and -side / 2 are the same waves and the former is left out."""
    return torch.arange(-reach, min(reach, (side - 1) // 2) + 1)


def _inside(rows: Tensor, columns: Tensor, radius: float, region: Region) -> Tensor:
    """(h, w) bool: which frequencies lie in the region."""
    if region == "square":
        return torch.ones(len(rows), len(columns), dtype=torch.bool)
    return (rows[:, None] ** 2 + columns**2).double().sqrt() < radius


def _central_part(block: Tensor, waves: _Waves, images: Tensor) -> Tensor:
    """The donors' amplitude at these waves, from a block that may hold more of them."""
    if block.ndim != 4 or block.shape[1] != images.shape[1] or block.shape[0] not in (1, images.shape[0]):
        raise ShapeError(
            "swap_amplitude", f"a donor block (B or 1, C, h, w) for images {tuple(images.shape)}",
            f"got {tuple(block.shape)}", "Give one donor per image, with the same channels.",
        )  # fmt: skip
    middle = block.shape[-1] - 1
    first, last = middle + int(waves.rows[0]), middle + int(waves.rows[-1])
    if first < 0 or last >= block.shape[-2] or len(waves.columns) > block.shape[-1]:
        raise ShapeError(
            "swap_amplitude", f"amplitudes up to frequency {len(waves.columns) - 1}",
            f"the donor block ends at {middle}", "Lower beta, or make the block with this beta.",
        )  # fmt: skip
    return block[..., first : last + 1, : len(waves.columns)].to(waves.along)


def _as_published(swapped: Tensor) -> Tensor:
    """The modulus divided by its maximum; images that are 0 throughout stay so."""
    modulus = swapped.abs()
    peak = modulus.amax((-2, -1), keepdim=True)
    return modulus / torch.where(peak > 0, peak, 1.0)


def _check_images(who: str, images: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point() or 0 in images.shape[-2:]:
        raise ShapeError(
            who, "float images of shape (B, C, H, W)", f"got {images.dtype} {tuple(images.shape)}",
            "Pass volumes slice by slice, as floats.",
        )  # fmt: skip


def _check_beta(who: str, beta: float) -> None:
    if not beta <= 0.5:  # no number fails, too
        raise SettingsError(who, "a beta of at most 0.5", f"got {beta}", "Take 0.005 to 0.035, as published.")


def _size(images: Tensor) -> str:
    return " x ".join(str(side) for side in images.shape[-2:])
