"""What a DICOM header says about identity: flags and the names of attributes, never their values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medgraft.data.readers.dataset import read_dataset

FLAGS = {
    "BurnedInAnnotation": "The file is flagged as having annotations burnt into its pixels: look for names in it, "
    "and crop or mask them.",
    "RecognizableVisualFeatures": "The file is flagged as showing recognisable features, such as a face: remove them "
    "before the data are shared.",
}
"""Attribute that is YES -> what to tell."""
IDENTIFYING = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientAddress", "PatientTelephoneNumbers", "OtherPatientIDs",
    "ReferringPhysicianName", "AccessionNumber",
)  # fmt: skip


def warn_of_identity(file: Path) -> list[str]:
    """Sentences about burnt-in annotations, recognisable features and attributes that name a patient.

    Source: DICOM PS3.3, C.7.6.1.1.3 (BurnedInAnnotation) and C.12.1.1.3 (PatientIdentityRemoved); PS3.15, annex E.
    """
    tags = [*FLAGS, *IDENTIFYING, "PatientIdentityRemoved"]
    header = read_dataset(file, stop_before_pixels=True, specific_tags=tags)
    told = [sentence for name, sentence in FLAGS.items() if _says_yes(header, name)]
    held = [name for name in IDENTIFYING if _is_filled(header, name)]
    if held and not _says_yes(header, "PatientIdentityRemoved"):
        told.append(
            f"The header holds {', '.join(held)} and is not flagged as de-identified: de-identify the files before "
            "they are shared."
        )
    return told


def _says_yes(header: Any, name: str) -> bool:
    return str(header.get(name, "")).strip().upper() == "YES"


def _is_filled(header: Any, name: str) -> bool:
    """Asked of the raw bytes: to decode them could put them into a warning of pydicom's."""
    element = header.get_item(name) if name in header else None
    value = getattr(element, "value", None)
    return bool(value.strip() if isinstance(value, bytes | str) else value)
