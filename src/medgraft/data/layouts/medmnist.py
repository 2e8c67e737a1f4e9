"""MedMNIST and MedMNIST+: one npz file per data set, images of 28 to 224 pixels or volumes of 28 or 64 voxels."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medgraft.data.labels import LABEL_PREFIX
from medgraft.data.opened import Opened
from medgraft.data.readers.arrays import load_array
from medgraft.errors import DataError
from medgraft.types import JSON

SPLITS_AS_STORED = {"train": "train", "val": "validation", "test": "test"}
_ORGANS = (
    "bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left",
    "lung-right", "pancreas", "spleen",
)  # fmt: skip
CLASSES: dict[str, tuple[str, ...]] = {
    "pathmnist": (
        "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
        "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
    ),
    "chestmnist": (
        "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
        "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia",
    ),
    "dermamnist": (
        "actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesions",
        "dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions",
    ),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "pneumoniamnist": ("normal", "pneumonia"),
    "retinamnist": ("0", "1", "2", "3", "4"),
    "breastmnist": ("malignant", "normal, benign"),
    "bloodmnist": (
        "basophil", "eosinophil", "erythroblast",
        "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)", "lymphocyte", "monocyte", "neutrophil",
        "platelet",
    ),
    "tissuemnist": (
        "Collecting Duct, Connecting Tubule", "Distal Convoluted Tubule", "Glomerular endothelial cells",
        "Interstitial endothelial cells", "Leukocytes", "Podocytes", "Proximal Tubule Segments",
        "Thick Ascending Limb",
    ),
    "organamnist": _ORGANS,
    "organcmnist": _ORGANS,
    "organsmnist": _ORGANS,
    "organmnist3d": (
        "liver", "kidney-right", "kidney-left", "femur-right", "femur-left", "bladder", "heart", "lung-right",
        "lung-left", "spleen", "pancreas",
    ),
    "nodulemnist3d": ("benign", "malignant"),
    "adrenalmnist3d": ("normal", "hyperplasia"),
    "fracturemnist3d": ("buckle rib fracture", "nondisplaced rib fracture", "displaced rib fracture"),
    "vesselmnist3d": ("vessel", "aneurysm"),
    "synapsemnist3d": ("inhibitory synapse", "excitatory synapse"),
}  # fmt: skip
"""Class names in the order of the stored numbers, by the name of the file without its size."""
SIZES = ("28", "64", "128", "224")
SOURCE = "MedMNIST v2 (Yang et al. 2023)"
SILVER = (
    "Labels were mined from reports by a program (silver standard), as those of ChestX-ray14 they come from."
)


def recognises(path: Path) -> bool:
    """Every npz file: no other can be opened by itself."""
    return path.suffix.lower() == ".npz"


def owns(file: Path) -> bool:
    """No file: the npz is the whole data set."""
    return False


def data_set_of(path: Path) -> str | None:
    """The published data set that a file's name tells.

    >>> data_set_of(Path("PathMNIST_224.npz")), data_set_of(Path("mine.npz"))
    ('pathmnist', None)
    """
    name = re.sub(rf"_({'|'.join(SIZES)})$", "", path.stem.lower())
    return name if name in CLASSES else None


def read(path: Path) -> Opened:
    """A row per image of train_images, val_images and test_images, in this order; images themselves are not read.

    Args:
        path: pathmnist.npz, pathmnist_224.npz, organmnist3d_64.npz and so on; of another name, classes are numbers.

    Raises:
        DataError: not a file of these arrays; labels that the named data set does not have.

    Source: Yang et al. 2023, MedMNIST v2; names of classes from its package 3.0.2.
    """
    data_set = data_set_of(path)
    tables = [_rows(path, stored, split, data_set) for stored, split in SPLITS_AS_STORED.items()]
    table = pd.concat(tables, ignore_index=True).astype(object)
    table.index = pd.RangeIndex(1, len(table) + 1)
    sidecar: JSON = {"kind": "classify" if "label" in table.columns else "multilabel"}
    if data_set is not None:
        licence = "CC BY-NC 4.0" if data_set == "dermamnist" else "CC BY 4.0"
        sidecar["classes"] = list(CLASSES[data_set])
        sidecar["notes"] = {"licence": licence, "source": SOURCE}
        if data_set == "chestmnist":
            sidecar["notes"]["silver_labels"] = SILVER
    return Opened(table, path.parent, sidecar)


def _rows(path: Path, stored: str, split: str, data_set: str | None) -> pd.DataFrame:
    labels, are_volumes = _labels_of(path, stored)
    names = _names(path, labels, data_set)
    part = ":volume" if are_volumes else ""
    table = pd.DataFrame(
        {"image": [f"{path.name}#{stored}_images:{index}{part}" for index in range(len(labels))]}
    )
    table["split"] = split
    if labels.shape[1] == 1:
        table["label"] = [names[value] for value in labels[:, 0].tolist()]
        return table
    for column in range(labels.shape[1]):
        table[f"{LABEL_PREFIX}{names[column]}"] = labels[:, column].astype(str)
    return table


def _names(path: Path, labels: np.ndarray, data_set: str | None) -> dict[int, str]:
    """Stored number, or column of several labels, to name."""
    numbers = range(labels.shape[1]) if labels.shape[1] > 1 else sorted(set(labels[:, 0].tolist()))
    if data_set is None:
        return {number: str(number) for number in numbers}
    known = CLASSES[data_set]
    is_multilabel = data_set == "chestmnist"
    odd = [str(number) for number in numbers if not 0 <= number < len(known)]
    if odd or is_multilabel != (labels.shape[1] > 1) or (is_multilabel and labels.shape[1] != len(known)):
        has = f"the label {odd[0]}" if odd else f"{labels.shape[1]} labels per image"
        raise DataError(
            f"The file {path}", f"the {len(known)} classes of {data_set}", f"it has {has}",
            "Rename the file, so that classes are numbers, or download it again.",
        )  # fmt: skip
    return dict(enumerate(known))


def _labels_of(path: Path, stored: str) -> tuple[np.ndarray, bool]:
    """(N, K) labels of one split, as many as it has images, and whether these are volumes."""
    try:
        shape = _shape_of(path, f"{stored}_images")
        labels = load_array(path, f"{stored}_labels")
    except DataError as error:
        got = error.got
    except Exception as error:  # a broken archive raises whatever zipfile, zlib or numpy think fit
        got = f"{path} cannot be read ({type(error).__name__})"
    else:
        if len(shape) in (3, 4) and labels.shape[:1] == shape[:1] and labels.dtype.kind in "biu":
            are_volumes = len(shape) == 4 and shape[-1] not in (1, 3)
            return labels.reshape(len(labels), -1), are_volumes
        got = f"{stored}_images has the shape {shape} and {stored}_labels {labels.shape} of {labels.dtype}"
    raise DataError(
        f"The file {path}", "the MedMNIST arrays train_images, train_labels, val_..., test_...", got,
        "Write a manifest that names arrays as file.npz#key:index.",
    )  # fmt: skip


def _shape_of(path: Path, key: str) -> tuple[int, ...]:
    """From the header alone: the images of one file may be larger than memory."""
    with zipfile.ZipFile(path) as archive:
        if f"{key}.npy" not in archive.namelist():
            names = ", ".join(name.removesuffix(".npy") for name in archive.namelist())
            raise DataError("An npz file", f"the array {key}", f"{path} holds {names}", "Correct the file.")
        with archive.open(f"{key}.npy") as file:
            version = np.lib.format.read_magic(file)
            formats: Any = np.lib.format
            read_header = (
                formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0
            )
            shape: tuple[int, ...] = read_header(file)[0]
    return shape
