"""Copies of an image that are not the same numbers: saved anew, resized, brighter, cropped a little, mirrored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from medgraft.data.alignment import align, compare_structure
from medgraft.data.cohort import Cohort
from medgraft.data.neighbours import find_neighbours
from medgraft.data.signatures import PER_DEVIATION, SIDE, middle_planes, shrink, sign
from medgraft.errors import DataError

WAVES = 10
"""Highest sum of the two frequencies of the cosine transform by which candidates are sought."""
CANDIDATES = 8
"""Most similar images of others that are looked at for each."""
LEAST_LIKENESS = (0.4, 0.7)
"""Correlation of two signatures, as they are and once aligned, below which pixels are not read."""
LEAST_STRUCTURE = 0.5
"""Similarity of two signatures below which pixels are not read."""
LEAST_SIMILARITY = 0.74
"""Similarity of pixels from which two images are called copies; see `docs/leak_checks.md`."""
RICHNESS_POWER = 0.2
"""Similarity = agreement * richness ** this: the less of a picture has structure, the more alike it must be."""
BEYOND_DOUBT = 0.9
"""Similarity from which a pair is told whatever else the two images resemble."""
RELATIVE = 4
"""The how many-th most similar image tells how much an image resembles others that are no copies of it."""
LEAST_LEAD = 0.66
"""Least (similarity - r) / (1 - r), r being the similarity of that relative: the lead over what is usual."""
SIDES = (24, 64)
"""Pixels along each side at which pixels are compared: the smaller side of the smaller image, within these."""
AT_ONCE = 256
"""Pairs whose signatures are compared at a time: so few that they stay in the processor's cache."""
COARSE = SIDE // 2
"""Pixels along each side at which signatures are laid over each other."""
PLANES_KEPT = 1024
"""Small planes kept in memory while pairs are compared by pixels."""

TURNS = (
    "", "mirrored top to bottom", "mirrored left to right", "turned by 180 degrees",
    "mirrored along the diagonal", "turned by 90 degrees", "turned by 90 degrees", "mirrored along the diagonal",
)  # fmt: skip
"""Words for the eight ways in which `turn` lays an image."""


class NearDuplicate(NamedTuple):
    """Two rows whose images are, to all appearance, copies of one another.

    row, other_row: manifest rows.
    similarity: in [0.74, 1]; see `RICHNESS_POWER`.
    reason: how the copies differ, such as "mirrored left to right, cropped or shifted".
    """

    row: int
    other_row: int
    similarity: float
    reason: str


class Signatures(NamedTuple):
    """All that is kept of the images of one or two cohorts.

    planes: (N, P, 32, 32) int8, of images that have a signature.
    sides: (N,) integers: pixels along the shortest axis of each image.
    positions: (N,) where the images stand.
    groups: (N,) integers: images of one group (a patient, a cohort) are not compared with each other.
    """

    planes: np.ndarray
    sides: np.ndarray
    positions: np.ndarray
    groups: np.ndarray


class Pair(NamedTuple):
    """A pair by positions.

    stands_out: false where one of the two resembles several others nearly as much: slices of a scan, frames of a
        recording, pictures of one round thing. Whether they are copies cannot be told then.
    """

    first: int
    second: int
    similarity: float
    reason: str
    stands_out: bool = True


class _Fit(NamedTuple):
    """How the second image of each pair lies on the first; one entry per pair.

    turn, sign: which of the eight ways, and -1 where light and dark are exchanged.
    placement: (B, P, 4) stretch and shift of each plane, shift as a share of the side.
    """

    turn: np.ndarray
    sign: np.ndarray
    placement: np.ndarray


