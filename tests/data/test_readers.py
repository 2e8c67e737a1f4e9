"""Readers: the numbers of a file, whatever its format; one sentence where it cannot be read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from tests.data.dicom_files import write_dicom

from medgraft.data.readers import hash_of_file, read_image, read_mask, register_reader
from medgraft.errors import DataError
from medgraft.types import Picture


def grey(dtype: type = np.uint8, shape: tuple[int, ...] = (6, 5)) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.random.default_rng(3).integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def write_png_of_16_bits(path: Path, array: np.ndarray) -> Path:
    """By hand from the PNG specification: no library at hand writes 16-bit colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in array)
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )
    return path


# PNG, JPEG, TIFF


@pytest.mark.parametrize("extension", ["png", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_keeps_its_depth_and_gains_a_channel(tmp_path: Path, extension: str, dtype: type) -> None:
    array = grey(dtype)
    Image.fromarray(array).save(tmp_path / f"a.{extension}")
    read = read_image(tmp_path / f"a.{extension}").array
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, array[..., None])


@pytest.mark.parametrize("extension", ["png", "tif", "bmp"])
def test_colour_is_read_as_written(tmp_path: Path, extension: str) -> None:
    array = grey(shape=(6, 5, 3))
    Image.fromarray(array).save(tmp_path / f"a.{extension}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{extension}").array, array)


def test_jpeg_equals_what_pillow_decodes(tmp_path: Path) -> None:
    Image.fromarray(grey(shape=(16, 16, 3))).save(tmp_path / "a.JPG", format="JPEG")
    with Image.open(tmp_path / "a.JPG") as image:
        np.testing.assert_array_equal(read_image(tmp_path / "a.JPG").array, np.asarray(image))


def test_colour_of_16_bits_keeps_its_depth(tmp_path: Path) -> None:
    array = grey(np.uint16, (6, 5, 3))
    read = read_image(write_png_of_16_bits(tmp_path / "deep.png", array)).array
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, array)
    tifffile.imwrite(tmp_path / "deep.tif", array, photometric="rgb")
    np.testing.assert_array_equal(read_image(tmp_path / "deep.tif").array, array)


def test_an_opaque_alpha_channel_is_dropped_and_a_real_one_kept(tmp_path: Path) -> None:
    array = grey(shape=(6, 5, 4))
    Image.fromarray(array).save(tmp_path / "real.png")
    np.testing.assert_array_equal(read_image(tmp_path / "real.png").array, array)
    array[..., 3] = 255
    Image.fromarray(array).save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(read_image(tmp_path / "opaque.png").array, array[..., :3])


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_a_palette_becomes_colour_in_an_image_and_stays_labels_in_a_mask(
    tmp_path: Path, extension: str
) -> None:
    labels = (np.arange(30) % 3).astype(np.uint8).reshape(6, 5)
    colours = np.array([[0, 0, 0], [200, 10, 20], [7, 90, 255]], np.uint8)
    image = Image.fromarray(labels).convert("L")
    image.putpalette(colours.ravel().tolist())
    image.save(tmp_path / f"p.{extension}")
    np.testing.assert_array_equal(read_image(tmp_path / f"p.{extension}").array, colours[labels])
    np.testing.assert_array_equal(read_mask(tmp_path / f"p.{extension}").array, labels[..., None])


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_single_bits_are_black_and_white_in_an_image_and_0_and_1_in_a_mask(
    tmp_path: Path, extension: str
) -> None:
    bits = grey(shape=(6, 5)) > 100
    Image.fromarray(bits).save(tmp_path / f"b.{extension}")
    np.testing.assert_array_equal(read_image(tmp_path / f"b.{extension}").array[..., 0], bits * 255)
    np.testing.assert_array_equal(read_mask(tmp_path / f"b.{extension}").array[..., 0], bits)


def test_a_tiff_whose_white_is_zero_is_turned_to_bright_is_high(tmp_path: Path) -> None:
    array = grey()
    tifffile.imwrite(tmp_path / "w.tif", array, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "w.tif").array[..., 0], 255 - array)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_compressed_tiff_is_read(tmp_path: Path, compression: str) -> None:
    array = np.full((16, 16), 90, np.uint8)
    array[4:9] = 200
    Image.fromarray(array).save(tmp_path / "c.tif", compression=compression)
    read = read_image(tmp_path / "c.tif").array[..., 0]
    assert np.abs(read.astype(int) - array).max() <= (12 if compression == "jpeg" else 0)


