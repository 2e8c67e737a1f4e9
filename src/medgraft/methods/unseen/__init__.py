"""Methods for a target of which nothing is seen before its images are predicted."""

from medgraft.methods.unseen.fourier import Fourier
from medgraft.methods.unseen.normalise_stain import NormaliseStain

__all__ = ["Fourier", "NormaliseStain"]
