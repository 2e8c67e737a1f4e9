"""Scans of the source site that lend their contrast at test time, kept as the little that this needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.images.fourier import Output, Region, low_amplitude, swap_amplitude
from medgraft.images.preparation import LUMINANCE
from medgraft.images.sr_sim import LEAST, SRSIMMaps, sr_sim_maps, sr_sim_of_all_pairs
from medgraft.types import JSON

How = Literal["random", "2d", "2.5d", "3d"]
"""`2d`: the most similar among the slices at the same place; `2.5d`: also up to two slices away; `3d`: the scans whose
slices are the most similar on average; `random`: any scan, for each slice anew."""
CROP = 120
NEIGHBOURS = 2
SLICES_AT_ONCE = 32
STEEPEST = 255 * math.sqrt(2)
"""Greatest gradient of an image in [0, 255]."""


class DonorBank(nn.Module):
    """Donor scans for `swap_amplitude`: amplitudes at low frequencies, and maps to find similar slices.

    Of a slice of 256 x 256 pixels it keeps 17 kB with one channel and a beta up to 0.035, so 50 scans of 200 slices
    take 168 MB. Images cannot be rebuilt from it, but outlines can: it is patient data. It holds buffers only, so a
    model that has one as a submodule, and its `config` in the model's own, is saved and loaded with it.

    Args:
        slices: number of slices of each scan.
        channels: C of each slice.
        size: (H, W) of the slices.
        beta: the greatest that can be swapped, above 0 and at most 0.5.
        region: of Fourier space.

    It is built empty, to be loaded; `from_scans` fills it.
    """

    amplitude: Tensor
    """(R, C, h, w) float32 for R slices of all scans, one scan after the other; see `low_amplitude`."""
    saliency: Tensor
    """(R, h, w) float16, of the crop of a slice; empty where slices are too small for SR-SIM."""
    gradient: Tensor
    """(R, H, W) uint8, of the same crop, in even steps of its square root: SR-SIM changes by less than 0.0001, a
    tenth of what even steps of itself would make."""
    positions: Tensor
    """(R,) float32 in millimetres; infinity where they were not told, as NaN would not equal itself."""

    def __init__(
        self,
        slices: Sequence[int],
        channels: int,
        size: Sequence[int],
        beta: float,
        region: Region = "circle",
    ) -> None:
        super().__init__()
        self.slices, self.channels = list(slices), channels
        self.size: tuple[int, int] = (size[0], size[1])
        self.beta, self.region = beta, region
        blank = torch.zeros(1, channels, *self.size)
        kept = _stored(blank, _crop_maps(torch.zeros(1, *_crop_size(self.size))), beta, region)
        for name, of_one in kept._asdict().items():
            self.register_buffer(name, of_one.new_zeros(sum(self.slices), *of_one.shape[1:]))
        self.register_buffer("positions", torch.full((sum(self.slices),), torch.inf))

    @classmethod
    def from_scans(
        cls,
        scans: Iterable[ArrayLike | Tensor],
        beta: float = 0.035,
        region: Region = "circle",
        positions: Sequence[ArrayLike] | None = None,
    ) -> DonorBank:
        """Build a bank from scans, one after the other.

        Args:
            scans: each (slices, H, W) or (slices, C, H, W) float, prepared as for the network; all of one size.
            beta: the greatest that will be swapped; 0.035 is the greatest that was tried in the paper.
            region: of Fourier space.
            positions: of each scan, (slices,) millimetres along the patient, to find slices by place.

        Raises:
            DataError: there is no scan, or one holds something else than numbers.
            ShapeError: scans differ in size or channels, or positions in number.

        >>> bank = DonorBank.from_scans([np.zeros((5, 64, 64)), np.ones((4, 64, 64))])
        >>> bank.slices, bank.amplitude.shape
        ([5, 4], torch.Size([9, 1, 5, 3]))
        """
        kept: list[_Stored] = []
        slices: list[int] = []
        shape: tuple[int, ...] | None = None
        for number, given in enumerate(scans):
            scan = _as_slices(given, f"Donor scan {number}")
            shape = shape or tuple(scan.shape[1:])
            if tuple(scan.shape[1:]) != shape:
                raise ShapeError(
                    "DonorBank", f"scans whose slices all have the shape {shape} of the first",
                    f"scan {number} has {tuple(scan.shape[1:])}", "Prepare all donors for the same network.",
                )  # fmt: skip
            kept.append(_stored(scan, _similarity_maps(scan), beta, region))
            slices.append(len(scan))
        if shape is None:
            raise DataError("DonorBank", "at least one donor scan", "got none", "Give scans of the source.")
        bank = cls(slices, shape[0], shape[1:], beta, region)
        bank.amplitude, bank.saliency, bank.gradient = (torch.cat(parts) for parts in zip(*kept))
        if positions is not None:
            bank.positions = _as_positions(positions, bank.slices)
        return bank

    def config(self) -> JSON:
        """What besides the buffers rebuilds the bank."""
        return {
            "slices": list(self.slices),
            "channels": self.channels,
            "size": list(self.size),
            "beta": self.beta,
            "region": self.region,
        }

    @classmethod
    def from_config(cls, config: JSON) -> DonorBank:
        """An empty bank, ready to be loaded; the inverse of `config`."""
        return cls(**config)

    def choose(
        self,
        slices: Tensor,
        index: Tensor,
        how: How,
        donors: int = 7,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Which slices of the bank lend their contrast to which slice of a scan.

        Similarity is SR-SIM of crops of 120 x 120 pixels around the centre of intensity, with percentiles 1 and 99 of
        the scan at 0 and 1; equal scores keep the order of the bank. In `2.5d` several donors may come from one
        scan; to the first two and last two slices of a donor scan no neighbours are added.

        Args:
            slices: (n, H, W) or (n, C, H, W) float, prepared like the bank's: all of a scan, because it is scaled as a
                whole, and `3d` looks at them together.
            index: (n,) int64, their numbers in the scan, found under the same numbers in donor scans (in shorter
                ones, the last slice); or float, their positions in millimetres, found as the nearest ones.
            how: see `How`.
            donors: how many; where the bank has fewer scans, that many (`random`: always so many).
            generator: on the CPU, for `random`; the others draw nothing.

        Returns: (n, donors) int64 rows of the bank, the most similar first.

        Raises:
            ShapeError: slices have another size than the bank's, SR-SIM needs larger ones, or index has another length.
            DataError: positions are given, but the bank knows none; or slices hold something else than numbers.
            SettingsError: no donors are asked for, or `random` has no generator.

        Source: Zakazov et al. 2022, section 3 and its published code.
        """
        scan = _as_slices(slices, "DonorBank.choose")
        self._check_size("DonorBank.choose", scan)
        if donors < 1:
            raise SettingsError(
                "DonorBank.choose", "at least one donor", f"got {donors}", "The paper took 7."
            )
        if index.shape != (len(scan),):
            raise ShapeError(
                "DonorBank.choose", f"a number or position for each of {len(scan)} slices",
                f"got shape {tuple(index.shape)}", "Give index of shape (n,).",
            )  # fmt: skip
        matched = self._matched(index)
        first = torch.tensor([0, *self.slices[:-1]]).cumsum(0)
        if how == "random":
            if generator is None:
                raise SettingsError(
                    "DonorBank.choose", "a generator to draw from", "got none",
                    "Pass generator=run.generator('donors').",
                )  # fmt: skip
            drawn = torch.randint(len(self.slices), (len(scan), donors), generator=generator)
            return first[drawn] + matched.gather(1, drawn)
        reach = NEIGHBOURS if how == "2.5d" else 0
        scores = self._scores(scan, matched, reach)
        if how == "3d":
            scores = scores.mean(dim=0, keepdim=True).expand_as(scores)
        ranked = scores.flatten(1).argsort(dim=1, descending=True, stable=True)
        best = ranked[:, : min(donors, len(self.slices))]
        chosen, offset = best // (2 * reach + 1), best % (2 * reach + 1) - reach
        return first[chosen] + matched.gather(1, chosen) + offset

    def restyle(self, images: Tensor, rows: Tensor, beta: float, output: Output = "real") -> Tensor:
        """Give images the contrast of chosen donors. A blank donor has none to give, and its images stay as they are.

        Args:
            images: (B, C, H, W) float, prepared like the bank's scans.
            rows: (B,) int64, the donor of each, as `choose` gives them.
            beta: at most the bank's.
            output: see `swap_amplitude`.

        Returns: like `images`.

        Raises:
            ShapeError: images have another size than the bank's, or beta is greater than the bank's.
        """
        self._check_size("DonorBank.restyle", images)
        blocks = self.amplitude[rows.to(self.amplitude.device)]
        swapped = swap_amplitude(images, blocks.to(images.device), beta, self.region, output)
        blank = (blocks == 0).flatten(1).all(dim=1).to(images.device)
        return torch.where(blank[:, None, None, None], images, swapped)

    def _matched(self, index: Tensor) -> Tensor:
        """(n, scans) number of the slice at the same place in each donor scan."""
        if not index.is_floating_point():
            return torch.stack([index.cpu().clamp(0, count - 1) for count in self.slices], dim=1)
        positions = self.positions.cpu()
        if positions.isinf().any():
            raise DataError(
                "DonorBank.choose", "positions of the donors' slices to find places in millimetres",
                "the bank was built without", "Build it with positions=..., or give slice numbers.",
            )  # fmt: skip
        wanted = index.cpu().to(positions.dtype)[:, None]
        return torch.stack(
            [(wanted - of_scan).abs().argmin(dim=1) for of_scan in torch.split(positions, self.slices)], dim=1
        )

    def _scores(self, scan: Tensor, matched: Tensor, reach: int) -> Tensor:
        """SR-SIM (n, scans, 2 * reach + 1) of slices with those at the same place and around it.

        Minus infinity where a neighbour is not looked at. Each donor's maps are unpacked once.
        """
        if not self.gradient.numel():
            raise ShapeError(
                "DonorBank.choose", f"slices of at least {LEAST} x {LEAST} pixels for SR-SIM",
                f"they have {self.size[0]} x {self.size[1]}", "Choose donors at random.",
            )  # fmt: skip
        own = _similarity_maps(scan.to(self.gradient.device)).enlarged()
        scores = torch.full((*matched.shape, 2 * reach + 1), -torch.inf)
        packed = zip(torch.split(self.saliency, self.slices), torch.split(self.gradient, self.slices))
        for donor, (saliency, gradient) in enumerate(packed):
            maps = SRSIMMaps(saliency.float(), _unpacked(gradient)).enlarged()
            for row, place in enumerate(matched[:, donor].tolist()):
                near = reach if reach <= place < len(gradient) - reach else 0
                around = maps.rows(slice(place - near, place + near + 1))
                alike = sr_sim_of_all_pairs(own.rows(slice(row, row + 1)), around)
                scores[row, donor, reach - near : reach + near + 1] = alike[0].cpu()
        return scores

    def _check_size(self, who: str, images: Tensor) -> None:
        if tuple(images.shape[1:]) != (self.channels, *self.size):
            raise ShapeError(
                who, f"slices of shape {(self.channels, *self.size)}, like those of the bank",
                f"got {tuple(images.shape[1:])}", "Register and prepare them like the donors.",
            )  # fmt: skip


