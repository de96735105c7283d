"""Images of every common kind become 8-bit RGB, and fit into a frame without moving against their boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from mapopt.data import read_image
from mapopt.data.image_files import image_size, image_suffixes, open_image, open_rgb
from mapopt.data.pixels import PADDING, letterbox, letterbox_scale
from mapopt.errors import DataError

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def test_an_rgb_image_is_read_channels_first(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    read = read_image(tmp_path / "x.png")
    assert read.dtype == torch.uint8
    assert (read.permute(1, 2, 0).numpy() == pixels).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["gray", "16 bits", "16 bits tiff", "gray and alpha", "palette", "palette and alpha"])
def test_gray_in_any_form_becomes_three_equal_channels(tmp_path, kind):
    path = tmp_path / ("x.tif" if "tiff" in kind else "x.png")
    image = Image.fromarray(GRAY)
    if "16" in kind:
        image = Image.fromarray(GRAY.astype(np.uint16) * 256 + 37)
    elif kind == "gray and alpha":
        image = Image.merge("LA", (image, Image.fromarray(GRAY[::-1].copy())))
    elif "palette" in kind:
        palette = Image.fromarray(GRAY[::-1].copy(), mode="P")
        palette.putpalette(np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())
        image = palette
    options = {"transparency": bytes(range(256))} if kind == "palette and alpha" else {}
    image.save(path, **options)
    expected = GRAY[::-1] if "palette" in kind else GRAY
    read = read_image(path)
    assert read.shape == (3, 6, 8)
    assert (read.numpy() == expected).all()


def test_colors_of_a_palette_are_looked_up_and_transparency_is_ignored(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode="P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "palette.png", transparency=1)
    Image.fromarray(np.array([[[10, 20, 30, 255], [40, 50, 60, 0]]], dtype=np.uint8)).save(tmp_path / "rgba.png")
    for name in ("palette.png", "rgba.png"):
        assert read_image(tmp_path / name)[:, 0].T.tolist() == [[10, 20, 30], [40, 50, 60]]


def test_black_and_white_and_cmyk_are_read(tmp_path):
    Image.new("1", (4, 4), 1).save(tmp_path / "x.png")
    assert (read_image(tmp_path / "x.png") == 255).all()
    Image.new("CMYK", (4, 4), (0, 0, 0, 255)).save(tmp_path / "x.jpg")
    assert (read_image(tmp_path / "x.jpg") == 0).all()


def test_numbers_wider_than_16_bits_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((4, 4), 70000, dtype=np.int32)).save(tmp_path / "wide.tif")
    for name in ("float.tif", "wide.tif"):
        with pytest.raises(DataError, match=f"{name}: .*not 8 or 16 bits wide.*Convert it"):
            read_image(tmp_path / name)


def test_missing_damaged_and_foreign_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.png: no such image"):
        read_image(tmp_path / "absent.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match=r"text\.png: is not an image"):
        read_image(tmp_path / "text.png")
    with pytest.raises(DataError, match=r"text\.png: is not an image"):
        image_size(tmp_path / "text.png")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("cut.png", "cut.jpg"):
        Image.fromarray(pixels).save(tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:2000])
        with pytest.raises(DataError, match=rf"{name}: the image cannot be read"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_photograph_is_upright_unless_only_the_stored_view_has_the_annotated_size(tmp_path, ending, turn):
    path, exif = tmp_path / f"x.{ending}", Image.Exif()
    exif[0x0112] = turn
    options = {"lossless": True} if ending == "webp" else {}
    Image.fromarray(GRAY).convert("RGB").save(path, exif=exif, **options)
    stored = open_rgb(path, expected=(8, 6))
    upright = ImageOps.exif_transpose(Image.fromarray(GRAY).convert("RGB") if turn == 1 else _noted(turn))
    size = (6, 8) if turn > 4 else (8, 6)
    assert image_size(path) == open_rgb(path).size == open_rgb(path, expected=size).size == size
    assert open_image(path).turned == (turn != 1)
    if ending != "jpg":
        assert (np.asarray(open_rgb(path)) == np.asarray(upright)).all()
        assert turn <= 4 or (np.asarray(stored)[..., 0] == GRAY).all()
    assert turn <= 4 or not open_image(path, expected=(8, 6)).turned
    with pytest.raises(DataError, match=rf"is {size[0]} x {size[1]} pixels, but its annotations say 7 x 6"):
        open_rgb(path, expected=(7, 6))


def _noted(turn: int) -> Image.Image:
    image = Image.fromarray(GRAY).convert("RGB")
    image.getexif()[0x0112] = turn
    return image


def test_exif_behind_the_pixels_of_a_png_counts_for_the_size_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GRAY).save(tmp_path / "x.png", exif=exif)
    content = (tmp_path / "x.png").read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    last = content.index(b"IEND") - 4
    moved = content[:start] + content[end:last] + content[start:end] + content[last:]
    (tmp_path / "late.png").write_bytes(moved)
    assert image_size(tmp_path / "late.png") == open_rgb(tmp_path / "late.png").size == (6, 8)


def test_bits_of_16_can_be_scaled_and_are_not_cut_off(tmp_path):
    Image.fromarray(GRAY.astype(np.uint16) * 16 + 5).save(tmp_path / "x.png")
    assert (np.asarray(open_rgb(tmp_path / "x.png", bits=12))[..., 0] == GRAY).all()
    assert open_image(tmp_path / "x.png").peak == int(GRAY.max()) * 16 + 5
    with pytest.raises(DataError, match=r"holds the number 3765, which does not fit into 10 bits\. Give --bits 12"):
        open_rgb(tmp_path / "x.png", bits=10)


def test_every_ending_that_pillow_reads_counts_as_an_image():
    endings = image_suffixes()
    assert endings[:3] == (".jpg", ".jpeg", ".png")
    assert {".mpo", ".jp2", ".avif", ".tga", ".jfif", ".ppm"} <= set(endings)
    assert not {".txt", ".json", ".xml", ".pdf", ".mpeg", ".h5"} & set(endings)


def test_an_image_of_the_frame_s_size_is_not_touched():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8))
    assert (letterbox(image, size=(6, 8), scale=1.0).permute(1, 2, 0).numpy() == np.asarray(image)).all()


@pytest.mark.parametrize("width", [30, 31, 47, 64, 100])
@pytest.mark.parametrize("height", [17, 30, 64])
def test_the_scale_fits_and_what_is_left_is_gray(width, height):
    scale = letterbox_scale(np.array([width]), np.array([height]), size=(32, 48))
    assert scale.dtype == np.float32
    frame = letterbox(Image.new("RGB", (width, height), (255, 0, 0)), size=(32, 48), scale=float(scale[0]))
    covered = (frame[0] == 255) & (frame[1] == 0)
    assert covered[: int(height * scale[0]), : int(width * scale[0])].all()
    assert (frame[:, ~covered] == PADDING).all()
    assert covered.all(0).any() or covered.all(1).any()
    assert covered[0, 0]


@pytest.mark.parametrize("size", [(40, 60), (33, 47), (150, 170)])
def test_a_mark_in_the_image_stays_where_its_box_goes(size):
    pixels = np.zeros((100, 130, 3), dtype=np.uint8)
    pixels[61:83, 90:122] = 255
    scale = letterbox_scale(np.array([130]), np.array([100]), size=size)
    frame = letterbox(Image.fromarray(pixels), size=size, scale=float(scale[0]))[0].numpy() / 255.0
    frame[:, int(130 * scale[0]) :] = 0
    frame[int(100 * scale[0]) :] = 0
    x, y = np.meshgrid(np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5)
    middle = (frame * x).sum() / frame.sum(), (frame * y).sum() / frame.sum()
    assert np.allclose(middle, np.array([106, 72]) * scale[0], atol=0.06)
    assert np.isclose(frame.sum(), 22 * 32 * scale[0] ** 2, rtol=0.03)
