"""Videos: every frame as it was stored, upright, with its number and time, and one line where that cannot be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mapopt import ffmpeg
from mapopt.data.image_files import find_images, image_size, open_rgb
from mapopt.data.pictures import PictureSet
from mapopt.data.videos import Video, _rate, find_sources, select_pictures
from mapopt.errors import ConfigError, DataError

WriteClip = Callable[..., Path]


def pictures(count: int, *, height: int = 21, width: int = 33) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, write_clip: WriteClip) -> Path:
    """Eleven frames with odd sides at 30 a second, without loss."""
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mkv", pictures(11), rate="30")


@pytest.mark.parametrize("every", [1, 3, 20])
def test_frames_are_those_that_were_stored(clip: Path, every: int) -> None:
    video, stored = Video(clip, every=every), pictures(11)
    numbers = []
    for number, frame in video.frames():
        assert np.array_equal(np.asarray(frame), stored[number])
        numbers.append(number)
    assert numbers == list(range(0, 11, every)) == video.numbers.tolist()
    assert video.known.size == (33, 21)
    assert video.seconds == pytest.approx(np.array(numbers) / 30, abs=0.0006), "Matroska has milliseconds"
    assert float(video.known.rate) == pytest.approx(30 / every, rel=0.02 if every == 20 else 1e-9)
    assert video.known.damage == ""


@pytest.mark.parametrize("name", ["a:b %d.mp4", "-i.mov", "http:x.avi", "\u00e9 'x'.webm", "[1].MPG"])
def test_any_file_name_will_do(
    write_clip: WriteClip, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "clip.mkv", pictures(2)).rename(tmp_path / name)
    monkeypatch.chdir(clip.parent)
    assert [len(video) for video in find_sources([name])] == [2]
    assert len(list(Video(name).frames())) == 2


def test_only_some_frames_are_read_and_no_more_than_it_takes(clip: Path) -> None:
    video = Video(clip, every=2).select([1, 3]).select([1])
    assert (len(video), video.numbers.tolist()) == (1, [6])
    ((number, frame),) = video.frames()
    assert (number, np.array_equal(np.asarray(frame), pictures(11)[6])) == (6, True)
    frames = Video(clip).frames()
    next(frames)
    frames.close()


def test_a_sample_is_drawn_from_images_and_frames_alike(clip: Path) -> None:
    sources = [Path("a.png"), Video(clip, every=4), Path("b.png"), Video(clip)]
    first, frames, more = select_pictures(sources, np.array([0, 2, 3, 6, 15]))
    assert first == Path("a.png")
    assert (frames.numbers.tolist(), more.numbers.tolist()) == ([4, 8], [1, 10])


def test_a_turned_video_is_upright(write_clip: WriteClip, tmp_path: Path) -> None:
    flat = write_clip(tmp_path / "flat.mp4", pictures(2, height=32, width=48), "-c:v", "libx264rgb", "-qp", "0")
    turned = write_clip(
        tmp_path / "turned.mp4",
        pictures(1),
        "-map",
        "1:v",
        "-c",
        "copy",
        before=["-display_rotation", "90", "-i", flat],
    )
    video = Video(turned)
    (_, frame), _ = video.frames()
    assert frame.size == video.known.size == (32, 48)
    assert np.array_equal(np.rot90(pictures(2, height=32, width=48)[0]), np.asarray(frame))
    notes = PictureSet(video).notes(["a"])
    assert (notes.widths.tolist(), notes.heights.tolist()) == ([32, 32], [48, 48])


def test_frames_that_are_shown_longer_are_not_repeated(write_clip: WriteClip, tmp_path: Path) -> None:
    slow = "setpts='if(lt(N,3),N,10*N)/25/TB'"
    arguments = ("-vf", slow, "-fps_mode", "vfr", "-c:v", "ffv1", "-pix_fmt", "bgr0")
    video = Video(write_clip(tmp_path / "slow.mkv", pictures(5), *arguments))
    frames = np.stack([np.asarray(frame) for _, frame in video.frames()])
    assert np.array_equal(frames, pictures(5))
    assert video.seconds == pytest.approx([0, 0.04, 0.08, 1.2, 1.6])
    assert float(video.known.rate) == pytest.approx(4 / 1.6)


@pytest.mark.parametrize(
    ("count", "length", "tick", "rate"),
    [
        (200, 6633, "1/1000", "30"),
        (200, 6640, "1/1000", "30000/1001"),
        (200, 8300, "1/1000", "24000/1001"),
        (3, 1024, "1/12800", "25"),
        (2, 1, "1/10", "10"),
        (3, 3000, "1/1000", "2/3"),
        (1, 0, "1/12800", "25"),
    ],
)
def test_the_rate_is_a_cameras_where_rounded_times_allow_it(count: int, length: int, tick: str, rate: str) -> None:
    assert _rate(count - 1, length, 512, Fraction(tick)) == Fraction(rate)
    assert _rate(0, 0, 0, Fraction(tick)) == 25, "nothing tells"


def test_what_is_no_video_is_one_line(write_clip: WriteClip, tmp_path: Path) -> None:
    sound = tmp_path / "sound.mp4"
    write_clip(sound, pictures(1), "-map", "1:a", before=["-f", "lavfi", "-t", "0.1", "-i", "anullsrc"])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.avi").write_text("not a video")
    for name, reason in (
        ("sound.mp4", "it holds no video"),
        ("empty.mp4", "moov atom not"),
        ("text.avi", ".*Invalid data"),
    ):
        for read in (lambda video: len(video), lambda video: list(video.frames())):
            with pytest.raises(
                DataError, match=rf"{name}: no frame can be read \({reason}.*\)\. It may be damaged"
            ) as said:
                read(Video(tmp_path / name))
            assert "\n" not in str(said.value)


def test_a_video_that_breaks_off_has_a_note_or_a_warning(clip: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.mkv"
    short.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    video = Video(short)
    with pytest.warns(
        UserWarning, match=r"short\.mkv: may be damaged \(File ended prematurely\); 5 frames could be read"
    ):
        assert len(list(Video(short).frames())) == 5
    assert len(video) == 5
    assert video.known.damage == f"{short}: may be damaged (File ended prematurely); 5 frames could be read"
    assert len(list(video.frames())) == 5, "said once"


def test_a_video_that_changes_meanwhile_is_refused(clip: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mkv"
    other.write_bytes(clip.read_bytes())
    video = Video(other)
    assert len(video) == 11
    other.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(DataError, match=r"other\.mkv: 5 of 11 frames could be read \(File ended prematurely\)"):
        list(video.frames())


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(ConfigError, match=r"clip\.mp4: is a video, and nothing .*: pip install 'mapopt\[video\]'$"):
        PictureSet(tmp_path)


def test_an_old_ffmpeg_is_not_taken_for_a_damaged_video(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "ffmpeg"
    old.write_text("#!/bin/sh\necho \"Unrecognized option 'fps_mode'.\" >&2\nexit 1\n")
    old.chmod(0o755)
    monkeypatch.setattr(ffmpeg, "find_ffmpeg", lambda: str(old))
    with pytest.raises(ConfigError, match=r"clip\.mkv: the ffmpeg here is too old to read it \(Unrecognized .*6\.1 or"):
        len(Video(clip))


@pytest.mark.parametrize("every", [0, -2])
def test_every_is_a_count_of_frames(every: int) -> None:
    with pytest.raises(ConfigError, match=f"every is {every}: expected 1 for every frame of a video, or more"):
        PictureSet(np.zeros((8, 8)), every=every)
    with pytest.raises(ConfigError, match="every is 2, and there is no video among the images: leave it out"):
        PictureSet(np.zeros((8, 8)), every=2)


def test_where_only_images_are_read_a_video_is_named_as_what_it_is(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    clip = tmp_path / "clip.MP4"
    clip.touch()
    assert find_images([tmp_path]) == [tmp_path / "a.png"]
    for read in (open_rgb, image_size, lambda path: find_images([path])):
        with pytest.raises(DataError, match=r"clip\.MP4: is a video, and only images are read here\. `mapopt predict`"):
            read(clip)
    (tmp_path / "a.png").unlink()
    clip.unlink()
    with pytest.raises(
        DataError, match=r"holds no image \(.*Pillow reads\) and no video \(\.3gp, .*\)\. Give a folder"
    ):
        find_sources([tmp_path])
