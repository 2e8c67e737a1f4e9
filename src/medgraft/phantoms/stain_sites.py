"""How a slide is stained and scanned: simulated laboratories for H&E."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

BLUER = np.array([1.0, 0.0, -1.0])
"""Change of absorption that lets a stain look bluer: more of red is absorbed, and less of blue."""

Turn = Annotated[float, Field(ge=-20, le=10)]
Factor = Annotated[float, Field(gt=0, le=4)]


class StainSite(BaseModel):
    """One laboratory: its dyes and its scanner, told as differences from those of the slide that it stains.

    >>> reference = np.array([[0.6, 0.2], [0.8, 0.95], [0.2, 0.2]])
    >>> turned = StainSite(haematoxylin_turn=-5).vectors(reference / np.linalg.norm(reference, axis=0))
    >>> bool(turned[2, 0] > 0.2)  # more of blue is absorbed
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    haematoxylin_turn: Turn = 0.0
    """Degrees by which its vector of optical density is turned: to a bluer stain; below 0, to a redder one."""
    eosin_turn: Turn = 0.0
    """The same of eosin."""
    haematoxylin: Factor = 1.0
    """Factor of its amount."""
    eosin: Factor = 1.0
    """Factor of its amount."""
    blur: float = Field(default=0.0, ge=0, le=20)
    """Full width at half maximum of the scanner's optics, in pixels."""
    balance: tuple[Factor, Factor, Factor] = (1.0, 1.0, 1.0)
    """Factors of red, green and blue."""
    gamma: float = Field(default=1.0, gt=0, le=4)
    """Exponent of the scanner's curve on values from 0 to 1; above 1 is darker. Before `balance`."""
    noise: float = Field(default=0.0, ge=0, le=1)
    """Standard deviation, as a part of the display's range."""

    def vectors(self, reference: np.ndarray) -> np.ndarray:
        """The laboratory's stains.

        Args:
            reference: (3, 2) unit optical density of the slide's own stains in red, green and blue; columns
                haematoxylin, eosin.

        Returns: (3, 2) of unit length, each as many degrees from its own as the settings say.
        """
        across = BLUER[:, None] - reference * (BLUER @ reference)
        across /= np.linalg.norm(across, axis=0)
        angles = np.radians([self.haematoxylin_turn, self.eosin_turn])
        turned: np.ndarray = reference * np.cos(angles) + across * np.sin(angles)
        return turned


STAIN_SITES: Mapping[str, StainSite] = MappingProxyType(
    {
        "reference": StainSite(),
        "next_day": StainSite(haematoxylin_turn=1, haematoxylin=1.05, eosin=0.96),
        "haematoxylin_rich": StainSite(haematoxylin_turn=4, haematoxylin=1.25, eosin=0.8, noise=0.01),
        "other_scanner": StainSite(blur=1.5, balance=(1.03, 1.0, 0.96), gamma=1.1, noise=0.01),
        "eosin_rich": StainSite(haematoxylin_turn=-4, eosin_turn=-4, haematoxylin=0.85, eosin=1.2),
        "thick_section": StainSite(haematoxylin=1.4, eosin=1.4, blur=2.5, noise=0.01),
        "other_dyes": StainSite(
            haematoxylin_turn=-6, eosin_turn=-13, haematoxylin=0.9, eosin=0.9, balance=(1.0, 1.0, 0.97)
        ),
        "faded": StainSite(
            haematoxylin_turn=-4, eosin_turn=-8, haematoxylin=0.6, eosin=0.5, blur=2, gamma=0.9, noise=0.02
        ),
    }
)
"""From close to far, by the distance of mean colours from the slide as it is."""
