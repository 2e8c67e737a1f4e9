"""Methods that make source models from images without labels."""

from medgraft.pretraining.barlow_twins import BarlowTwins
from medgraft.pretraining.moco_v2 import MoCoV2
from medgraft.pretraining.moco_v3 import MoCoV3
from medgraft.pretraining.popar import POPAR
from medgraft.pretraining.simmim import SimMIM
from medgraft.pretraining.simsiam import SimSiam

__all__ = ["POPAR", "BarlowTwins", "MoCoV2", "MoCoV3", "SimMIM", "SimSiam"]