def test_float_tiff_with_four_channels_keeps_them(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((6, 5, 4)).astype(np.float32)
    tifffile.imwrite(tmp_path / "f.tif", array, photometric="rgb")
    np.testing.assert_array_equal(read_image(tmp_path / "f.tif").array, array)


def test_big_endian_files_come_in_the_order_torch_takes(tmp_path: Path) -> None:
    array = grey(np.uint16)
    tifffile.imwrite(tmp_path / "b.tif", array, byteorder=">")
    np.save(tmp_path / "b.npy", array.astype(">u2"))
    for name in ("b.tif", "b.npy"):
        read = read_image(tmp_path / name).array
        assert read.dtype.isnative
        np.testing.assert_array_equal(read[..., 0], array)


def test_several_tiff_pages_are_a_volume(tmp_path: Path) -> None:
    pages = grey(shape=(3, 6, 5))
    tifffile.imwrite(tmp_path / "v.tif", pages, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "v.tif").array, pages[..., None])


def test_a_region_is_x_y_width_height(tmp_path: Path) -> None:
    array = grey(shape=(8, 9, 3))
    Image.fromarray(array).save(tmp_path / "slide #1.png")
    region = read_image(f"{tmp_path}/slide #1.png#2,1,4,3").array
    np.testing.assert_array_equal(region, array[1:4, 2:6])
    np.testing.assert_array_equal(read_image(tmp_path / "slide #1.png").array, array)
    with pytest.raises(DataError, match="inside 9 x 8 pixels"):
        read_image(f"{tmp_path}/slide #1.png#6,1,4,3")


# NIfTI


def test_nifti_is_turned_to_canonical_axes_with_its_spacing(tmp_path: Path) -> None:
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    # first axis runs superior-inferior, second right-left, third posterior-anterior
    affine = np.array([[0, -2.0, 0, 0], [0, 0, 3.0, 0], [-5.0, 0, 0, 0], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(stored, affine), tmp_path / "v.nii.gz")
    picture = read_image(tmp_path / "v.nii.gz")
    expected = np.empty((2, 4, 3), np.int16)  # towards head, back, left
    for i in range(2):
        for j in range(3):
            for k in range(4):
                expected[1 - i, 3 - k, j] = stored[i, j, k]
    assert picture.array.dtype == np.int16
    np.testing.assert_array_equal(picture.array[..., 0], expected)
    assert picture.spacing == (5.0, 3.0, 2.0)
    one = read_image(f"{tmp_path}/v.nii.gz#slice:1")
    np.testing.assert_array_equal(one.array[..., 0], expected[1])
    assert one.spacing == (3.0, 2.0)


def test_nifti_scale_gives_the_values_nibabel_gives(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7, np.eye(4))
    image.set_data_dtype(np.int16)
    nibabel.save(image, tmp_path / "v.nii")
    loaded = nibabel.load(tmp_path / "v.nii")
    assert loaded.dataobj.slope != 1
    read = read_image(tmp_path / "v.nii").array[..., 0]
    np.testing.assert_allclose(read, loaded.get_fdata()[::-1, ::-1].transpose(2, 1, 0))


def test_nifti_in_other_units_tells_millimetres(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 3, 1), np.uint8), np.diag([250.0, 500.0, 1.0, 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "s.nii")
    picture = read_image(tmp_path / "s.nii")
    assert picture.array.shape == (3, 4, 1)
    assert picture.spacing == (0.5, 0.25)


def test_nifti_over_time_is_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2, 3), np.int16), np.eye(4)), tmp_path / "t.nii")
    with pytest.raises(DataError, match=r"needs three dimensions, but .*t.nii has 4"):
        read_image(tmp_path / "t.nii")


# npy and npz


def test_npy_and_npz_items(tmp_path: Path) -> None:
    stack = grey(shape=(4, 6, 5, 3))
    np.savez(tmp_path / "s.npz", images=stack, masks=stack[..., 0])
    np.save(tmp_path / "one.npy", stack[0])
    np.save(tmp_path / "s.npy", stack)
    np.testing.assert_array_equal(read_image(f"{tmp_path}/s.npz#images:2").array, stack[2])
    np.testing.assert_array_equal(read_image(f"{tmp_path}/s.npz#masks:2").array, stack[2][..., :1])
    np.testing.assert_array_equal(read_image(tmp_path / "one.npy").array, stack[0])
    np.testing.assert_array_equal(read_image(f"{tmp_path}/s.npy#3").array, stack[3])


def test_three_axes_of_an_array_are_a_volume_where_asked_for(tmp_path: Path) -> None:
    stack = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    np.savez(tmp_path / "s.npz", images=stack, scan=stack[0])
    np.save(tmp_path / "v.npy", stack[1])
    np.save(tmp_path / "s.npy", stack)
    assert read_image(f"{tmp_path}/s.npz#images:1").array.shape == (3, 4, 5)  # five channels
    for reference, volume in (
        ("s.npz#images:1:volume", stack[1]),
        ("s.npz#scan:volume", stack[0]),
        ("s.npy#1:volume", stack[1]),
        ("v.npy#volume", stack[1]),
    ):
        np.testing.assert_array_equal(read_image(f"{tmp_path}/{reference}").array, volume[..., None])


