import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_codec.errors import UserError
from lightning_codec.files import sweep
from lightning_codec.images import ImageError, find_images, open_rgb8, read_image, to_uint8, write_png

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
PHOTO = Image.fromarray(PIXELS)


def rgb(image):
    """[3, H, W] in [0, 1] back to [H, W, 3] in 0 to 255."""
    return image.permute(1, 2, 0).numpy() * 255


def save(path, image, **options):
    image.save(path, **options)
    return path


def test_rgb_is_value_over_255_channels_first(tmp_path):
    image = read_image(save(tmp_path / "a.png", PHOTO))
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert torch.equal(image, torch.from_numpy(PIXELS).permute(2, 0, 1) / 255)


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_grey_palette_and_bilevel_become_rgb(tmp_path, mode):
    source = PHOTO.convert(mode)
    image = read_image(save(tmp_path / "a.png", source))
    np.testing.assert_allclose(rgb(image), np.asarray(source.convert("RGB")), atol=1e-3)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_composited_over_white(tmp_path, mode):
    source = PHOTO.convert(mode)
    alpha = RNG.integers(0, 256, PIXELS.shape[:2], dtype=np.uint8)
    source.putalpha(Image.fromarray(alpha))
    opaque = np.asarray(PHOTO.convert("L" if mode == "LA" else "RGB").convert("RGB")).astype(float)
    a = alpha[..., None] / 255
    image = read_image(save(tmp_path / "a.png", source))
    np.testing.assert_allclose(rgb(image), a * opaque + (1 - a) * 255, atol=1.01)


def test_transparent_palette_entry_becomes_white(tmp_path):
    source = PHOTO.convert("P")
    source.info["transparency"] = index = source.getpixel((3, 4))
    image = rgb(read_image(save(tmp_path / "a.png", source)))
    transparent = np.asarray(source) == index
    assert np.all(image[transparent] == 255)
    np.testing.assert_allclose(image[~transparent], np.asarray(source.convert("RGB"))[~transparent], atol=1e-3)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])  # Pillow modes I;16, I;16 and I
def test_16_bit_grey_keeps_its_precision(tmp_path, suffix):
    grey = np.array([[0, 1, 255, 256], [300, 32768, 40000, 65535]], dtype=np.uint16)
    image = read_image(save(tmp_path / f"a{suffix}", Image.fromarray(grey)))
    assert image.shape == (3, 2, 4)
    for channel in image:
        np.testing.assert_allclose(channel.numpy(), grey / 65535, rtol=1e-6)
    eight = np.asarray(open_rgb8(tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(eight[..., 0], np.rint(grey / 257.0))


def test_transparent_value_of_16_bit_grey_becomes_white(tmp_path):
    grey = np.array([[0, 7, 40000]], dtype=np.uint16)
    image = read_image(save(tmp_path / "a.png", Image.fromarray(grey), transparency=7))
    np.testing.assert_allclose(image[0].numpy(), [[0, 1, 40000 / 65535]], rtol=1e-6)


def test_16_bit_rgb_is_read_as_its_upper_8_bits(tmp_path):
    samples = RNG.integers(0, 65536, (5, 4, 3), dtype=np.uint16)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", 4, 5, 16, 2, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    np.testing.assert_allclose(rgb(read_image(tmp_path / "a.png")), samples >> 8, atol=1e-3)


def test_cmyk_becomes_rgb(tmp_path):
    image = read_image(save(tmp_path / "a.tif", Image.new("CMYK", (2, 1), (0, 255, 255, 0))))
    assert rgb(image).tolist() == [[[255, 0, 0], [255, 0, 0]]]


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns the stored picture by 90 degrees clockwise
    image = read_image(save(tmp_path / "a.png", PHOTO, exif=exif))
    np.testing.assert_allclose(rgb(image), np.rot90(PIXELS, -1), atol=1e-3)
    jpeg = open_rgb8(save(tmp_path / "a.jpg", PHOTO, exif=exif))
    assert (jpeg.size, jpeg.format) == ((20, 30), "JPEG")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_file_is_an_error(tmp_path, suffix, part):
    whole = save(tmp_path / f"whole{suffix}", PHOTO).read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: int(len(whole) * part)])
    for read in (read_image, open_rgb8):
        with pytest.raises(ImageError, match=r"damaged or incomplete|not an image") as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_png_without_its_end_marker_is_read(tmp_path):
    whole = save(tmp_path / "whole.png", PHOTO)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:-12])
    assert torch.equal(read_image(tmp_path / "cut.png"), read_image(whole))


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("empty.png", b"", "the file is empty"),
        ("text.jpg", b"hello " * 99, "not an image of a known format"),
        ("missing.png", None, "no such file"),
        (".", None, "is a folder"),
    ],
)
def test_what_is_not_an_image_names_file_and_rule(tmp_path, name, content, rule):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=rule) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert issubclass(ImageError, UserError)


