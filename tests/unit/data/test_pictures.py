"""One picture to 8-bit planes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision import transforms

from fleet.data import pictures
from fleet.data.pictures import Frame, fit_picture, read_picture


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp"])
def test_lossless_formats_keep_every_byte(tmp_path: Path, suffix: str) -> None:
    pixels = noise(32, 32)
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(pixels), **options)
    planes = read_picture(path, Frame(3, 32))
    assert planes.dtype == np.uint8
    assert planes.flags.c_contiguous
    assert np.array_equal(planes, pixels.transpose(2, 0, 1))


def test_grey_is_the_luma_of_the_colours(tmp_path: Path) -> None:
    pixels = noise(28, 28)
    path = saved(tmp_path / "a.png", Image.fromarray(pixels))
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    grey = read_picture(path, Frame(1, 28))
    assert grey.shape == (1, 28, 28)
    assert np.abs(grey[0] - luma).max() <= 0.51


def test_a_grey_picture_becomes_three_equal_planes(tmp_path: Path) -> None:
    pixels = noise(28, 28, 1)
    planes = read_picture(saved(tmp_path / "a.png", Image.fromarray(pixels)), Frame(3, 28))
    assert all(np.array_equal(plane, pixels) for plane in planes)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_common_mode_is_read(tmp_path: Path, mode: str, channels: int) -> None:
    grey = Image.fromarray(np.full((8, 8), 255, dtype=np.uint8))
    if mode == "I;16":
        image = Image.fromarray(np.full((8, 8), 65535, dtype=np.uint16))
    else:
        image = grey.convert("RGB").convert(mode)
    path = saved(tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"), image)
    planes = read_picture(path, Frame(channels, 8))
    assert planes.shape == (channels, 8, 8)
    assert bool((planes >= 254).all())


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    levels = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16).repeat(5, 0)
    path = saved(tmp_path / "a.png", Image.fromarray(levels))
    assert read_picture(path, Frame(1, 5))[0, 0].tolist() == [0, 0, 1, 128, 255]


def test_a_palette_with_transparency_raises_no_warning(tmp_path: Path) -> None:
    image = Image.fromarray(noise(8, 8)).quantize(16)
    path = saved(tmp_path / "a.png", image, transparency=bytes(range(16)))
    assert read_picture(path, Frame(3, 8)).shape == (3, 8, 8)


@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_picture_is_turned_as_its_exif_orientation_asks(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    """Four corners of four greys; Pillow's own exif_transpose says where they belong."""
    corners = np.array([[0, 80], [160, 240]], dtype=np.uint8)
    image = Image.fromarray(corners.repeat(16, 0).repeat(24, 1)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100} if suffix == "jpg" else {"lossless": True}
    path = saved(tmp_path / f"a.{suffix}", image, exif=exif, **options)
    upright = ImageOps.exif_transpose(Image.open(path))
    assert upright.size == ((32, 48) if orientation >= 5 else (48, 32))
    found = read_picture(path, Frame(1, 32))[0]
    expected = np.asarray(upright.convert("L").resize((32, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(found, expected)
    if orientation == 6:  # the camera held on its side: the first column is the top row
        assert found[[4, 4, -4, -4], [4, -4, 4, -4]] == pytest.approx([160, 0, 240, 80], abs=2)


def test_broken_exif_data_turn_nothing(tmp_path: Path) -> None:
    pixels = noise(8, 8)
    path = saved(tmp_path / "a.png", Image.fromarray(pixels), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert np.array_equal(read_picture(path, Frame(3, 8)), pixels.transpose(2, 0, 1))


def transparent(mode: str) -> tuple[Image.Image, dict[str, object]]:
    """A black dot on nothing, where what is not to be seen is black too; and how to save it."""
    alpha = np.zeros((9, 9), np.uint8)
    alpha[4, 4] = 255
    black = np.zeros((9, 9), np.uint8)
    if mode == "P":  # colour 0 is clear, colour 1 is opaque, both black
        image = Image.fromarray(alpha // 255, "P")
        image.putpalette([0] * 6)
        return image, {"transparency": b"\0\xff"}
    if mode in {"L", "RGB", "I;16"}:  # one clear grey; the dot is a little brighter
        levels = black.copy()
        levels[4, 4] = 1
        if mode == "I;16":
            return Image.fromarray(levels.astype(np.uint16) * 256), {"transparency": 0}
        clear = 0 if mode == "L" else (0, 0, 0)
        return Image.fromarray(levels).convert(mode), {"transparency": clear}
    planes = [black] * (len(mode) - 1)
    return Image.fromarray(np.dstack([*planes, alpha]), mode), {}


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L", "RGB", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_shows_white(tmp_path: Path, mode: str, channels: int) -> None:
    image, options = transparent(mode)
    path = saved(tmp_path / "a.png", image, **options)
    planes = read_picture(path, Frame(channels, 9)).copy()
    assert (planes[:, 4, 4] <= 1).all()
    planes[:, 4, 4] = 255
    assert (planes == 255).all()


def test_half_transparency_is_blended_with_white(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 4), (200, 100, 0, 51), np.uint8)
    for suffix, options in (("png", {}), ("webp", {"lossless": True, "exact": True})):
        path = saved(tmp_path / f"a.{suffix}", Image.fromarray(pixels, "RGBA"), **options)
        assert read_picture(path, Frame(3, 4))[:, 0, 0] == pytest.approx([244, 224, 204], abs=1)


def test_the_content_decides_the_format_and_not_the_name(tmp_path: Path) -> None:
    """ImageNet holds a PNG that is called .JPEG."""
    pixels = noise(8, 8)
    path = saved(tmp_path / "a.JPEG", Image.fromarray(pixels), format="PNG")
    assert np.array_equal(read_picture(path, Frame(3, 8)), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(("height", "width"), [(40, 90), (90, 40), (50, 50), (375, 500), (64, 65)])
def test_crop_is_torchvisions_resize_and_centre_crop(height: int, width: int) -> None:
    image = Image.fromarray(noise(height, width))
    size = 56
    usual = transforms.Compose([transforms.Resize(64), transforms.CenterCrop(size)])
    expected = np.asarray(usual(image)).transpose(2, 0, 1)
    assert np.array_equal(fit_picture(image, Frame(3, size, "crop")), expected)


def test_squash_is_torchvisions_resize_to_a_square() -> None:
    image = Image.fromarray(noise(40, 90))
    expected = np.asarray(transforms.Resize((64, 64))(image)).transpose(2, 0, 1)
    assert np.array_equal(fit_picture(image, Frame(3, 64)), expected)


def test_a_device_can_read_pictures_without_torch() -> None:
    program = "import sys, fleet.data.pictures; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_machine_without_memory_does_not_blame_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    path = tmp_path / "good.png"
    Image.new("L", (4, 4)).save(path)
    monkeypatch.setattr(pictures, "fit_picture", exhausted)
    with pytest.raises(MemoryError):
        pictures.read_picture(path, pictures.Frame(1, 4, "squash"))