def find_near_duplicates(
    cohort: Cohort, other: Cohort | None = None, *, advance: Callable[[], None] = lambda: None
) -> list[NearDuplicate]:
    """Find images that were copied with changes: within a cohort, or between two.

    Found are copies in another format, size, depth, brightness or contrast, negatives, mirrored and turned ones, and
    crops by a few percent. Rows of one patient (or split unit) resemble one another anyway and are not compared, where
    these are told; exact copies are found by `find_leaks`. Images are read one at a time, their signatures are kept.

    Args:
        cohort: a volume counts by its three middle planes; mirrored and turned volumes are not found.
        other: compared with the first; None compares the first within itself.
        advance: called once per image, for a progress bar.

    Returns: pairs, in the order of rows of the first cohort; an image is compared with the eight most similar. Images
        that resemble several others, as slices of one scan do, only where there is no doubt.

    Raises:
        DataError: an image cannot be read.

    Source: Zauner 2010 for the hash of low frequencies; the comparison of pixels is ours (`docs/leak_checks.md`).

    >>> from medgraft.data.samples import load_samples
    >>> import numpy as np
    >>> images = np.stack([load_samples("nuclei").picture(row).array for row in range(6)])
    >>> images[5] = images[2, :, ::-1] // 2 + 40
    >>> cohort = Cohort.from_arrays(images, kind="encode")
    >>> [(pair.row, pair.other_row, pair.reason) for pair in find_near_duplicates(cohort)]
    [(3, 6, 'mirrored left to right, another brightness or contrast')]
    """
    cohorts = [cohort] if other is None else [cohort, other]
    collected = Collector(sum(map(len, cohorts)))
    for side, one in enumerate(cohorts):
        codes = np.unique(one.units, return_inverse=True)[1] if other is None else np.full(len(one), side)
        for position in range(len(one)):
            advance()
            collected.add(one.picture(position).array, int(codes[position]))

    def read(position: int) -> np.ndarray:
        if position < len(cohort):
            return cohort.picture(position).array
        assert other is not None
        return other.picture(position - len(cohort)).array

    rows = [int(row) for one in cohorts for row in one.table.index]
    pairs = [pair for signatures in collected.signatures() for pair in find_pairs(signatures, read)]
    return [
        NearDuplicate(rows[pair.first], rows[pair.second], pair.similarity, pair.reason)
        for pair in sorted(pairs)
        if pair.stands_out
    ]


class Collector:
    """Signatures of images that come one at a time, in a block of memory that is claimed once."""

    def __init__(self, number: int) -> None:
        self._planes = np.zeros((number, 1, SIDE, SIDE), np.int8)
        self._volumes: dict[int, np.ndarray] = {}
        self._sides = np.zeros(number, np.int32)
        self._groups = np.full(number, -1)
        self._position = 0

    def add(self, array: np.ndarray | None, group: int) -> None:
        """Take the next image; None where there is none, or one that is not to be compared."""
        if array is None:
            self.add_signature(None, 0, group)
        else:
            self.add_signature(sign(array), smallest_side(array), group)

    def add_signature(self, signature: np.ndarray | None, side: int, group: int) -> None:
        """Take what `sign` returned for the next image, and the length of its smallest side in pixels."""
        if signature is not None:
            self._sides[self._position], self._groups[self._position] = side, group
            if len(signature) == 1:
                self._planes[self._position] = signature
            else:
                self._volumes[self._position] = signature
        self._position += 1

    def signatures(self) -> Iterator[Signatures]:
        """Those of images, then those of volumes: the two are not compared."""
        is_volume = np.zeros(len(self._sides), bool)
        is_volume[list(self._volumes)] = True
        flat = np.flatnonzero((self._sides > 0) & ~is_volume)
        yield Signatures(self._planes[flat], self._sides[flat], flat, self._groups[flat])
        deep = np.flatnonzero(is_volume)
        if len(deep):
            planes = np.stack([self._volumes[int(position)] for position in deep])
            yield Signatures(planes, self._sides[deep], deep, self._groups[deep])


def smallest_side(array: np.ndarray) -> int:
    """Pixels along the shortest axis of an image, or of the middle planes of a volume."""
    return min(int(length) for plane in middle_planes(array) for length in plane.shape[:2])


