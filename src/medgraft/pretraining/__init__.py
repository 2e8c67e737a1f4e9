"""Methods that make source models from images without labels."""

from medgraft.pretraining.barlow_twins import BarlowTwins

__all__ = ["BarlowTwins"]
