"""Methods that make source models from images without labels."""

from medgraft.pretraining.barlow_twins import BarlowTwins
from medgraft.pretraining.moco_v2 import MoCoV2
from medgraft.pretraining.moco_v3 import MoCoV3
from medgraft.pretraining.simsiam import SimSiam

__all__ = ["BarlowTwins", "MoCoV2", "MoCoV3", "SimSiam"]