def find_pairs(signatures: Signatures, read: Callable[[int], np.ndarray]) -> list[Pair]:
    """Copies among images of different groups.

    Args:
        signatures: all of images, or all of volumes.
        read: the image at a position, (H, W, C) or (D, H, W, C); called for pairs whose signatures agree.
    """
    pairs = propose_pairs(signatures)

    @lru_cache(PLANES_KEPT)
    def small_planes(position: int, side: int) -> np.ndarray | None:
        try:
            planes = [shrink(plane, side) for plane in middle_planes(read(position))]
        except DataError:
            return None  # was readable a moment ago
        return (
            None if any(plane is None for plane in planes) else np.stack([p for p in planes if p is not None])
        )

    found: list[Pair] = []
    relatives = np.zeros((len(signatures.planes), RELATIVE))
    for start in range(0, len(pairs), AT_ONCE):
        some = pairs[start : start + AT_ONCE]
        fit, likely, alike = _compare_signatures(signatures.planes, some)
        _keep_highest(relatives, some, alike)
        for index in np.flatnonzero(likely):
            one, two = some[index]
            side = int(np.clip(signatures.sides[[one, two]].min(), *SIDES))
            positions = int(signatures.positions[one]), int(signatures.positions[two])
            first, second = (small_planes(position, side) for position in positions)
            if first is None or second is None:
                continue
            own = _Fit(fit.turn[index], fit.sign[index], fit.placement[index])
            similarity, placement = _compare_pixels(first, second, own)
            if similarity >= LEAST_SIMILARITY:
                reason = _reason(own, placement, read(positions[0]), read(positions[1]))
                found.append(Pair(*positions, round(similarity, 3), reason))
    usual = dict(zip(signatures.positions.tolist(), relatives[:, -1].tolist()))
    return [pair._replace(stands_out=_stands_out(pair, usual)) for pair in found]


def _keep_highest(highest: np.ndarray, pairs: np.ndarray, values: np.ndarray) -> None:
    """Enter each pair's value for both of its images; rows (N, RELATIVE) fall."""
    for (one, two), value in zip(pairs[values > 0].tolist(), values[values > 0].tolist()):
        for index in (one, two):
            if value > highest[index, -1]:
                highest[index, -1] = value
                highest[index] = -np.sort(-highest[index])


def _stands_out(pair: Pair, usual: Mapping[int, float]) -> bool:
    relative = max(usual[pair.first], usual[pair.second])
    return pair.similarity >= BEYOND_DOUBT or pair.similarity - relative >= LEAST_LEAD * (1 - relative)


def propose_pairs(signatures: Signatures) -> np.ndarray:
    """(M, 2) integers: indices of the images whose signatures are nearest, each pair once."""
    number = len(signatures.planes)
    step = 4096
    points = [
        _describe(signatures.planes[start : start + step, 0].astype(np.float32) / PER_DEVIATION)
        for start in range(0, number, step)
    ]
    if number < 2:
        return np.zeros((0, 2), int)
    described = np.concatenate(points)
    # what all images of a set share (a chest is dark left and right) tells nothing: each wave counts by its spread
    described /= np.maximum(described.std(0), 1e-6)
    neighbours = find_neighbours(described, signatures.groups, CANDIDATES)
    pairs = np.stack([np.repeat(np.arange(number), neighbours.shape[1]), neighbours.ravel()], 1)
    return np.unique(np.sort(pairs[pairs[:, 1] >= 0], axis=1), axis=0)


def _describe(planes: np.ndarray) -> np.ndarray:
    """Low frequencies, the same for all eight turns and for the negative: magnitudes, larger of each mirror pair first.

    Neither a magnitude nor an order moves two points apart, so that near signatures have near descriptions.

    Args:
        planes: (B, S, S) float.

    Returns: (B, D) float32.
    """
    from scipy.fft import dctn

    waves = np.abs(dctn(planes[:, :, :], axes=(1, 2), norm="ortho")[:, : WAVES + 1, : WAVES + 1])
    down, right = np.triu_indices(WAVES + 1)
    low = (down + right > 0) & (down + right <= WAVES)
    down, right = down[low], right[low]
    one, two = waves[:, down, right], waves[:, right, down]
    apart = down != right
    described: np.ndarray = np.concatenate([np.maximum(one, two), np.minimum(one, two)[:, apart]], axis=1)
    return described.astype(np.float32)


def turn(planes: np.ndarray, way: int) -> np.ndarray:
    """Lay (..., S, S) in one of eight ways; `TURNS` names them."""
    if way & 1:
        planes = planes[..., ::-1, :]
    if way & 2:
        planes = planes[..., ::-1]
    return planes.swapaxes(-1, -2) if way & 4 else planes


