"""From what a subject is made of to the image a site would take."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional

from medgraft.phantoms.anatomy import Anatomy
from medgraft.phantoms.fields import Field, draw_field
from medgraft.phantoms.mr_physics import TISSUES
from medgraft.phantoms.mr_sites import Site

FINER = 2
"""Points per pixel and axis at which anatomy is looked up in a slice's middle plane; in its other planes one."""
SUBSLICE_MM = 2.0
"""About how far apart it is looked up through a slice."""
FWHM_PER_SIGMA = 2.3548
COIL_REACH_MM = 25.0
BIAS_SMOOTHNESS_MM = 60.0
RELAXATION_SPREAD, GAIN_SPREAD = 0.03, 0.1
"""Standard deviations of the logarithm of every tissue's signal from subject to subject, and of the gain from scan to
scan."""
MEAN_VALUE = 90.0


class Frame(NamedTuple):
    """Where the pixels of axial slices lie.

    centre: (x, y) mm of the middle of a slice.
    width_mm: of a slice.
    side: pixels along each edge.
    heights: (D,) mm, z of the middle of each slice.
    """

    centre: tuple[float, float]
    width_mm: float
    side: int
    heights: tuple[float, ...]

    @property
    def pixel_mm(self) -> float:
        """Distance of neighbouring pixels."""
        return self.width_mm / self.side

    def points(self, height: float, finer: int = 1) -> Tensor:
        """(side * finer squared, 3) mm, from front to back and from the subject's right to left."""
        count = self.side * finer
        steps = (torch.arange(count, dtype=torch.float32) - (count - 1) / 2) * (self.width_mm / count)
        y, x = torch.meshgrid(self.centre[1] - steps, self.centre[0] - steps, indexing="ij")
        return torch.stack([x, y, torch.full_like(x, height)], dim=-1).view(-1, 3)


class Scan(NamedTuple):
    """Slices of one subject at one site.

    images: (D, H, W) uint8.
    truth: (D, H, W) uint8: 0, or the number of the region, from 1, that most of the pixel's middle plane belongs to.
    """

    images: np.ndarray
    truth: np.ndarray


def scan(
    anatomy: Anatomy,
    site: Site,
    frame: Frame,
    regions: tuple[str, ...],
    organ: tuple[str, ...],
    generator: np.random.Generator,
) -> Scan:
    """Take axial slices of a subject.

    Args:
        anatomy: the subject.
        site: its scanner and protocol.
        frame: where the slices lie.
        regions: structures to be segmented; they do not overlap.
        organ: tissues whose mean signal sets noise and gain.
        generator: of this scan: bias field, noise, gain.

    Returns: images and truth. Truth does not depend on the site.
    """
    strength = {
        name: site.signal(tissue) * float(np.exp(generator.normal(0.0, RELAXATION_SPREAD)))
        for name, tissue in TISSUES.items()
    }
    mean = float(np.mean([site.signal(TISSUES[name]) for name in organ]))
    bias = draw_field(generator, 1, 9, 40.0, BIAS_SMOOTHNESS_MM)
    gain = MEAN_VALUE * site.gain * float(np.exp(generator.normal(0.0, GAIN_SPREAD)))
    images, truths = [], []
    for height in frame.heights:
        signal, truth = look(anatomy, strength, site.thickness_mm, frame, height, regions)
        signal = signal / mean * receive(frame, height, site, bias, anatomy.coil_place)
        blurred = gaussian_filter(signal, site.resolution_mm / FWHM_PER_SIGMA / frame.pixel_mm)
        images.append(
            (gain * add_noise(blurred, site.noise, generator)).round().clip(0, 255).astype(np.uint8)
        )
        truths.append(truth)
    return Scan(np.stack(images), np.stack(truths))


def look(
    anatomy: Anatomy,
    strength: dict[str, float],
    thickness_mm: float,
    frame: Frame,
    height: float,
    regions: tuple[str, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Signal of one slice without any flaw, averaged over pixels and through the slice; and its truth, both (H, W)."""
    half = max(0, round((thickness_mm / SUBSLICE_MM - 1) / 2))
    steps = range(-half, half + 1)  # an odd number, so that one is the middle plane
    total = torch.zeros(frame.side, frame.side)
    truth = np.zeros((frame.side, frame.side), np.uint8)
    for step in steps:
        finer = FINER if step == 0 else 1
        found = anatomy.at(frame.points(height + step * thickness_mm / len(steps), finer))
        signal = sum((share * strength[name] for name, share in found.tissues.items()), torch.zeros(()))
        total += shrink(signal * found.texture, frame.side, finer)
        if step == 0:
            shares = torch.stack([shrink(found.regions[name], frame.side, FINER) for name in regions])
            rest = 1 - shares.sum(dim=0, keepdim=True)
            truth = torch.cat([rest, shares]).argmax(dim=0).numpy().astype(np.uint8)
    return (total / len(steps)).numpy(), truth


def shrink(values: Tensor, side: int, finer: int) -> Tensor:
    """Mean over the points of each pixel, (side, side)."""
    count = side * finer
    return functional.avg_pool2d(values.view(1, 1, count, count), finer)[0, 0]


def receive(
    frame: Frame, height: float, site: Site, bias: Field, coil_place: tuple[float, float, float]
) -> np.ndarray:
    """(H, W): what the coils make of a uniform signal."""
    points = frame.points(height)
    sensitivity = (site.bias * bias.at(points)[0]).exp()
    squared = ((points - torch.tensor(coil_place)) ** 2).sum(dim=1)
    sensitivity = sensitivity * (1 + site.coil * (-squared / (2 * COIL_REACH_MM**2)).exp())
    return sensitivity.view(frame.side, frame.side).numpy()


def add_noise(signal: np.ndarray, sigma: float, generator: np.random.Generator) -> np.ndarray:
    """Magnitude of a signal with Gaussian noise in its real and its imaginary part: Rician.

    Source: Gudbjartsson & Patz 1995.
    """
    real, imaginary = sigma * generator.standard_normal((2, *signal.shape))
    return np.asarray(np.hypot(signal + real, imaginary))