class _Stored(NamedTuple):
    """What is kept of slices; the names of the buffers."""

    amplitude: Tensor
    saliency: Tensor
    gradient: Tensor


def _stored(scan: Tensor, maps: SRSIMMaps, beta: float, region: Region) -> _Stored:
    # slice by slice would do; few at once are faster, and all at once would need the memory of several scans
    blocks = [low_amplitude(part, beta, region) for part in torch.split(scan, SLICES_AT_ONCE)]
    return _Stored(torch.cat(blocks), maps.saliency.half(), _packed(maps.gradient))


def _packed(gradient: Tensor) -> Tensor:
    return ((gradient / STEEPEST).sqrt() * 255).round().clamp(0, 255).to(torch.uint8)


def _unpacked(levels: Tensor) -> Tensor:
    return (levels.float() / 255).square_().mul_(STEEPEST)


def _similarity_maps(scan: Tensor) -> SRSIMMaps:
    """Maps of the crops of a scan's slices, (n, C, H, W)."""
    grey = _grey(scan)
    low, high = np.percentile(grey.cpu().numpy(), (1, 99))
    if low == high:  # hardly anything but background
        low, high = float(grey.min()), float(grey.max())
    scaled = ((grey - low) / (high - low if high > low else 1.0)).clamp(0.0, 1.0)
    parts = [_crop_maps(_crops(part)) for part in torch.split(scaled, SLICES_AT_ONCE)]
    return SRSIMMaps(*(torch.cat(maps) for maps in zip(*parts)))