def test_npz_problems_name_what_there_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", images=np.zeros((4, 6, 5)), masks=np.zeros((4, 6, 5)))
    with pytest.raises(DataError, match="holds images, masks, not None"):
        read_image(tmp_path / "s.npz")
    with pytest.raises(DataError, match="holds images, masks, not 'labels'"):
        read_image(f"{tmp_path}/s.npz#labels:1")
    with pytest.raises(DataError, match=r"from 0 to 3, but .* is asked for '4'"):
        read_image(f"{tmp_path}/s.npz#images:4")


def test_an_array_that_changed_on_disk_is_read_again(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.zeros((2, 4, 4)))
    assert read_image(f"{tmp_path}/s.npy#0").array.max() == 0
    np.save(tmp_path / "s.npy", np.ones((2, 4, 4, 1)))
    assert read_image(f"{tmp_path}/s.npy#0").array.max() == 1


def test_objects_and_nothing_are_no_images(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([{"a": 1}]), allow_pickle=True)
    np.save(tmp_path / "empty.npy", np.zeros((0, 4)))
    np.save(tmp_path / "complex.npy", np.zeros((3, 4), complex))
    for name in ("o.npy", "empty.npy", "complex.npy"):
        with pytest.raises(DataError, match=name):
            read_image(tmp_path / name)


# DICOM


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_dicom_without_scale_keeps_stored_numbers(tmp_path: Path, dtype: type) -> None:
    array = grey(dtype)
    path = write_dicom(tmp_path / "a.dcm", array, PixelSpacing=[0.5, 0.25])
    picture = read_image(path)
    assert picture.array.dtype == dtype
    np.testing.assert_array_equal(picture.array[..., 0], array)
    np.testing.assert_array_equal(picture.array[..., 0], pydicom.dcmread(path).pixel_array)
    assert picture.spacing == (0.5, 0.25)


def test_dicom_is_known_without_an_extension_and_without_the_mark(tmp_path: Path) -> None:
    array = grey(np.uint16)
    path = write_dicom(tmp_path / "IM0001", array)
    np.testing.assert_array_equal(read_image(path).array[..., 0], array)
    dataset = pydicom.dcmread(path)
    bare = pydicom.Dataset()
    bare.update({element.tag: element for element in dataset if element.tag.group != 2})
    bare.save_as(tmp_path / "old.dcm", implicit_vr=True, little_endian=True)
    assert (tmp_path / "old.dcm").read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(read_image(tmp_path / "old.dcm").array[..., 0], array)


def test_dicom_rescale_gives_hounsfield_units(tmp_path: Path) -> None:
    array = grey(np.uint16) % 4096
    path = write_dicom(tmp_path / "ct.dcm", array, RescaleSlope="2", RescaleIntercept="-1024")
    read = read_image(path).array
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read[..., 0], array.astype(np.float64) * 2 - 1024)
    np.testing.assert_array_equal(
        read[..., 0], pydicom.pixels.apply_rescale(pydicom.dcmread(path).pixel_array, pydicom.dcmread(path))
    )


@pytest.mark.parametrize(
    ("dtype", "bits", "total"), [(np.uint8, 8, 255), (np.uint16, 12, 4095), (np.int16, 16, -1)]
)
def test_monochrome1_is_inverted_within_its_stored_bits(
    tmp_path: Path, dtype: type, bits: int, total: int
) -> None:
    array = grey(dtype) if bits in (8, 16) else grey(dtype) % 2**bits
    path = write_dicom(
        tmp_path / "x.dcm",
        array,
        PhotometricInterpretation="MONOCHROME1",
        BitsStored=bits,
        HighBit=bits - 1,
    )
    read = read_image(path).array
    assert read.dtype == dtype
    np.testing.assert_array_equal(read[..., 0].astype(int), total - array.astype(int))


def test_monochrome1_with_a_scale_maps_equal_values_equally_in_all_images(tmp_path: Path) -> None:
    tags = {"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": "0.5", "RescaleIntercept": "3"}
    for name, top in (("low.dcm", 50), ("high.dcm", 250)):
        array = np.array([[10, top]], np.uint8)
        read = read_image(write_dicom(tmp_path / name, array, **tags)).array
        np.testing.assert_array_equal(read[0, :, 0], [(255 - 10) * 0.5 + 3, (255 - top) * 0.5 + 3])


