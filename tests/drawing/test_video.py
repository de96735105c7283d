"""A video has its pictures at their rate and in their colors, or its error is one line."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import imageio.v3
import numpy as np
import pytest
from PIL import Image

from mapopt.drawing import video
from mapopt.drawing.video import check_video, mp4_file, write_video
from mapopt.errors import ConfigError, StoreError


def test_without_an_encoder_the_extra_and_the_other_format_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(ConfigError, match=r"pip install 'mapopt\[video\]', or give a name in \.gif"):
        check_video(tmp_path / "video.mp4", overwrite=False)
    (tmp_path / "a.gif").mkdir()
    with pytest.raises(StoreError, match="is a folder"):
        check_video(tmp_path / "a.gif", overwrite=True)


def test_a_place_where_no_video_can_be_is_found_out_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match=r"video\.gif: cannot be written, .*file being no folder"):
        check_video(tmp_path / "file" / "deeper" / "video.gif", overwrite=True)
    check_video(tmp_path / "new" / "folder" / "video.gif", overwrite=False)


def pictures(count: int) -> list[np.ndarray]:
    red = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (36, 1))
    blue = np.full((36, 64), 255, np.uint8)
    return [np.stack([red, np.full((36, 64), 40 * place, np.uint8), blue], axis=-1) for place in range(count)]


def test_a_gif_has_the_pictures_at_their_rate_and_holds_the_last(tmp_path: Path) -> None:
    shown = pictures(4)
    write_video(tmp_path / "video.gif", shown, fps=5, hold=1.0)
    with Image.open(tmp_path / "video.gif") as video:
        for place, expected in enumerate(shown):
            video.seek(place)
            assert np.abs(np.asarray(video.convert("RGB")).astype(int) - expected).max() <= 8
            assert video.info["duration"] == (1200 if place == 3 else 200)


def test_a_gif_keeps_few_colors_exactly(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    colors = generator.integers(0, 256, (90, 3), dtype=np.uint8)
    shown = [colors[generator.integers(0, 90, (36, 64))] for _ in range(3)]
    shown[0][:2, :45] = colors.reshape(2, 45, 3)
    write_video(tmp_path / "video.gif", shown, fps=5)
    with Image.open(tmp_path / "video.gif") as video:
        for place, expected in enumerate(shown):
            video.seek(place)
            assert np.array_equal(np.asarray(video.convert("RGB")), expected)


def test_an_mp4_has_its_size_and_length(tmp_path: Path) -> None:
    encoder = pytest.importorskip("imageio_ffmpeg", reason="the optional package imageio-ffmpeg is not installed")
    write_video(tmp_path / "video.mp4", pictures(4), fps=4, hold=1.0)
    frames = encoder.read_frames(str(tmp_path / "video.mp4"))
    facts = next(frames)
    assert facts["size"] == (64, 36)
    assert len(list(frames)) == 8


def test_an_mp4_of_any_size_is_written_picture_by_picture(tmp_path: Path) -> None:
    encoder = pytest.importorskip("imageio_ffmpeg", reason="the optional package imageio-ffmpeg is not installed")
    with mp4_file(tmp_path / "new" / "odd.mp4", fps=Fraction(30000, 1001)) as add:
        for picture in pictures(3):
            add(picture[:35, :63])
        assert not (tmp_path / "new" / "odd.mp4").exists()
    frames = encoder.read_frames(str(tmp_path / "new" / "odd.mp4"))
    facts = next(frames)
    assert (facts["size"], facts["fps"]) == ((64, 36), 29.97)
    for expected, frame in zip(pictures(3), frames, strict=True):
        shown = np.frombuffer(frame, np.uint8).reshape(36, 64, 3)[:35, :63].astype(int)
        assert np.abs(shown - expected[:35, :63]).mean() < 4, "players see the colors that were drawn"
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["odd.mp4"]


@pytest.mark.parametrize("side", [4, 400], ids=["at its end", "in the middle"])
def test_an_mp4_whose_encoder_fails_is_one_line(side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("imageio_ffmpeg", reason="the optional package imageio-ffmpeg is not installed")
    monkeypatch.setattr(video, "_mp4_arguments", lambda *_: ["-i", "pipe:0", "-f", "unheard", "-"])
    (tmp_path / "video.mp4").write_text("old")
    message = r"video\.mp4: the encoder of \.mp4 failed \(.+\)\. Make room, or choose another place\.$"
    with pytest.raises(StoreError, match=message) as said:
        write_video(tmp_path / "video.mp4", [np.zeros((side, side, 3), np.uint8)] * 3, fps=25)
    assert "\n" not in str(said.value)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("video.mp4", "old")]


def test_an_error_of_whoever_draws_leaves_the_old_mp4(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg", reason="the optional package imageio-ffmpeg is not installed")
    (tmp_path / "video.mp4").write_text("old")

    def draw() -> None:
        with mp4_file(tmp_path / "video.mp4", fps=25) as add:
            add(pictures(1)[0])
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        draw()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("video.mp4", "old")]


def test_what_stands_still_has_the_same_color_in_every_picture(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    still = generator.integers(0, 256, (36, 64, 3), dtype=np.uint8)
    shown = [still.copy() for _ in range(3)]
    for place, picture in enumerate(shown):
        picture[:, 40:] = 80 * place
    write_video(tmp_path / "video.gif", shown, fps=5)
    frames = imageio.v3.imread(tmp_path / "video.gif", plugin="pillow", mode="RGB")[:, :, :40]
    assert (frames == frames[:1]).all()


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        (OSError("many\nlines\nbroken pipe"), r"the encoder of \.gif failed \(broken pipe\)"),
        (b"", r"the encoder of \.gif wrote nothing"),
    ],
)
def test_a_failing_encoder_is_one_line_and_leaves_the_old_file(
    fails: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(*_: object, **__: object) -> object:
        if isinstance(fails, OSError):
            raise fails
        return fails

    monkeypatch.setattr(imageio.v3, "imwrite", encode)
    (tmp_path / "video.gif").write_text("old")
    with pytest.raises(StoreError, match=message):
        write_video(tmp_path / "video.gif", pictures(2), fps=5)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("video.gif", "old")]
