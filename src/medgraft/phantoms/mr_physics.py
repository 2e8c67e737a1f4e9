"""Signal equations of magnetic resonance, and the relaxation times of tissues that go into them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

REFERENCE_TESLA = 1.5
DEPHASING_PER_TESLA = 0.0017
"""1/ms per tesla: how much faster gradient echoes decay than spin echoes, 1/T2* - 1/T2. Brings grey and white matter
to 77 and 62 ms at 1.5 T and 66 and 53 ms at 3 T; Peters et al. 2007 measured 84 and 66, 66 and 53."""


class Tissue(NamedTuple):
    """What a tissue brings to the signal equations.

    t1_ms: longitudinal relaxation time at 1.5 T.
    t1_power: T1 grows as the field to this power.
    t2_ms: transverse relaxation time, taken as the same at every field (Stanisz et al. 2005).
    density: protons relative to water, in [0, 1].
    """

    t1_ms: float
    t1_power: float
    t2_ms: float
    density: float

    def t1_at(self, tesla: float) -> float:
        """T1 in ms at a field.

        >>> round(TISSUES["white matter"].t1_at(3.0))
        886
        """
        return float(self.t1_ms * (tesla / REFERENCE_TESLA) ** self.t1_power)

    def t2_star_at(self, tesla: float) -> float:
        """T2* in ms at a field."""
        return 1.0 / (1.0 / self.t2_ms + DEPHASING_PER_TESLA * tesla)


TISSUES: Mapping[str, Tissue] = MappingProxyType(
    {
        # T1 and its power: Rooney et al. 2007; T2: Stanisz et al. 2005; density: water content, Tofts 2003
        "grey matter": Tissue(1188.0, 0.376, 95.0, 0.82),
        "white matter": Tissue(680.0, 0.382, 72.0, 0.70),
        "csf": Tissue(4300.0, 0.0, 2000.0, 1.0),
        # T1 at 1.5 and 3 T, T2: Stanisz et al. 2005
        "muscle": Tissue(1008.0, 0.486, 44.0, 0.80),
        # T1 at 1.5 and 3 T, T2: de Bazelaire et al. 2004. Density: not measured but set, because the equations
        # leave out what darkens fat in real scans (chemical shift, coupled spins, coils at a distance)
        "fat": Tissue(343.0, 0.155, 58.0, 0.60),
        "marrow": Tissue(343.0, 0.155, 58.0, 0.50),
        # water in cortical bone decays before any usual echo: Reichert et al. 2005
        "bone": Tissue(200.0, 0.2, 0.5, 0.20),
        # T1 at 1.5 and 3 T: de Bazelaire et al. 2004; T2 of the zones: Liney et al. 1997, rounded
        "transition zone": Tissue(1317.0, 0.278, 85.0, 0.80),
        "peripheral zone": Tissue(1317.0, 0.278, 140.0, 0.85),
        "urine": Tissue(4300.0, 0.0, 1500.0, 1.0),
    }
)
"""Healthy adults. Where nothing is said, air: no signal."""


def spin_echo(tissue: Tissue, repetition_ms: float, echo_ms: float, tesla: float) -> float:
    """Signal of a spin echo with an excitation of 90 degrees.

    Args:
        tissue: what is in the voxel.
        repetition_ms: TR, ms, above TE.
        echo_ms: TE, ms.
        tesla: field.

    Returns: signal in [0, 1], 1 being fully relaxed water.

    Source: density * (1 - exp(-TR/T1)) * exp(-TE/T2), Haacke et al. 1999. Differs from the exact one by leaving out
        recovery during the echo, which is small while TE is far below TR.

    >>> round(spin_echo(Tissue(1000.0, 0.0, 100.0, 1.0), 1000.0, 100.0, 1.5), 4)
    0.2325
    """
    recovered = 1.0 - np.exp(-repetition_ms / tissue.t1_at(tesla))
    return float(tissue.density * recovered * np.exp(-echo_ms / tissue.t2_ms))


def spoiled_gradient_echo(
    tissue: Tissue, repetition_ms: float, echo_ms: float, flip_degrees: float, tesla: float
) -> float:
    """Signal of a gradient echo in the steady state with perfect spoiling (SPGR, FLASH, T1-FFE).

    Args:
        tissue: what is in the voxel.
        repetition_ms, echo_ms: TR and TE, ms.
        flip_degrees: excitation, in (0, 180).
        tesla: field.

    Returns: signal in [0, 1].

    Source: density * sin(a) * (1 - E1) / (1 - cos(a) * E1) * exp(-TE/T2*) with E1 = exp(-TR/T1); Ernst & Anderson 1966.

    >>> round(spoiled_gradient_echo(Tissue(1000.0, 0.0, 1e9, 1.0), 693.147, 0.0, 60.0, 1.5), 4)
    0.5774
    """
    angle = np.deg2rad(flip_degrees)
    kept = np.exp(-repetition_ms / tissue.t1_at(tesla))
    steady = np.sin(angle) * (1.0 - kept) / (1.0 - np.cos(angle) * kept)
    return float(tissue.density * steady * np.exp(-echo_ms / tissue.t2_star_at(tesla)))


def inversion_recovery(
    tissue: Tissue, repetition_ms: float, echo_ms: float, inversion_ms: float, tesla: float
) -> float:
    """Magnitude of a spin echo at a time after inversion.

    Args:
        tissue: what is in the voxel.
        repetition_ms, echo_ms: TR and TE, ms.
        inversion_ms: TI, ms, below TR.
        tesla: field.

    Returns: signal in [0, 1]; the sign is lost, as in magnitude images.

    Source: density * |1 - 2 exp(-TI/T1) + exp(-TR/T1)| * exp(-TE/T2); Haacke et al. 1999.

    >>> round(inversion_recovery(Tissue(1000.0, 0.0, 1e9, 1.0), 1e9, 0.0, 693.147, 1.5), 4)
    0.0
    """
    t1 = tissue.t1_at(tesla)
    recovered = 1.0 - 2.0 * np.exp(-inversion_ms / t1) + np.exp(-repetition_ms / t1)
    return float(tissue.density * abs(recovered) * np.exp(-echo_ms / tissue.t2_ms))
