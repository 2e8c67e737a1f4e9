"""Valid files of every format, and ways to damage them: what `fuzz_readers.py` works with."""

from __future__ import annotations

import gzip
import io
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pydicom
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

Case = dict[str, bytes]
"""File name -> bytes; all lie in one folder."""
CANARY = "Canary"
"""Stands in every field that names a patient; no message may repeat it."""
NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    64,
    127,
    128,
    255,
    256,
    4096,
    32767,
    32768,
    65535,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
)
ODD_VALUES: tuple[Any, ...] = (
    None, "", 0, 1, -1, 3, 7, 8, 12, 16, 32, 64, 255, 4096, 65535, 10**6, 2**31 - 1, "1e400", "nan", "-inf", "x",
    [], [0, 0], [1, 1, 1], [0] * 6, [1, 0, 0, 1, 0, 0], [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1],
    [1e30, -1e30, 0], ["nan"] * 3, [0.5, 0.5], [0, 0.5], [-1, 1], ["nan", 1], 1e-30, 0.1, CANARY,
)  # fmt: skip
DICOM_FIELDS = (
    "Rows", "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel",
    "PlanarConfiguration", "PhotometricInterpretation", "PixelRepresentation", "PixelSpacing", "ImagePositionPatient",
    "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "SeriesNumber", "SeriesInstanceUID",
    "ModalityLUTSequence", "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence", "PatientName",
    "GridFrameOffsetVector", "ExtendedOffsetTable", "SegmentSequence", "DoseGridScaling", "PixelData",
    "RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "TotalPixelMatrixRows",
    "SegmentationType", "MaximumFractionalValue", "DirectoryRecordSequence", "SOPClassUID",
)  # fmt: skip
PHOTOMETRIC = (
    "MONOCHROME1",
    "MONOCHROME2",
    "RGB",
    "PALETTE COLOR",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_ICT",
    "ARGB",
)


# Damage