def _crop_maps(crops: Tensor) -> SRSIMMaps:
    """Maps of crops (n, h, w); of too small ones nothing, which is refused when somebody asks."""
    if min(crops.shape[1:]) < LEAST:
        return SRSIMMaps(crops.new_zeros(len(crops), 0, 0), crops.new_zeros(len(crops), 0, 0))
    return sr_sim_maps(crops[:, None])


def _crops(scaled: Tensor) -> Tensor:
    """Crops around the centre of intensity, moved where they would leave the image: (n, H, W) to (n, h, w)."""
    tall, wide = _crop_size(scaled.shape[1:])
    tops, lefts = _start(scaled.sum(dim=2), tall), _start(scaled.sum(dim=1), wide)
    return torch.stack(
        [image[top : top + tall, left : left + wide] for image, top, left in zip(scaled, tops, lefts)]
    )


def _start(profiles: Tensor, length: int) -> list[int]:
    """First pixel of crops of a length around the centres of (n, side) profiles; of blank ones the middle counts."""
    side = profiles.shape[1]
    places = torch.arange(side, dtype=torch.float64, device=profiles.device)
    total = profiles.double().sum(dim=1)
    centre = (profiles.double() @ places) / torch.where(total > 0, total, 1.0)
    centre = torch.where(total > 0, centre, side / 2)
    starts: list[int] = (centre.long() - length // 2).clamp(0, side - length).tolist()
    return starts


def _crop_size(size: Sequence[int]) -> tuple[int, int]:
    return min(CROP, size[0]), min(CROP, size[1])


def _grey(scan: Tensor) -> Tensor:
    """(n, H, W): luminance of three channels, else the mean of channels."""
    if scan.shape[1] == 3:
        return torch.einsum("nchw,c->nhw", scan, scan.new_tensor(LUMINANCE))
    return scan.mean(dim=1)


def _as_slices(given: ArrayLike | Tensor, who: str) -> Tensor:
    """(n, C, H, W) float32."""
    scan = torch.as_tensor(
        given if isinstance(given, Tensor) else np.asarray(given, dtype=np.float32)
    ).float()
    scan = scan[:, None] if scan.ndim == 3 else scan
    if scan.ndim != 4 or not scan.numel():
        raise ShapeError(
            who, "slices of shape (slices, H, W) or (slices, C, H, W)", f"got {tuple(scan.shape)}",
            "Pass one scan, its slices first.",
        )  # fmt: skip
    if not torch.isfinite(scan).all():
        raise DataError(who, "finite numbers", "it holds NaN or infinity", "Mend or leave out this scan.")
    return scan


def _as_positions(positions: Sequence[ArrayLike], slices: list[int]) -> Tensor:
    arrays = [np.asarray(of_scan, dtype=np.float32) for of_scan in positions]
    if [array.shape for array in arrays] != [(count,) for count in slices]:
        raise ShapeError(
            "DonorBank", f"one position per slice of each scan: {slices}",
            f"got arrays of {[array.shape for array in arrays]}", "Give them in the order of the scans.",
        )  # fmt: skip
    return torch.from_numpy(np.concatenate(arrays))
