"""Films of simulated chests in simulated radiography rooms, labelled with what they show."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medgraft.phantoms.fields import generator_for
from medgraft.phantoms.findings import FINDINGS, Drawn, draw_findings
from medgraft.phantoms.phantom import Phantom, Request, Taken
from medgraft.phantoms.radiograph import expose, show, transmission
from medgraft.phantoms.thorax import FILM_MM, LARGE_HEART, Plane, Thorax
from medgraft.phantoms.xray_sites import XRAY_SITES, XraySite

LABELS: Mapping[str, tuple[str, ...]] = {
    "acute": ("cardiomegaly", "consolidation", "oedema", "effusion", "device"),
    "screening": ("nodule", "mass", "pneumothorax", "emphysema", "effusion"),
}
"""Two label sets with one label in common. Every film may show all nine findings, whichever set is asked for."""
FINEST = 128
"""Rays along each edge, at least: several cross a pixel where pixels are large."""
SHIFT_MM, TILT_DEGREES = 4.0, 1.2
"""Standard deviations of how a subject stands, from film to film."""


def film_subject(request: Request) -> Taken:
    """Take films of one subject at different times: the same chest, other findings, standing a little differently.

    A film's findings depend on the subject and the film's number alone, neither on the site nor on the task.
    """
    thorax = Thorax(generator_for(request.phantom, request.seed, request.subject))
    films, labels = [], []
    for number in range(request.slices):
        key = (request.phantom, request.seed, request.subject, "film", number)
        findings = draw_findings(generator_for(*key, "findings"), thorax.heart_score)
        shown = set(findings) | ({"cardiomegaly"} if thorax.cardiothoracic_ratio > LARGE_HEART else set())
        labels.append([name in shown for name in LABELS[request.task]])
        films.append(take_film(thorax, findings, request.settings, request.side, key, request.site))
    spacing = f"{FILM_MM / request.side:g}"
    return Taken(np.stack(films), np.array(labels, np.uint8), f"{spacing} {spacing}")


def take_film(
    thorax: Thorax,
    findings: Mapping[str, Drawn],
    site: XraySite,
    side: int,
    key: tuple[object, ...],
    site_name: str,
) -> np.ndarray:
    """One film of a subject.

    Args:
        thorax: the subject.
        findings: by name, among `FINDINGS`.
        site, site_name: the room.
        side: pixels along each edge.
        key: of the film: how the subject stands, and where findings lie; with the site's name, the noise.

    Returns: (side, side) uint8.
    """
    standing = generator_for(*key, "standing").standard_normal(3)
    rays = -(-FINEST // side)  # along each edge of a pixel
    shift = (float(SHIFT_MM * standing[0]), float(SHIFT_MM * standing[1]))
    plane = Plane(side * rays, shift, float(TILT_DEGREES * standing[2]))
    layers = thorax.project(plane, site.heart_magnification)
    for name, finding in FINDINGS.items():
        if name in findings:
            layers = finding.change(layers, thorax, findings[name], generator_for(*key, name))
    passed = transmission(layers.paths(), site.energy_kev)
    passed = passed.reshape(side, rays, side, rays).mean(axis=(1, 3))
    generator = generator_for(*key, "at", site_name)
    return show(expose(passed, site, generator), site, generator)


CHEST_FILM = Phantom(
    kind="multilabel",
    settings=XraySite,
    sites=XRAY_SITES,
    tasks=LABELS,
    take=film_subject,
    has_volumes=False,
    sentence="the images are simulated: radiographs computed from a schematic thorax; no patient was X-rayed.",
    licence="none needed: simulated",
    source="simulated by medgraft",
)
