"""Methods for a target with images but no labels."""

from medgraft.methods.unlabelled.ada_bn import AdaBN
from medgraft.methods.unlabelled.adapt_seg_net import AdaptSegNet
from medgraft.methods.unlabelled.aiva import AIVA
from medgraft.methods.unlabelled.seg_jdot import SegJDOT

__all__ = ["AIVA", "AdaBN", "AdaptSegNet", "SegJDOT"]
