"""What a chest film can show: each finding changes what lies along the rays, more or less severely."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import NormalDist
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from medgraft.phantoms.chords import curve, ellipsoid_chord, line_distance, tube_chord
from medgraft.phantoms.thorax import HILUM, Layers, Thorax

NODULE_MM, MASS_MM = (5.0, 15.0), (15.0, 35.0)
"""Least and greatest radius."""
CORRELATION = np.array([[1.0, 0.5, 0.4], [0.5, 1.0, 0.5], [0.4, 0.5, 1.0]])
"""Of what lies behind a large heart, oedema and effusion, each standard normal: a weak heart causes all three."""


class Drawn(NamedTuple):
    """A finding of one film.

    severity: in [0, 1], from hardly visible to plain.
    side: -1 the subject's right, 1 its left; findings of both sides do not look at it.
    """

    severity: float
    side: int


Change = Callable[[Layers, Thorax, Drawn, np.random.Generator], Layers]


class Finding(NamedTuple):
    """prevalence: share of films that show it. change: what it does to a film; its generator draws place and shape."""

    prevalence: float
    change: Change


def emphysema(layers: Layers, thorax: Thorax, drawn: Drawn, generator: np.random.Generator) -> Layers:
    """More air in both lungs, fewer vessels, a low and flat diaphragm."""
    severity = 0.15 + 0.85 * drawn.severity
    lower = 22 * severity - 0.75 * severity * layers.dome
    return layers._replace(
        above=layers.above + lower,
        dome=layers.dome * (1 - 0.75 * severity),
        density=layers.density * (1 - 0.4 * severity),
        vessels=layers.vessels * (1 - 0.4 * severity),
    )


def pneumothorax(layers: Layers, thorax: Thorax, drawn: Drawn, generator: np.random.Generator) -> Layers:
    """Air between lung and ribs of one side, widest above: no vessels, no lung, and a thin line where the lung ends."""
    depth = 8 + 26 * drawn.severity + generator.uniform(0, 4)
    low = generator.uniform(-60, 10)
    wide = (thorax.width - depth * (0.55 + 0.45 * _step((layers.z - low) / 25))).clip(min=1)
    apex = thorax.apex - 1.15 * depth
    up = ((layers.z + 70) / (apex + 70)).clip(min=0)
    border = wide * (1 - up**2.3).clip(min=0) ** (1 / 2.3)
    apart = np.abs(layers.x) - border  # mm beyond the lung, sideways
    apart = np.maximum(apart, layers.z - apex)
    there = (layers.x * drawn.side > 0) & (layers.cavity > 0)
    air = _step(apart / 1.5) * there
    line = 3.0 * np.exp(-((apart / 1.4) ** 2)) * there * (np.abs(layers.x) > 20)
    return layers._replace(
        pleural_air=np.maximum(layers.pleural_air, air),
        density=np.where(there, layers.density * 1.08, layers.density),
        body=layers.body + line,
    )


def oedema(layers: Layers, thorax: Thorax, drawn: Drawn, generator: np.random.Generator) -> Layers:
    """Haze around both roots of the lungs, and full vessels."""
    amount = 0.08 + 0.36 * drawn.severity
    aside = (np.abs(layers.x) - HILUM[0] - 8) / generator.uniform(40, 55)
    up = (layers.z - HILUM[1] + 8) / generator.uniform(55, 75)
    patchy = 1 + 0.25 * thorax.noise_at(layers.x, layers.z, 14.0)
    haze = (amount * patchy * np.exp(-(aside**2) - up**2)).clip(0, 0.9)
    full = layers.vessels * (1 + 0.5 * drawn.severity)
    return layers._replace(haze=_both(layers.haze, haze), vessels=full)


def consolidation(layers: Layers, thorax: Thorax, drawn: Drawn, generator: np.random.Generator) -> Layers:
    """A patch of one lung whose air gave way to fluid; its border is soft."""
    x, z = _lung_place(thorax, drawn.side, generator, lowest=-55)
    wide, high = (
        generator.uniform(16, 24) + 16 * drawn.severity,
        generator.uniform(14, 22) + 14 * drawn.severity,
    )
    reach = np.hypot((layers.x - x) / wide, (layers.z - z) / high)
    reach = reach + 0.3 * thorax.noise_at(layers.x + 99, layers.z, 10.0)
    haze = (0.3 + 0.4 * drawn.severity) * _step((1 - reach) / 0.4) * (layers.x * drawn.side > 0)
    return layers._replace(haze=_both(layers.haze, haze))


def effusion(layers: Layers, thorax: Thorax, drawn: Drawn, generator: np.random.Generator) -> Layers:
    """Fluid in the angle between diaphragm and ribs, higher at the side; in two of five on both sides."""
    height = 40 + 90 * drawn.severity
    other = 0.6 * height if generator.uniform() < 0.4 else 0.0
    fluid = layers.fluid
    for side, high in ((drawn.side, height), (-drawn.side, other)):
        if high:
            top = thorax.floor - (thorax.left_lower if side > 0 else 0.0) - thorax.dome_drop + high
            aside = (np.abs(layers.x) / thorax.width).clip(0, 1)
            level = top + 40 * (aside**3 - 0.45) * (0.4 + drawn.severity)
            deep = (level - layers.z).clip(min=0) * (layers.x * side > 0)
            fluid = np.maximum(fluid, 9 * deep)
    return layers._replace(fluid=fluid)


def nodule(layers: Layers, thorax: Thorax, drawn: Drawn, generator: np.random.Generator) -> Layers:
    """A ball of tissue in one lung, 10 to 30 mm wide."""
    radius = NODULE_MM[0] + (NODULE_MM[1] - NODULE_MM[0]) * drawn.severity
    place = _lung_place(thorax, drawn.side, generator, lowest=-45)
    ball = ellipsoid_chord(layers.x, layers.z, place, (radius, radius, radius))
    return layers._replace(solid=np.maximum(layers.solid, ball))


def mass(layers: Layers, thorax: Thorax, drawn: Drawn, generator: np.random.Generator) -> Layers:
    """A larger body of tissue in one lung, 30 to 70 mm wide, with an uneven border."""
    radius = MASS_MM[0] + (MASS_MM[1] - MASS_MM[0]) * drawn.severity
    place = _lung_place(thorax, drawn.side, generator, lowest=-40)
    uneven = 1 + 0.09 * thorax.noise_at(layers.x, layers.z + 99, 9.0)
    x, z = (layers.x - place[0]) * uneven, (layers.z - place[1]) * uneven
    depth = radius * generator.uniform(0.6, 0.9)
    body = ellipsoid_chord(x, z, (0.0, 0.0), (radius, depth, radius * generator.uniform(0.8, 1.0)))
    return layers._replace(solid=np.maximum(layers.solid, body * (layers.x * drawn.side > 0)))


def device(layers: Layers, thorax: Thorax, drawn: Drawn, generator: np.random.Generator) -> Layers:
    """A pacemaker with its wire, or a tube: into the windpipe, or from the neck to the heart."""
    kind = generator.integers(3)
    jitter = generator.normal(0, 3, 4)
    if kind == 0:
        x, z = drawn.side * (92 + jitter[0]), thorax.apex - 45 + jitter[1]
        size = 15 + 7 * drawn.severity
        # a square with round corners
        box = (((layers.x - x) / size) ** 4 + ((layers.z - z) / (0.85 * size)) ** 4) ** 0.25
        case = 3.0 * _step((1 - box) * size / 1.5)
        middle = (drawn.side * 30.0, thorax.apex - 30)
        line = curve(((x, z), middle, (-28.0, 70.0), (-40.0, -60.0), (35 + jitter[2], -62 + jitter[3])))
        metal = np.maximum(case, _wire(layers, line, 1.3, 0.8))
    elif kind == 1:
        end = 48 + jitter[0] + 20 * drawn.severity
        metal = _wire(layers, curve(((2.0, 180.0), (1 + jitter[1], 120.0), (0.0, end)), 6), 5.0, 0.16)
        metal = metal + _wire(layers, np.array([[5.0, 180.0], [4.0, end]]), 1.0, 0.4)
    else:
        turn = (drawn.side * 22.0, thorax.apex - 25)
        line = curve(((drawn.side * 45.0, 180.0), turn, (-24.0, 80.0), (-26 + jitter[0], 20 + jitter[1])))
        metal = _wire(layers, line, 1.6 + drawn.severity, 0.3 + 0.3 * drawn.severity)
    return layers._replace(metal=layers.metal + metal)


FINDINGS: Mapping[str, Finding] = MappingProxyType(
    {
        "emphysema": Finding(0.25, emphysema),
        "pneumothorax": Finding(0.25, pneumothorax),
        "oedema": Finding(0.25, oedema),
        "consolidation": Finding(0.25, consolidation),
        "effusion": Finding(0.25, effusion),
        "nodule": Finding(0.25, nodule),
        "mass": Finding(0.25, mass),
        "device": Finding(0.25, device),
    }
)
"""In the order in which they change a film. A large heart is no change but a fact of the subject."""


def draw_findings(generator: np.random.Generator, heart_score: float) -> dict[str, Drawn]:
    """What a film shows, drawn independently but for what a weak heart causes.

    Args:
        generator: source of the film.
        heart_score: of the subject; oedema and effusion go along with it as `CORRELATION` says.

    Returns: the findings that are there. What lies in a lung lies opposite to a pneumothorax, which would move it.

    >>> sorted(draw_findings(np.random.default_rng(1), 0.0))
    ['effusion', 'emphysema']
    """
    scores = np.linalg.cholesky(CORRELATION)[1:] @ np.array([heart_score, *generator.standard_normal(2)])
    with_heart = dict(zip(("oedema", "effusion"), map(float, scores)))
    found: dict[str, Drawn] = {}
    for name, finding in FINDINGS.items():
        chance, severity, side = generator.uniform(size=3)  # drawn in any case: no finding moves another one
        bound = NormalDist().inv_cdf(1 - finding.prevalence)
        if with_heart[name] > bound if name in with_heart else chance < finding.prevalence:
            found[name] = Drawn(float(severity), 1 if side < 0.5 else -1)
    if "pneumothorax" in found:
        opposite = -found["pneumothorax"].side
        for name in {"consolidation", "nodule", "mass"} & set(found):
            found[name] = found[name]._replace(side=opposite)
    return found


def _lung_place(
    thorax: Thorax, side: int, generator: np.random.Generator, lowest: float
) -> tuple[float, float]:
    """A place well within a lung, away from heart and diaphragm, (x, z) mm."""
    z = generator.uniform(lowest, thorax.apex - 45)
    wide = thorax.half_width(z)
    inner = 0.48 if z > 10 else 0.48 + 0.2 * (side > 0)
    return side * wide * generator.uniform(inner, 0.85), z


def _wire(layers: Layers, line: np.ndarray, radius: float, metal: float) -> np.ndarray:
    """A tube whose middle ray crosses this much metal, mm."""
    chord = tube_chord(line_distance(layers.x, layers.z, line), radius)
    return chord * (metal / (2 * radius))


def _both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    chord: np.ndarray = 1 - (1 - first) * (1 - second)
    return chord


def _step(value: np.ndarray) -> np.ndarray:
    """From 0 to 1 around 0, without an edge."""
    step: np.ndarray = 0.5 * (1 + np.tanh(value))
    return step
