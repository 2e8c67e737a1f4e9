"""Adaptation methods, grouped by what the user has at the target."""

from medgraft.methods.labelled import L2SP, MMTL, OCTL, Colorization, FineTune, SimpleBaseline, SpotTUNet
from medgraft.methods.unlabelled import AIVA, AdaBN, AdaptSegNet, SegJDOT
from medgraft.methods.unseen import (
    CLGR,
    DSCSIGAN,
    ERM,
    LNTL,
    STST,
    TABE,
    Fourier,
    NormaliseStain,
    StainAgLr,
)

__all__ = [
    "AIVA",
    "CLGR",
    "DSCSIGAN",
    "ERM",
    "L2SP",
    "LNTL",
    "MMTL",
    "OCTL",
    "STST",
    "TABE",
    "AdaBN",
    "AdaptSegNet",
    "Colorization",
    "FineTune",
    "Fourier",
    "NormaliseStain",
    "SegJDOT",
    "SimpleBaseline",
    "SpotTUNet",
    "StainAgLr",
]
