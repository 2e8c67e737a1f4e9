"""Methods for a target of which nothing is seen before its images are predicted."""

from medgraft.methods.unseen.fourier import Fourier

__all__ = ["Fourier"]