@pytest.mark.parametrize(("dtype", "rule"), [(np.float32, "floating-point"), (np.int32, "outside 0 to 65535")])
def test_pixels_without_a_known_range_are_an_error(tmp_path, dtype, rule):
    path = save(tmp_path / "a.tif", Image.fromarray(np.array([[0, 70000]], dtype=dtype)))
    with pytest.raises(ImageError, match=rule):
        read_image(path)


def test_pixel_format_that_pillow_cannot_convert_is_an_error(tmp_path, monkeypatch):
    def refuse(image, mode):
        raise ValueError("conversion not supported")

    path = save(tmp_path / "a.tif", PHOTO.convert("LAB"))
    monkeypatch.setattr(Image.Image, "convert", refuse)
    with pytest.raises(ImageError, match="pixel format LAB cannot be converted"):
        read_image(path)


def test_decompression_bomb_is_an_error(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", PHOTO)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 299)  # Pillow refuses above twice that: 600 > 598
    with pytest.raises(ImageError, match="too large"):
        read_image(path)


def test_rounding_is_the_inverse_of_division_by_255():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(values / 255), values)
    assert torch.equal(to_uint8(values.double() / 255), values)


def test_rounding_goes_to_the_nearest_and_clamps():
    image = torch.tensor([-1.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 254.6 / 255, 1.7])
    assert to_uint8(image).tolist() == [0, 0, 1, 254, 255, 255]


def test_written_png_comes_back_exactly(tmp_path):
    image = torch.from_numpy(PIXELS).permute(2, 0, 1) / 255
    write_png(image, tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png"), image)
    assert Image.open(tmp_path / "a.png").format == "PNG"


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_png(torch.zeros(3, 2, 2), path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_what_a_killed_writer_leaves_is_swept(tmp_path, monkeypatch):
    """A process that is killed between writing and renaming: neither happens any more, nor the tidying."""
    monkeypatch.setattr(os, "replace", lambda *_: None)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    write_png(torch.zeros(3, 2, 2), tmp_path / "a.png")
    monkeypatch.undo()
    assert len(os.listdir(tmp_path)) == 1
    sweep(tmp_path)
    assert os.listdir(tmp_path) == []


def test_write_rejects_other_shapes_and_a_missing_folder(tmp_path):
    for shape in [(1, 3, 2, 2), (3, 2), (1, 2, 2)]:
        with pytest.raises(ValueError, match="3, H, W"):
            write_png(torch.zeros(shape), tmp_path / "a.png")
    with pytest.raises(OSError, match="missing"):
        write_png(torch.zeros(3, 2, 2), tmp_path / "missing" / "a.png")


def test_find_images_is_recursive_sorted_and_skips_hidden_files(tmp_path):
    names = ["b/x.PNG", "b-x.jpeg", "a.JPG", "b/._x.png", ".trash/y.png", "notes.txt", "b/c/z.webp"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["a.JPG", "b-x.jpeg", "b/c/z.webp", "b/x.PNG"]


def test_find_images_follows_linked_folders(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.png").touch()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert find_images(tmp_path / "set") == [tmp_path / "set" / "link" / "x.png"]


def test_find_images_wants_a_folder(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        find_images(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        find_images(tmp_path / "file")
