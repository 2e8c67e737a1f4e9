"""Simulated scanners: settings of sequence and hardware, and the named sites that have them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medgraft.phantoms.mr_physics import Tissue, inversion_recovery, spin_echo, spoiled_gradient_echo

Sequence = Literal["spin_echo", "gradient_echo", "inversion_recovery"]


class Site(BaseModel):
    """One scanner and its protocol; every scan at a site is made with these settings.

    >>> Site(sequence="spin_echo", repetition_ms=4000, echo_ms=100).tesla
    1.5
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sequence: Sequence
    """`gradient_echo` is spoiled."""
    tesla: float = Field(default=1.5, gt=0, le=10)
    repetition_ms: float = Field(gt=0)
    """TR."""
    echo_ms: float = Field(ge=0)
    """TE."""
    inversion_ms: float | None = Field(default=None, gt=0)
    """TI, for inversion recovery only."""
    flip_degrees: float | None = Field(default=None, gt=0, lt=180)
    """For gradient echoes only."""
    thickness_mm: float = Field(default=3.0, gt=0)
    """Of a slice: what is averaged through it."""
    resolution_mm: float = Field(default=1.0, ge=0)
    """Full width at half maximum of the blur within a slice, beside that of the pixels."""
    noise: float = Field(default=0.03, ge=0)
    """Standard deviation of each of the two noise channels, as a part of the mean signal of the organ."""
    bias: float = Field(default=0.1, ge=0)
    """Standard deviation of the logarithm of the smooth field that multiplies a scan."""
    coil: float = Field(default=0.0, ge=0)
    """How much brighter a surface coil makes what lies at it: 0 not at all, 1 twice as bright."""
    gain: float = Field(default=1.0, gt=0)
    """1 brings the organ's mean signal to 90 of 255; brighter than 255 is cut."""

    @model_validator(mode="after")
    def _timing_fits(self) -> Site:
        if (self.inversion_ms is not None) != (self.sequence == "inversion_recovery"):
            raise ValueError("inversion_ms goes with inversion_recovery, and with nothing else")
        if (self.flip_degrees is not None) != (self.sequence == "gradient_echo"):
            raise ValueError("flip_degrees goes with gradient_echo, and with nothing else")
        if self.echo_ms + (self.inversion_ms or 0.0) >= self.repetition_ms:
            raise ValueError("repetition_ms must be longer than echo_ms and inversion_ms together")
        return self

    def signal(self, tissue: Tissue) -> float:
        """Signal of a tissue in [0, 1]; see `mr_physics`."""
        if self.flip_degrees is not None:
            return spoiled_gradient_echo(
                tissue, self.repetition_ms, self.echo_ms, self.flip_degrees, self.tesla
            )
        if self.inversion_ms is not None:
            return inversion_recovery(tissue, self.repetition_ms, self.echo_ms, self.inversion_ms, self.tesla)
        return spin_echo(tissue, self.repetition_ms, self.echo_ms, self.tesla)


BRAIN_SITES: Mapping[str, Site] = MappingProxyType(
    {
        # T1-weighted as for the ICBM atlas and BrainWeb (Collins et al. 1998): the site that others are compared with
        "reference": Site(
            sequence="gradient_echo", repetition_ms=22, echo_ms=9.2, flip_degrees=30, noise=0.03
        ),
        # conventional T1-weighted spin echo in thick slices
        "spin_echo_t1": Site(
            sequence="spin_echo", repetition_ms=500, echo_ms=14, thickness_mm=5, noise=0.03, gain=0.9
        ),
        # T1-weighted at 3 T with a short echo, as IXI's Philips scanners use it; more bias and little noise
        "gradient_echo_3t": Site(
            sequence="gradient_echo", tesla=3.0, repetition_ms=9.6, echo_ms=4.6, flip_degrees=8,
            noise=0.02, bias=0.2, gain=1.2,
        ),
        # the reference's contrast at low field: noise, thick slices, coarse pixels
        "low_field": Site(
            sequence="gradient_echo", tesla=0.35, repetition_ms=25, echo_ms=9, flip_degrees=40,
            thickness_mm=6, resolution_mm=4.0, noise=0.12, bias=0.15, gain=0.8,
        ),
        # inversion recovery at 3 T with the timing of an MPRAGE (TI 900 ms, TR 2300 ms)
        "inversion_recovery_3t": Site(
            sequence="inversion_recovery", tesla=3.0, repetition_ms=2300, echo_ms=3, inversion_ms=900,
            noise=0.03, bias=0.25,
        ),
        # proton density: fluid, grey and white matter nearly alike
        "proton_density": Site(
            sequence="spin_echo", repetition_ms=2500, echo_ms=20, thickness_mm=4, noise=0.03, bias=0.15
        ),
        # T2-weighted: the reference's order of brightness turned round
        "t2": Site(sequence="spin_echo", repetition_ms=4000, echo_ms=100, thickness_mm=4, noise=0.04, bias=0.15),
    }
)  # fmt: skip
"""The reference and six sites, from the subtlest to the most severe shift as the task `tissue` feels it; measured in
`docs/phantoms.md`."""

PROSTATE_SITES: Mapping[str, Site] = MappingProxyType(
    {
        # T2-weighted at 3 T with a body coil array, as PI-RADS recommends
        "body_coil_3t": Site(
            sequence="spin_echo", tesla=3.0, repetition_ms=4000, echo_ms=100, noise=0.04, bias=0.15
        ),
        # T2-weighted at 1.5 T with an endorectal coil, which blinds what lies beside it
        "endorectal_coil": Site(
            sequence="spin_echo", repetition_ms=3500, echo_ms=120, noise=0.05, bias=0.1, coil=4.0, gain=0.5
        ),
        # T1-weighted: the zones look alike
        "t1": Site(sequence="spin_echo", repetition_ms=600, echo_ms=12, thickness_mm=5, noise=0.04, bias=0.2),
    }
)
"""Three sites of strongly different contrast."""
