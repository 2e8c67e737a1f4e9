"""Methods for a target with labels."""

from medgraft.methods.labelled.colorize import Colorization
from medgraft.methods.labelled.fine_tune import FineTune
from medgraft.methods.labelled.l2_sp import L2SP
from medgraft.methods.labelled.mmtl import MMTL
from medgraft.methods.labelled.octl import OCTL
from medgraft.methods.labelled.simple_baseline import SimpleBaseline
from medgraft.methods.labelled.spot_tune import SpotTUNet

__all__ = ["L2SP", "MMTL", "OCTL", "Colorization", "FineTune", "SimpleBaseline", "SpotTUNet"]
