"""Methods that make source models from images without labels."""

from medgraft.pretraining.barlow_twins import BarlowTwins
from medgraft.pretraining.popar import POPAR
from medgraft.pretraining.simmim import SimMIM

__all__ = ["POPAR", "BarlowTwins", "SimMIM"]
