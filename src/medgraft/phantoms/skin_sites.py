"""Whose skin is photographed, and how: simulated clinics for pigmented lesions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, Field, field_validator


class SkinSite(BaseModel):
    """One clinic: its patients, its camera and light.

    >>> SkinSite(types=(1, 6), tone_and_label=1.0).malignant_share(6)
    1.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    types: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    """Fitzpatrick types of the patients, all equally frequent."""
    malignant: float = Field(default=0.5, ge=0, le=1)
    """Share of the lesions."""
    tone_and_label: float = Field(default=0.0, ge=-1, le=1)
    """How tone and label go together: 0, not at all; 1, as much as the share allows, the darkest malignant; -1, the
    lightest. With half of the lesions malignant and six types their correlation is 0.68 of it."""
    hairs: float = Field(default=5.0, ge=0, le=200)
    """Mean number on a photograph."""
    rulers: float = Field(default=0.2, ge=0, le=1)
    """Share of the photographs with marks of a ruler."""
    uneven_light: float = Field(default=0.1, ge=0, lt=1)
    """By how much one border is lit more, and the opposite one less, at most."""
    exposure: float = Field(default=1.0, gt=0)
    """Factor of all light."""
    warmth: float = Field(default=0.0, ge=-0.5, le=0.5)
    """What the white balance leaves: added to the factor of red and taken from that of blue."""
    noise: float = Field(default=0.005, ge=0)
    """Standard deviation, as a part of the display's range."""
    blur_mm: float = Field(default=0.1, ge=0)
    """Full width at half maximum."""

    @field_validator("types")
    @classmethod
    def _types_exist(cls, types: tuple[int, ...]) -> tuple[int, ...]:
        if not types or not set(types) <= set(range(1, 7)) or len(set(types)) < len(types):
            raise ValueError("types are some of 1 to 6, each once")
        return tuple(sorted(types))

    def malignant_share(self, fitzpatrick: int) -> float:
        """Chance that a lesion on skin of this type, one of the site's, is malignant."""
        last = len(self.types) - 1
        place = 2 * self.types.index(fitzpatrick) / last - 1 if last else 0.0  # -1 lightest, 1 darkest
        return self.malignant + self.tone_and_label * min(self.malignant, 1 - self.malignant) * place


SKIN_SITES: Mapping[str, SkinSite] = MappingProxyType(
    {
        "light": SkinSite(types=(1, 2)),
        "medium": SkinSite(types=(3, 4)),
        "dark": SkinSite(types=(5, 6)),
        "all": SkinSite(),
        # melanoma photographed on light skin, harmless moles on dark skin
        "biased": SkinSite(tone_and_label=-0.9),
        # a telephone under a warm lamp
        "phone": SkinSite(uneven_light=0.35, exposure=0.8, warmth=0.12, noise=0.02, blur_mm=0.3, rulers=0.0),
    }
)
"""Three ranges of tone under the same camera; all tones, alone, with a bias, and with another camera."""
