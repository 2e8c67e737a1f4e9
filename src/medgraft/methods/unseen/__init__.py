"""Methods for a target of which nothing is seen before its images are predicted."""

from medgraft.methods.unseen.debias import CLGR, LNTL, TABE
from medgraft.methods.unseen.erm import ERM
from medgraft.methods.unseen.fourier import Fourier
from medgraft.methods.unseen.learn_stain import DSCSIGAN, STST
from medgraft.methods.unseen.normalise_stain import NormaliseStain
from medgraft.methods.unseen.stain_aglr import StainAgLr

__all__ = ["CLGR", "DSCSIGAN", "ERM", "LNTL", "STST", "TABE", "Fourier", "NormaliseStain", "StainAgLr"]
