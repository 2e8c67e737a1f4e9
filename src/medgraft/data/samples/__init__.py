"""Real images inside the package, for demonstrations, tests and claims."""

from __future__ import annotations

from pathlib import Path

from medgraft.data.cohort import Cohort
from medgraft.errors import DataError

SAMPLES = {
    "nuclei": "H&E crops of single nuclei in three classes, from a tumour nest and from stroma",
    "nuclei_tiles": "H&E tiles of the tumour nest with a mask of nucleus classes",
    "nuclei_boxes": "the same H&E tiles with a box around every nucleus",
    "brain": "axial T1 slices of two heads, each from another source, with brain masks",
    "fluorescence": "tiles of fluorescent nuclei with masks",
}
FOLDER = Path(__file__).parent


def load_samples(name: str) -> Cohort:
    """Open one of the shipped sets; it names sites, splits, and the blocks that stand for patients.

    Args:
        name: nuclei, nuclei_tiles, nuclei_boxes, brain or fluorescence; `docs/samples.md` describes them.

    Returns: a cohort whose notes tell licence, source, and what its labels are worth.

    Raises:
        DataError: no set of that name.

    Source: histolytics (HautaniemiLab), Colin27 as in MRIcron, ROBEX (Iglesias et al. 2011), StarDist
    (Schmidt et al. 2018).

    >>> nuclei = load_samples("nuclei").at("nest")
    >>> nuclei.classes
    ('connective', 'inflammatory', 'neoplastic')
    >>> nuclei.picture(0).array.shape
    (48, 48, 3)
    """
    if name not in SAMPLES:
        raise DataError(
            "load_samples", f"one of {', '.join(SAMPLES)}", f"it got {name!r}", "Choose one of these."
        )
    from medgraft.data.manifest import read_manifest

    cohort = read_manifest(FOLDER / f"{name}.csv")
    cohort.recipe = {"samples": name, "operations": []}  # without the path of this installation
    return cohort
