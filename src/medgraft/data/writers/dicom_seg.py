"""Masks as DICOM Segmentation, on the slices of the series they were predicted from."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from medgraft.data.readers import split_part
from medgraft.data.writers.dicom_source import DicomSource, images_to_refer_to, position_of_frame, read_source
from medgraft.errors import DataError, MedgraftError, ShapeError
from medgraft.whole_files import written_whole

SERIES_NUMBER = 9000
"""Of the new series: behind those of a scanner in a list by number."""
LABEL_LENGTH = 64
"""Characters of a segment's label, by the standard."""


def write_segmentation(labels: np.ndarray, reference: str | Path, path: Path, classes: Sequence[str]) -> None:
    """Write a binary segmentation with one segment per foreground class.

    Binary rather than a label map, which few viewers show yet. Frames without a segment are left out where there are
    several classes. Every segment is coded as tissue (SNOMED CT 85756007): the class's name is its label, and what
    it means is not guessed. It holds what its image says about patient and study, as the standard demands.

    Args:
        labels: (D, H, W) or (H, W) uint8 or uint16, turned as `read_image` turns the image; 0 is background, and
            class k is segment k.
        reference: the image, a file, folder or zip of DICOM or a part of one.
        path: the file, replaced if there is one.
        classes: the names, background first.

    Raises:
        ShapeError: the labels are not of the size of the images.
        DataError: images to which a segmentation cannot refer, such as several frames without a frame of reference.
        RunError: no room, or no permission.

    Source: DICOM PS3.3, A.51 (segmentation) and C.8.20.
    """
    try:
        with _in_silence():
            source = read_source(*split_part(reference))
            segmentation = _construct(_as_stored(labels, source), source, classes)
            first = source.headers[0]
            first.decode()  # to Unicode: the header's own character set may not hold the names of the classes
            segmentation.copy_patient_and_study_information(first)
            with written_whole(path) as temporary, temporary.open("wb") as file:
                segmentation.save_as(file)
    except (MedgraftError, MemoryError):
        raise
    except Exception as error:  # whatever is wrong with a header; the text could hold values
        raise DataError(
            "A DICOM segmentation", "images that it can refer to",
            f"the headers of {reference} do not suffice ({type(error).__name__})",
            "Write the masks as 'nifti' or 'png'.",
        ) from None  # fmt: skip


@contextmanager
def _in_silence() -> Iterator[None]:
    """Warnings and log lines of pydicom and highdicom quote values and identifiers."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _as_stored(labels: np.ndarray, source: DicomSource) -> np.ndarray:
    """(slice, row, column) in the order of the source's files or frames."""
    first, geometry = source.headers[0], source.geometry
    shape = (1, int(first.Rows), int(first.Columns)) if geometry is None else geometry.shape
    volume = labels[None] if labels.ndim == 2 else labels
    if volume.shape != shape:
        raise ShapeError(
            "A mask", "the size of its image", f"labels of shape {labels.shape} do not fit {source.where} of {shape}",
            "Predict the image again if it was changed.",
        )  # fmt: skip
    return volume if geometry is None else geometry.to_stored(volume)


def _construct(volume: np.ndarray, source: DicomSource, classes: Sequence[str]) -> Any:
    from highdicom import PlanePositionSequence
    from highdicom.seg import Segmentation
    from highdicom.uid import UID

    images, own = images_to_refer_to(source), _own_version()
    frames = None if source.geometry is None else source.geometry.frames
    places = None
    if frames is not None and len(frames) == images[0].NumberOfFrames:
        volume = volume[np.argsort(frames)]  # as stored
    elif frames is not None:  # one frame of several comes with its place
        places = [
            PlanePositionSequence("PATIENT", position_of_frame(source.headers[0], frame) or ())
            for frame in frames
        ]
    return Segmentation(
        source_images=images,
        segmentation_type="BINARY",
        segment_descriptions=_describe_segments(classes),
        series_instance_uid=UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer="medgraft",
        manufacturer_model_name="medgraft",
        software_versions=own,
        device_serial_number=own,  # the standard wants one; software has none
        series_description="Segmentation by medgraft",
        content_label="SEGMENTATION",
        content_description="Predicted by a model, not reviewed",
        # one segment keeps the frames of its image: then the file is a mask of the image's shape
        omit_empty_frames=len(classes) > 2,
        specific_character_set="ISO_IR 192",
        pixel_array=volume,
        plane_positions=places,
    )


def _describe_segments(classes: Sequence[str]) -> list[Any]:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    algorithm = AlgorithmIdentificationSequence(
        name="medgraft", version=_own_version(), family=codes.cid7162.ArtificialIntelligence
    )
    return [
        SegmentDescription(
            segment_number=number,
            segment_label=name.replace("\\", "/")[:LABEL_LENGTH],  # a backslash separates values
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for number, name in enumerate(classes[1:], start=1)
    ]


def _own_version() -> str:
    try:
        return version("medgraft")
    except PackageNotFoundError:
        return "unknown"
