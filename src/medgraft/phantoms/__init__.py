"""Simulators: many subjects at several scanners, with exact truth. Everything they make is called simulated."""

from medgraft.phantoms.cohort import load_phantom
from medgraft.phantoms.mr_sites import BRAIN_SITES, PROSTATE_SITES, Site
from medgraft.phantoms.skin_sites import SKIN_SITES, SkinSite
from medgraft.phantoms.stain_sites import STAIN_SITES, StainSite
from medgraft.phantoms.xray_sites import XRAY_SITES, XraySite

__all__ = [
    "BRAIN_SITES",
    "PROSTATE_SITES",
    "SKIN_SITES",
    "STAIN_SITES",
    "XRAY_SITES",
    "Site",
    "SkinSite",
    "StainSite",
    "XraySite",
    "load_phantom",
]