def damage(case: Case, others: Sequence[Case], random: Random) -> Case:
    """The same files, one or more of them damaged; the more steps the rarer."""
    case = dict(case)
    for _ in range(1 + min(random.getrandbits(8).bit_count() // 3, 3)):
        name = random.choice(sorted(case))
        donor = random.choice(list(random.choice(others).values()))
        if len(case) > 1 and random.random() < 0.05:
            del case[name]
            continue
        change = random.choice([*_changes_for(name), _bytes_changed])
        try:
            case[name] = change(case[name], donor, random)
        except Exception:  # already too damaged for a change that understands the format
            case[name] = _bytes_changed(case[name], donor, random)
    return case


def _changes_for(name: str) -> list[Callable[[bytes, bytes, Random], bytes]]:
    ends = name.lower()
    if ends.endswith((".csv", ".tsv", ".toml")):
        return [_text_changed]
    if ends.endswith((".dcm", "dicomdir")):
        return [_dicom_field_changed] * 3
    if ends.endswith(".nii"):
        return [_nifti_field_changed] * 3
    if ends.endswith(".nii.gz"):
        return [lambda data, donor, random: gzip.compress(
            random.choice([_nifti_field_changed, _bytes_changed])(gzip.decompress(data), donor, random), 1
        )] * 3  # fmt: skip
    if ends.endswith(".npy"):
        return [_npy_header_changed]
    if ends.endswith((".zip", ".npz")):
        return [_member_changed] * 2
    if ends.endswith(".png"):
        return [_png_chunk_changed] * 2
    return []


def _bytes_changed(data: bytes, donor: bytes, random: Random) -> bytes:
    array = bytearray(data or b"\0")
    # headers stand at the front: half of all changes are made there
    at = random.randrange(min(len(array), 400) if random.random() < 0.5 else len(array))
    kind = random.randrange(8)
    if kind == 0:
        for _ in range(random.randint(1, 16)):
            array[random.randrange(len(array))] ^= 1 << random.randrange(8)
    elif kind == 1:
        array[at] = random.choice((0, 1, 127, 128, 255, random.randrange(256)))
    elif kind == 2:
        code = random.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
        largest = 2 ** (8 * struct.calcsize(code)) - 1
        array[at : at + struct.calcsize(code)] = struct.pack(
            code, random.choice((*NUMBERS, largest)) & largest
        )
    elif kind == 3:
        del array[at:]
    elif kind == 4:
        del array[at : at + random.randint(1, 64)]
    elif kind == 5:
        piece = donor[random.randrange(len(donor) or 1) :][: random.randint(1, 256)]
        array[at : at + random.choice((0, len(piece)))] = piece
    elif kind == 6:
        array[at:at] = array[at : at + random.randint(1, 256)] * random.choice((1, 2, 16))
    else:
        array[at : at + 16] = random.randbytes(random.randint(1, 16))
    return bytes(array)


def _text_changed(data: bytes, donor: bytes, random: Random) -> bytes:
    text = data.decode("utf-8", "replace")
    words = ("\n", ",", "\t", ";", '"', "'", "#", "\0", "\ufeff", "image", "label", "mask", "boxes", "label:x", "split",
             "train", "-1", "nan", "1e999", "../..", "/", "=", "[", "]", "[[", "0,0,1,1,x", "9" * 30, "é",
             "\r")  # fmt: skip
    at = random.randrange(len(text) + 1)
    return (text[:at] + random.choice(words) + text[at + random.choice((0, 0, 1, 5)) :]).encode("utf-8")


def _dicom_field_changed(data: bytes, donor: bytes, random: Random) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    holders = [
        dataset,
        *(each for element in dataset if element.VR == "SQ" for each in _items(element.value)),
    ]
    holder = random.choice(holders) if random.random() < 0.4 else dataset
    names = (
        [element.keyword for element in holder if element.keyword] if holder is not dataset else DICOM_FIELDS
    )
    name = random.choice(names or DICOM_FIELDS)
    if random.random() < 0.1:
        dataset.file_meta.TransferSyntaxUID = random.choice(sorted(pydicom.uid.AllTransferSyntaxes))
    elif random.random() < 0.15:
        del holder[name]
    elif name == "PhotometricInterpretation":
        holder.PhotometricInterpretation = random.choice(PHOTOMETRIC)
    elif pydicom.datadict.dictionary_VR(name) == "SQ":
        items = list(holder.get(name) or [])
        setattr(holder, name, random.choice(([], items[:1], items * 2, [Dataset()], items[::-1])))
    else:
        setattr(holder, name, random.choice(ODD_VALUES))
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=False)
    return out.getvalue()


def _items(sequence: Any) -> list[Dataset]:
    """All items of a sequence and of the sequences in it."""
    return [found for each in sequence for found in (each, *(
        deeper for element in each if element.VR == "SQ" for deeper in _items(element.value)))]  # fmt: skip


def _nifti_field_changed(data: bytes, donor: bytes, random: Random) -> bytes:
    header = np.frombuffer(data[:348], dtype=nibabel.nifti1.header_dtype).copy()
    field = header[random.choice(header.dtype.names)]
    if field.dtype.kind == "S":
        field[...] = random.randbytes(4)
    else:
        flat = field.reshape(-1)
        value = random.choice((*NUMBERS, -1, -2, -32768))
        if field.dtype.kind == "f":
            flat[random.randrange(len(flat))] = random.choice(
                (value, np.nan, np.inf, -np.inf, 1e-38, 1e38, -0.5)
            )
        else:
            flat[random.randrange(len(flat))] = np.array(value).astype(field.dtype)
    return header.tobytes() + data[348:]


def _npy_header_changed(data: bytes, donor: bytes, random: Random) -> bytes:
    length = struct.unpack("<H", data[8:10])[0]
    shapes = (
        "(4, 5)",
        "()",
        "(-1, 4)",
        "(99999999999, 4)",
        "(1048576, 1048576)",
        "(0, 4)",
        "(4, 5, 3, 2, 1)",
        "(4.0,)",
    )
    kinds = (
        "'|O'",
        "'<f8'",
        "'<c16'",
        "'|b1'",
        "'>u2'",
        "'<M8[s]'",
        "'|S999999999'",
        "[('a', '<f4')]",
        "'<U2'",
    )
    header = (
        f"{{'descr': {random.choice(kinds)}, 'fortran_order': {random.choice(('True', 'False', '3'))}, "
        f"'shape': {random.choice(shapes)}, }}"
    ).encode().ljust(length - 1)[: length - 1] + b"\n"  # fmt: skip
    return data[:10] + header + data[10 + length :]


def _member_changed(data: bytes, donor: bytes, random: Random) -> bytes:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as archive,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as copy,
    ):
        names = archive.namelist()
        chosen = random.choice(names)
        for name in names:
            member = archive.read(name)
            if name == chosen:
                changes = [*_changes_for(name), _bytes_changed]
                member = random.choice(changes)(member, donor, random)
                name = random.choice(
                    (name, name, name, "../" + name, "a/" * 200 + name, "", name + "\0x", names[0])
                )
            copy.writestr(name, member)
    return out.getvalue()