def _compare_signatures(planes: np.ndarray, pairs: np.ndarray) -> tuple[_Fit, np.ndarray, np.ndarray]:
    """How each pair lies, whether it is worth reading its pixels (B,), and how similar the signatures are (B,)."""
    first = planes[pairs[:, 0]].astype(np.float32) / np.float32(PER_DEVIATION)
    second = planes[pairs[:, 1]].astype(np.float32) / np.float32(PER_DEVIATION)
    small, other = _halve(first), _halve(second)
    likeness = np.stack([np.einsum("bpij,bpij->b", small, turn(other, way)) for way in range(8)], 1)
    ways = np.abs(likeness).argmax(1)
    best = likeness[np.arange(len(pairs)), ways]
    signs = np.where(best < 0, -1, 1).astype(np.float32)
    energy = np.sqrt((small**2).sum((1, 2, 3)) * (other**2).sum((1, 2, 3)))
    likely = np.abs(best) >= LEAST_LIKENESS[0] * energy
    alike = np.where(likely, 1.0, 0.0)
    placements = np.zeros((*first.shape[:2], 4), np.float32)
    to_share = np.array([1, 1 / COARSE, 1, 1 / COARSE], np.float32)
    for plane in range(first.shape[1]):
        some = np.flatnonzero(likely)
        if not len(some):
            break
        mine = first[some, plane]
        theirs = np.stack([turn(second[index, plane], int(ways[index])) * signs[index] for index in some])
        placed = align(_halve(mine), _halve(theirs), steps=6, blur=0.5)
        placements[some, plane] = placed.stretch_shift * to_share
        at = placed.stretch_shift * np.array([1, SIDE / COARSE] * 2, np.float32)
        agreement, richness = compare_structure(mine, theirs, at, blur=1.0)
        alike[some] = np.minimum(alike[some], agreement * richness**RICHNESS_POWER)
        likely[some] = (placed.correlation >= LEAST_LIKENESS[1]) & (alike[some] >= LEAST_STRUCTURE)
    return _Fit(ways, signs, placements), likely, alike


def _halve(planes: np.ndarray) -> np.ndarray:
    """(..., 2 S, 2 S) to (..., S, S): means of four."""
    rows = planes[..., ::2, :] + planes[..., 1::2, :]
    halved: np.ndarray = (rows[..., ::2] + rows[..., 1::2]) / 4
    return halved


def _compare_pixels(first: np.ndarray, second: np.ndarray, fit: _Fit) -> tuple[float, np.ndarray]:
    """Similarity of two images, that of their least similar plane, and the (P, 4) placement that was found."""
    side = first.shape[-1]
    laid = turn(second, int(fit.turn)) * fit.sign
    start = fit.placement * np.array([1, side] * 2, np.float32)
    placed = align(first, laid, start, steps=6, blur=0.5 + side / SIDES[1])
    agreement, richness = compare_structure(first, laid, placed.stretch_shift)
    similarity = float((agreement * richness**RICHNESS_POWER).min())
    return similarity, placed.stretch_shift / np.array([1, side] * 2, np.float32)


def _reason(fit: _Fit, placement: np.ndarray, first: np.ndarray, second: np.ndarray) -> str:
    """In words, how two copies differ."""
    reasons = [TURNS[int(fit.turn)]] if int(fit.turn) else []
    if int(fit.sign) < 0:
        reasons.append("light and dark exchanged")
    if np.abs(placement[:, [0, 2]]).max() > 0.01 or np.abs(placement[:, [1, 3]]).max() > 0.01:
        reasons.append("cropped or shifted")
    elif sorted(first.shape[:-1]) != sorted(second.shape[:-1]):
        reasons.append("another size")
    if first.dtype != second.dtype:
        reasons.append("another depth or unit")
    elif not reasons or int(fit.sign) > 0:
        levels = [(float(one.mean()), float(one.std())) for one in _as_seen((first, second))]
        spread = max(deviation for _, deviation in levels)
        if max(abs(one - two) for one, two in zip(*levels)) > 0.05 * spread:
            reasons.append("another brightness or contrast")
    return ", ".join(reasons) or "saved anew"


def _as_seen(images: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    for image in images:
        finite = image[..., :3].astype(np.float32)
        yield finite[np.isfinite(finite)]
