"""DICOM of many frames, of palettes and of odd bits, against values computed by hand or by other code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_color_lut, apply_modality_lut
from pydicom.uid import UID, HTJ2KLossless, JPEGExtended12Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless
from tests.data.dicom_files import groups, item, write_dicom

from medgraft.data.readers import read_image, read_mask
from medgraft.errors import DataError

RANDOM = np.random.default_rng(5)


def frames_of(dtype: type = np.uint16, count: int = 4, top: int = 4096) -> np.ndarray:
    return RANDOM.integers(0, top, (count, 6, 5)).astype(dtype)


def test_frames_without_places_keep_their_order_and_one_can_be_named(tmp_path: Path) -> None:
    array = frames_of()
    path = write_dicom(tmp_path / "cine.dcm", array, frames=True, PixelSpacing=[0.5, 0.25])
    picture = read_image(path)
    np.testing.assert_array_equal(picture.array[..., 0], array)
    assert picture.spacing is None  # from one moment to the next there are no millimetres
    one = read_image(f"{path}#frame:2")
    np.testing.assert_array_equal(one.array[..., 0], array[2])
    assert one.spacing == (0.5, 0.25)
    for part in ("frame:4", "2", "frame:x"):
        with pytest.raises(
            DataError, match=rf"frame:N with N from 0 to 3, but .*cine.dcm is asked for '{part}'"
        ):
            read_image(f"{path}#{part}")


def test_colour_frames_are_volumes_of_three_channels(tmp_path: Path) -> None:
    array = RANDOM.integers(0, 256, (3, 6, 5, 3)).astype(np.uint8)
    path = write_dicom(tmp_path / "c.dcm", array, frames=True)
    np.testing.assert_array_equal(read_image(path).array, array)
    np.testing.assert_array_equal(read_image(f"{path}#frame:1").array, array[1])


def test_enhanced_frames_are_ordered_and_spaced_by_their_places(tmp_path: Path) -> None:
    array = frames_of()
    places = [(0, 0, 14.0), (0, 0, 0.0), (0, 0, 21.0), (0, 0, 7.0)]
    path = write_dicom(tmp_path / "e.dcm", array, frames=True, **groups(places))
    picture = read_image(path)
    np.testing.assert_array_equal(picture.array[..., 0], array[[1, 3, 0, 2]])
    assert picture.spacing == (7.0, 0.5, 0.25)  # not the 99 of SpacingBetweenSlices
    np.testing.assert_array_equal(read_image(f"{path}#frame:3").array[..., 0], array[3])


def test_oblique_frames_are_spaced_along_their_normal(tmp_path: Path) -> None:
    angle = np.deg2rad(30)
    turn = (1, 0, 0, 0, np.cos(angle), np.sin(angle))
    normal = np.array([0, -np.sin(angle), np.cos(angle)])
    places = [tuple(np.array([3.0, -8.0, 20.0]) + 2.5 * step * normal) for step in (3, 2, 1, 0)]
    array = frames_of()
    path = write_dicom(tmp_path / "o.dcm", array, frames=True, **groups(places, orientation=turn))
    picture = read_image(path)
    np.testing.assert_array_equal(picture.array[..., 0], array[::-1])
    assert picture.spacing == pytest.approx((2.5, 0.5, 0.25))


@pytest.mark.parametrize(
    ("heights", "sentence"),
    [
        ((0, 5, 5, 10), "one slice at each place, but .*e.dcm holds 4 slices at 3 places"),
        (
            (0, 5, 15, 20),
            "even distances, but .*e.dcm has slices 2 and 3 of 4 10 mm apart, most are 5 mm apart",
        ),
    ],
)
def test_copies_and_gaps_are_told_in_one_sentence(
    tmp_path: Path, heights: tuple[float, ...], sentence: str
) -> None:
    tags = groups([(0, 0, z) for z in heights])
    path = write_dicom(tmp_path / "e.dcm", frames_of(), frames=True, **tags)
    with pytest.raises(DataError, match=sentence):
        read_image(path)
    assert read_image(f"{path}#frame:1").array.shape == (6, 5, 1)


def test_places_rounded_to_a_decimal_are_even(tmp_path: Path) -> None:
    places = [(0, 0, round(0.625 * step, 1)) for step in range(9)]
    path = write_dicom(tmp_path / "e.dcm", frames_of(count=9), frames=True, **groups(places))
    spacing = read_image(path).spacing
    assert spacing is not None and spacing[0] == pytest.approx(0.625)


def test_every_frame_has_its_own_scale(tmp_path: Path) -> None:
    array = frames_of(count=2)
    tags = groups([(0, 0, 0), (0, 0, 1)], scales=[(2, -10), (0.5, 3)])
    path = write_dicom(tmp_path / "pet.dcm", array, frames=True, **tags)
    expected = np.stack([array[0] * 2.0 - 10, array[1] * 0.5 + 3])
    np.testing.assert_allclose(read_image(path).array[..., 0], expected, rtol=1e-6)
    np.testing.assert_allclose(read_image(f"{path}#frame:1").array[..., 0], expected[1], rtol=1e-6)


def test_tiles_of_slides_and_several_segments_are_no_volume(tmp_path: Path) -> None:
    tiles = write_dicom(tmp_path / "wsi.dcm", frames_of(), frames=True, TotalPixelMatrixRows=100)
    with pytest.raises(DataError, match=r"holds 4 tiles of a slide"):
        read_image(tiles)
    segments = [item(SegmentNumber=1), item(SegmentNumber=2)]
    seg = write_dicom(tmp_path / "seg.dcm", frames_of(), frames=True, SegmentSequence=segments)
    with pytest.raises(DataError, match=r"holds 2 segments"):
        read_mask(seg)


def test_a_dose_is_in_its_unit_and_spaced_by_its_offsets() -> None:
    path = get_testdata_file("rtdose.dcm")
    dataset = pydicom.dcmread(path)
    picture = read_image(path)
    expected = dataset.pixel_array.astype(np.float64) * float(dataset.DoseGridScaling)
    np.testing.assert_allclose(picture.array[..., 0], expected, rtol=1e-6)
    assert picture.spacing == (5.0, 10.0, 10.0)
    assert [float(z) for z in dataset.GridFrameOffsetVector[:2]] == [0.0, 5.0]


def test_palette_colour_is_rgb_in_an_image_and_numbers_in_a_mask(tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 4, (6, 4)).astype(np.uint8)
    colours = np.array([[0, 0, 0], [200, 10, 20], [7, 90, 255], [1, 2, 3]], np.uint8)
    tags: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for channel, name in enumerate(("Red", "Green", "Blue")):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 8]
        tags[f"{name}PaletteColorLookupTableData"] = colours[:, channel].tobytes()
    path = write_dicom(tmp_path / "p.dcm", labels, **tags)
    np.testing.assert_array_equal(read_image(path).array, colours[labels])
    np.testing.assert_array_equal(read_mask(path).array[..., 0], labels)
    bare = path.rename(tmp_path / "IM1")  # known by its mark
    np.testing.assert_array_equal(read_mask(bare).array[..., 0], labels)


def test_a_real_palette_equals_the_reference_reader() -> None:
    path = get_testdata_file("examples_palette.dcm")
    dataset = pydicom.dcmread(path)
    np.testing.assert_array_equal(read_image(path).array, apply_color_lut(dataset.pixel_array, dataset))


def test_a_modality_table_gives_its_values(tmp_path: Path) -> None:
    table = RANDOM.integers(0, 60000, 16).astype("<u2")
    sequence = [item(LUTDescriptor=[16, 0, 16], ModalityLUTType="US", LUTData=table.tobytes())]
    array = RANDOM.integers(0, 16, (6, 4)).astype(np.uint8)
    path = write_dicom(tmp_path / "lut.dcm", array, ModalityLUTSequence=sequence)
    read = read_image(path).array[..., 0]
    np.testing.assert_array_equal(read, table[array])
    np.testing.assert_array_equal(read, apply_modality_lut(array, pydicom.dcmread(path)))
    dark = write_dicom(
        tmp_path / "dark.dcm", array, ModalityLUTSequence=sequence, PhotometricInterpretation="MONOCHROME1"
    )
    np.testing.assert_array_equal(read_image(dark).array[..., 0], 65535 - table[array])


def test_windows_are_left_to_the_preparation(tmp_path: Path) -> None:
    array = frames_of()[0]
    tags = {"WindowCenter": 40, "WindowWidth": 400, "RescaleIntercept": -1024, "RescaleSlope": 1}
    read = read_image(write_dicom(tmp_path / "w.dcm", array, **tags)).array[..., 0]
    np.testing.assert_array_equal(read, array.astype(float) - 1024)


def test_signed_numbers_of_12_bits_keep_their_sign_without_an_overlay_in_the_other_bits(
    tmp_path: Path,
) -> None:
    values = RANDOM.integers(-2048, 2048, (6, 4)).astype(np.int16)
    overlay = RANDOM.integers(0, 16, (6, 4)).astype(np.uint16) << 12
    stored = ((values.astype(np.uint16) & 0x0FFF) | overlay).astype(np.uint16)
    path = write_dicom(tmp_path / "s.dcm", stored, BitsStored=12, HighBit=11, PixelRepresentation=1)
    np.testing.assert_array_equal(read_image(path).array[..., 0], values)
    unsigned = write_dicom(tmp_path / "u.dcm", stored, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_image(unsigned).array[..., 0], stored % 4096)
    high = write_dicom(tmp_path / "h.dcm", stored, BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(read_image(high).array[..., 0], stored // 16)


def test_overlays_are_left_out() -> None:
    path = get_testdata_file("examples_overlay.dcm")
    dataset = pydicom.dcmread(path)
    assert dataset.overlay_array(0x6000).any()
    np.testing.assert_array_equal(read_image(path).array[..., 0], dataset.pixel_array)


def test_numbers_of_single_bits_are_0_and_1(tmp_path: Path) -> None:
    mask = RANDOM.integers(0, 2, (3, 4, 8)).astype(np.uint8)
    packed = np.packbits(mask.reshape(-1), bitorder="little").reshape(3, 4, 1)
    path = write_dicom(
        tmp_path / "b.dcm", packed, frames=True, BitsAllocated=1, BitsStored=1, HighBit=0, Columns=8
    )
    np.testing.assert_array_equal(read_mask(path).array[..., 0], mask)


def test_run_lengths_are_decoded_without_a_plug_in(tmp_path: Path) -> None:
    array = frames_of()
    path = write_dicom(tmp_path / "r.dcm", array, frames=True)
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "rle.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "rle.dcm").array[..., 0], array)


@pytest.mark.parametrize(
    ("syntax", "remedy"),
    [
        (JPEGLSLossless, r"uses JPEG-LS Lossless.*Install pyjpegls, or"),
        (JPEGLosslessSV1, r"uses JPEG Lossless.*Install python-gdcm, or"),
        (HTJ2KLossless, r"uses High-Throughput JPEG 2000.*Install pylibjpeg and pylibjpeg-openjpeg, or"),
        (JPEGExtended12Bit, r"uses JPEG Extended.*Decompress the file"),
        (RLELossless, r"x.dcm are damaged.*intact copy"),
    ],
)
def test_pixels_that_cannot_be_decoded_name_what_helps(tmp_path: Path, syntax: UID, remedy: str) -> None:
    path = write_dicom(tmp_path / "x.dcm", frames_of()[0])
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = pydicom.encaps.encapsulate([b"no stream of this kind"])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    with pytest.raises(DataError, match=remedy):
        read_image(path)


def test_float_pixels_are_read(tmp_path: Path) -> None:
    values = RANDOM.random((6, 4)).astype(np.float32)
    dataset = pydicom.dcmread(write_dicom(tmp_path / "f.dcm", np.zeros((6, 4), np.uint16)))
    del dataset.PixelData
    dataset.BitsAllocated = 32
    dataset.FloatPixelData = values.tobytes()
    dataset.save_as(tmp_path / "f.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "f.dcm").array[..., 0], values)