def _png_chunk_changed(data: bytes, donor: bytes, random: Random) -> bytes:
    """Damage within a chunk whose checksum is made right again, so that the damage is met by the decoder."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    index = 0 if random.random() < 0.4 else random.randrange(len(chunks))
    kind, body = chunks[index]
    if kind == b"IDAT" and random.random() < 0.7:
        body = zlib.compress(_bytes_changed(zlib.decompress(body), donor, random))
    else:
        body = _bytes_changed(body, donor, random)
    chunks[index] = (kind, body)
    parts = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return data[:8] + b"".join(parts)


# Valid files


def photos() -> list[Case]:
    """PNG of every mode, JPEG, BMP."""
    grey, colour = _noise((24, 20)), _noise((24, 20, 3))
    images = [Image.fromarray(grey), Image.fromarray(colour), Image.fromarray(_noise((24, 20, 4)))]
    images += [images[1].convert("P"), images[0].convert("1"), Image.fromarray(grey.astype(np.uint16) * 257)]
    cases = [{"a.png": _saved(image, "PNG")} for image in images]
    cases += [{"a.jpg": _saved(image, "JPEG")} for image in (*images[:2], images[1].convert("CMYK"))]
    cases += [{"a.bmp": _saved(image, "BMP")} for image in (*images[:2], images[3], images[4])]
    cases.append({"a.jpg": _saved(images[1], "JPEG", progressive=True)})
    deep = np.concatenate([np.zeros((24, 1), np.uint8), _noise((24, 20 * 6))], axis=1).tobytes()
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 20, 24, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(deep)),
        (b"IEND", b""),
    ]
    parts = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return [*cases, {"a.png": b"\x89PNG\r\n\x1a\n" + b"".join(parts)}]


def tiffs() -> list[Case]:
    """TIFF: grey, colour, several pages, tiles, compressions, palettes."""
    grey, cases = _noise((24, 20)), []
    for array, options in (
        (grey, {}), (_noise((24, 20, 3)), {"photometric": "rgb"}), (_noise((3, 24, 20)), {"photometric": "minisblack"}),
        (grey.astype(np.float32), {}), (grey.astype(np.uint16), {"compression": "zlib"}),
        (_noise((32, 32)), {"tile": (16, 16)}), (grey, {"photometric": "miniswhite"}), (grey > 99, {}),
    ):  # fmt: skip
        out = io.BytesIO()
        tifffile.imwrite(out, array, **options)
        cases.append({"a.tif": out.getvalue()})
    colour = Image.fromarray(_noise((24, 20, 3)))
    for image, how in (
        (colour, "tiff_lzw"),
        (colour, "jpeg"),
        (colour.convert("P"), None),
        (colour.convert("1"), "group4"),
    ):
        cases.append({"a.tif": _saved(image, "TIFF", **({"compression": how} if how else {}))})
    return cases


def dicoms() -> list[Case]:
    """Single files: grey, colour, palette, frames, compressed by RLE, JPEG and deflate."""
    grey, frames = _noise((12, 10)).astype(np.uint16), _noise((3, 12, 10))
    cases = [_dicom(grey), _dicom(grey.astype(np.int16), RescaleSlope="2", RescaleIntercept="-1024"),
             _dicom(_noise((12, 10, 3))), _dicom(grey, PhotometricInterpretation="MONOCHROME1")]  # fmt: skip
    table = {f"{name}PaletteColorLookupTable{part}": value for name in ("Red", "Green", "Blue")
             for part, value in (("Descriptor", [256, 0, 8]), ("Data", bytes(range(256))))}  # fmt: skip
    cases.append(_dicom(_noise((12, 10)), PhotometricInterpretation="PALETTE COLOR", **table))
    cases.append(_dicom(frames, frames=True, **_groups([(0, 0, 4), (0, 0, 2), (0, 0, 0)])))
    rle = _dicom(grey)
    rle.compress(RLELossless)
    jpeg = _dicom(_noise((16, 16)))
    jpeg.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    jpeg.PixelData = pydicom.encaps.encapsulate([_saved(Image.fromarray(_noise((16, 16))), "JPEG")])
    wavelet = _dicom(_noise((16, 16)))
    wavelet.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    wavelet.PixelData = pydicom.encaps.encapsulate(
        [_saved(Image.fromarray(_noise((16, 16))), "JPEG2000", no_jp2=True)]
    )
    deflated = _dicom(grey)
    deflated.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    return [{"a.dcm": _written(each)} for each in (*cases, rle, jpeg, wavelet, deflated)]


def series() -> list[Case]:
    """Folders of slices in a row."""
    turns = ([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1])
    return [
        {f"{index}.dcm": _written(_dicom(_noise((12, 10)), ImagePositionPatient=place, ImageOrientationPatient=turn))
         for index, place in enumerate(([0, 0, 6], [0, 0, 0], [0, 0, 3]))}
        for turn in turns[:1]
    ] + [
        {f"{index}.dcm": _written(_dicom(_noise((12, 10)), ImagePositionPatient=place, ImageOrientationPatient=turn))
         for index, place in enumerate(([6, 0, 0], [0, 0, 0], [3, 0, 0]))}
        for turn in turns[1:]
    ]  # fmt: skip


def zips() -> list[Case]:
    """The same folders, zipped."""
    return [{"a.zip": _zipped(case)} for case in series()]


def media() -> list[Case]:
    """A DICOMDIR with its files."""
    from pydicom.fileset import FileSet

    with tempfile.TemporaryDirectory() as folder:
        medium = FileSet()
        for dataset in _images():
            medium.add(dataset)
        medium.write(folder)
        return [{file.relative_to(folder).as_posix(): file.read_bytes() for file in Path(folder).rglob("*")
                 if file.is_file()}]  # fmt: skip


def segmentations() -> list[Case]:
    """Segmentations of a series of slices, with the series."""
    from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentDescription
    from pydicom.sr.codedict import codes

    images, cases = _images(), []
    described = [
        SegmentDescription(
            number, f"s{number}", codes.SCT.Tissue, codes.SCT.Tissue, SegmentAlgorithmTypeValues.MANUAL
        )
        for number in (1, 2)
    ]
    labels = _noise((3, 12, 10)) % 3
    parts = (labels[..., None] == [1, 2]) * 0.9
    for kind, pixels in (("BINARY", labels), ("LABELMAP", labels), ("FRACTIONAL", parts)):
        made = Segmentation(
            images, pixels, kind, described, generate_uid(), 2, generate_uid(), 1, "m", "m", "1", "1"
        )
        series = {f"image/{index}.dcm": _written(image) for index, image in enumerate(images)}
        cases.append({"seg.dcm": _written(made), **series})
    return cases


def _images() -> list[FileDataset]:
    """Slices of a series that name everything that others may refer to."""
    found = []
    for index in range(3):
        tags = {"SOPClassUID": pydicom.uid.CTImageStorage, "SOPInstanceUID": f"1.2.9.{index}", "StudyID": "1",
                "StudyInstanceUID": "1.2.8", "FrameOfReferenceUID": "1.2.7", "Modality": "CT", "InstanceNumber": index,
                "StudyDate": "20200101", "StudyTime": "1200", "PatientBirthDate": "", "PatientSex": "",
                "AccessionNumber": "", "SliceThickness": 3, "ImagePositionPatient": [0, 0, 3 * index],
                "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}  # fmt: skip
        dataset = _dicom(_noise((12, 10)).astype(np.uint16), **tags)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        found.append(dataset)
    return found


def niftis() -> list[Case]:
    """NIfTI, plain and zipped, of several types."""
    cases = []
    for dtype in (np.int16, np.uint8, np.float32):
        image = nibabel.Nifti1Image(_noise((5, 6, 4)).astype(dtype), np.diag([2.0, 2, 3, 1]))
        cases += [{"a.nii": image.to_bytes()}, {"a.nii.gz": gzip.compress(image.to_bytes())}]
    scaled = nibabel.Nifti1Image(_noise((5, 6, 4)), np.eye(4)[[1, 0, 2, 3]])
    scaled.header.set_slope_inter(0.5, 3)
    surfer = nibabel.MGHImage(_noise((5, 6, 4)).astype(np.float32), np.diag([2.0, 2, 3, 1])).to_bytes()
    minc = (Path(nibabel.__file__).parent / "tests" / "data" / "tiny.mnc").read_bytes()
    return [
        *cases,
        {"a.nii": scaled.to_bytes()},
        {"a.mgh": surfer},
        {"a.mgz": gzip.compress(surfer)},
        {"a.mnc": minc},
    ]


def arrays() -> list[Case]:
    """npy and npz."""
    npy, npz = io.BytesIO(), io.BytesIO()
    np.save(npy, _noise((12, 10, 3)))
    np.savez_compressed(npz, a=_noise((12, 10)))
    return [{"a.npy": npy.getvalue()}, {"a.npz": npz.getvalue()}]


def manifests() -> list[Case]:
    """Tables with a sidecar and the files they name."""
    picture = _saved(Image.fromarray(_noise((8, 8))), "PNG")
    mask = _saved(Image.fromarray(_noise((8, 8)) % 3), "PNG")
    files = {"x.png": picture, "y.png": picture, "m.png": mask}
    rows = {
        "label": ("a", "b"), "labels": ("a;b", "b"), "mask": ("m.png", "m.png"), "boxes": ("0,0,4,4,a", "1,1,3,3,b"),
        "label:a": ("1", "-1"),
    }  # fmt: skip
    cases = []
    for column, (first, second) in rows.items():
        table = pd.DataFrame({"image": ["x.png", "y.png"], column: [first, second], "patient": [CANARY, "p2"],
                              "split": ["train", "test"], "site": ["A", "B"]})  # fmt: skip
        toml = (
            b'classes = ["a", "b"]\nuncertain = "zeros"\n[notes]\nx = 1\n'
            if column != "mask"
            else b"[notes]\nx = 1\n"
        )
        cases.append({"t.csv": table.to_csv(index=False).encode(), "t.toml": toml, **files})
        cases.append({"t.tsv": table.to_csv(index=False, sep="\t").encode(), **files})
        cases.append({"t.parquet": table.to_parquet(index=False), "t.toml": toml, **files})
    return cases


def _noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 255, shape).astype(np.uint8)


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def _zipped(case: Case) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in case.items():
            archive.writestr(name, data)
    return out.getvalue()


def _dicom(array: np.ndarray, *, frames: bool = False, **tags: Any) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["fuzz"])
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    one = array[0] if frames else array
    dataset.PatientName, dataset.PatientID = f"{CANARY}^Yellow", f"{CANARY}7"
    dataset.SeriesInstanceUID, dataset.SeriesNumber, dataset.PixelSpacing = "1.2.3", 1, [0.5, 0.25]
    if frames:
        dataset.NumberOfFrames = len(array)
    dataset.Rows, dataset.Columns = one.shape[:2]
    dataset.SamplesPerPixel = 1 if one.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if one.ndim == 2 else "RGB"
    if one.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * array.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(array.dtype.kind == "i")
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = array.tobytes()
    return dataset


def _groups(places: Sequence[Sequence[float]]) -> dict[str, list[Dataset]]:
    def item(**tags: Any) -> Dataset:
        dataset = Dataset()
        for name, value in tags.items():
            setattr(dataset, name, value)
        return dataset

    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.25])],
    )
    own = [item(PlanePositionSequence=[item(ImagePositionPatient=list(place))]) for place in places]
    return {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": own}


def _written(dataset: FileDataset) -> bytes:
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()