def test_dicom_colour_is_rgb_whatever_is_stored(tmp_path: Path) -> None:
    colour = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]]], np.uint8)
    np.testing.assert_array_equal(read_image(write_dicom(tmp_path / "rgb.dcm", colour)).array, colour)
    ycc = np.asarray(Image.fromarray(colour).convert("YCbCr"))
    path = write_dicom(tmp_path / "ybr.dcm", ycc, PhotometricInterpretation="YBR_FULL")
    assert np.abs(read_image(path).array.astype(int) - colour).max() <= 2


def test_dicom_that_cannot_be_used_is_refused_in_one_sentence(tmp_path: Path) -> None:
    frames = write_dicom(tmp_path / "f.dcm", grey(shape=(6, 5)), NumberOfFrames="2")
    with pytest.raises(DataError, match=r"f\.dcm announces 60 bytes of pixels and can hold 30"):
        read_image(frames)
    palette = write_dicom(tmp_path / "p.dcm", grey(), PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(DataError, match="palette colour"):
        read_image(palette)
    dataset = pydicom.dcmread(palette)
    del dataset.PixelData
    dataset.save_as(tmp_path / "n.dcm")
    with pytest.raises(DataError, match=r"pixel data, but .*n.dcm has none"):
        read_image(tmp_path / "n.dcm")


# Masks


def test_masks_are_whole_numbers_of_one_channel(tmp_path: Path) -> None:
    labels = (grey() % 4).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "m.png")
    Image.fromarray(np.repeat(labels[..., None], 3, -1)).save(tmp_path / "grey_as_colour.png")
    np.save(tmp_path / "m.npy", labels.astype(np.float32))
    np.save(tmp_path / "b.npy", labels > 1)
    for name in ("m.png", "grey_as_colour.png", "m.npy"):
        read = read_mask(tmp_path / name).array
        assert read.dtype.kind in "ui" and read.shape == (6, 5, 1)
        np.testing.assert_array_equal(read[..., 0], labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "b.npy").array[..., 0], labels > 1)


def test_colour_masks_and_fractions_are_refused(tmp_path: Path) -> None:
    Image.fromarray(grey(shape=(6, 5, 3))).save(tmp_path / "c.png")
    np.save(tmp_path / "f.npy", np.full((6, 5), 0.5))
    np.save(tmp_path / "n.npy", np.full((6, 5), np.nan))
    with pytest.raises(DataError, match=r"one channel of labels, but .*c.png has 3"):
        read_mask(tmp_path / "c.png")
    for name in ("f.npy", "n.npy"):
        with pytest.raises(DataError, match=f"whole-numbered labels, but .*{name}"):
            read_mask(tmp_path / name)


# Files that cannot be read


def truncated(path: Path) -> None:
    Image.fromarray(grey(shape=(64, 64))).save(path)
    path.write_bytes(path.read_bytes()[:900])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.png": (lambda path: None, "does not exist"),
    "empty.png": (lambda path: path.write_bytes(b""), "is empty"),
    "empty.dcm": (lambda path: path.write_bytes(b""), "is empty"),
    "folder.png": (lambda path: path.mkdir(), "is a folder"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "truncated.png": (truncated, "cannot be read"),
    "text.png": (lambda path: path.write_text("not a picture"), "no image of this format"),
    "text.tif": (lambda path: path.write_text("not a picture"), "cannot be read"),
    "text.nii": (lambda path: path.write_text("not a picture"), "cannot be read"),
    "text.nii.gz": (lambda path: path.write_text("not a picture"), "cannot be read"),
    "text.npz": (lambda path: path.write_text("not a picture"), "cannot be read"),
    "text.dcm": (lambda path: path.write_text("not a picture " * 20), "has none"),
    "notes.docx": (lambda path: path.write_text("not a picture"), "is none of these"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_sentence_with_its_name_and_a_remedy(tmp_path: Path, name: str) -> None:
    make, expected = BAD[name]
    make(tmp_path / name)
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / name)
    message = str(caught.value)
    assert expected in message and name in message
    assert "\n" not in message and caught.value.do.endswith(".")


def test_a_file_hash_follows_the_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"abc")
    assert hash_of_file(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    file.write_bytes(b"abcd")
    assert hash_of_file(file) == "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589"
    with pytest.raises(DataError, match="does not exist"):
        hash_of_file(tmp_path / "none.bin")


def test_an_extension_has_one_reader_only() -> None:
    def read_other(path: Path, part: str | None) -> Picture:
        raise NotImplementedError

    with pytest.raises(DataError, match=r"read_photo and .*read_other"):
        register_reader(".png", read_other)
