"""`mapopt predict` on videos: every frame is an image of its own, and what is drawn is a video again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mapopt.cli import main
from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.data.videos import Video
from mapopt.drawing import predictions
from mapopt.evaluation.names import Index, image_meaning, read_raw_results

Refused = Callable[..., str]
WriteClip = Callable[..., Path]


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    """The eight test scenes of the trained run, ``[8, 32, 32, 3]``."""
    config = ShapesConfig(size=32, object_size=(8.0, 16.0))
    pixels = make_shapes_splits(config, seed=0, train=16, val=8, test=8).test.pixels
    return pixels.permute(0, 2, 3, 1).numpy()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, scenes: np.ndarray, write_clip: WriteClip) -> Path:
    """These scenes as a video without loss."""
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mkv", scenes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, scenes: np.ndarray) -> Path:
    """The same as files."""
    folder = tmp_path_factory.mktemp("scenes")
    for number, scene in enumerate(scenes):
        Image.fromarray(scene).save(folder / f"scene{number}.png")
    return folder


def predict(trained: Path, out: Path, *flags: object) -> int:
    command = ["predict", "--checkpoint", trained / "best.pt", "--device", "cpu", "--out", out, *flags]
    return main([str(word) for word in command])


def results_of(out: Path) -> list[dict]:
    return json.loads((out / "results.json").read_text())


def images_of(out: Path) -> list[dict]:
    return json.loads((out / "images.json").read_text())["images"]


def drawn_in(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "pictures").iterdir())


def test_what_is_detected_in_frames_is_what_is_detected_in_images(
    trained: Path, clip: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(trained, tmp_path / "v", "--images", clip, "--score", 0) == 0
    assert f"8 frames: {len(results_of(tmp_path / 'v'))} boxes in " in capsys.readouterr().out
    assert predict(trained, tmp_path / "p", "--images", folder) == 0
    of_frames, of_images = results_of(tmp_path / "v"), results_of(tmp_path / "p")
    assert len(of_frames) == len(of_images) > 0
    own = ("file_name", "frame", "seconds")
    for ours, theirs in zip(of_frames, of_images, strict=True):
        number = ours["image_id"] - 1
        assert [ours[name] for name in own] == [f"{clip}#{number}", number, number / 25]
        assert "frame" not in theirs
        assert {name: value for name, value in ours.items() if name not in own} == {
            name: value for name, value in theirs.items() if name != "file_name"
        }
    assert images_of(tmp_path / "v")[3] == {
        "id": 4,
        "file_name": f"{clip}#3",
        "width": 32,
        "height": 32,
        "frame": 3,
        "seconds": 0.12,
    }
    assert drawn_in(tmp_path / "v") == ["clip.mp4"]
    video = Video(tmp_path / "v" / "pictures" / "clip.mp4")
    assert (len(video), video.known.size, video.known.rate) == (8, (320, 320), 25), "small ones are enlarged"
    assert predict(trained, tmp_path / "w", "--images", folder, "--score", 0) == 0
    for number, frame in video.frames():
        picture = Image.open(tmp_path / "w" / "pictures" / f"scene{number}.jpg")
        assert np.abs(np.asarray(frame).astype(int) - np.asarray(picture)).mean() < 10, "drawn alike"


def test_evaluation_meets_the_frames_by_their_names(trained: Path, clip: Path, tmp_path: Path) -> None:
    assert predict(trained, tmp_path / "p", "--images", clip, "--every", 3) == 0
    raw = read_raw_results(tmp_path / "p" / "results.json")
    known = [f"annotated/clip.mkv#{number}" for number in (6, 1, 0, 3)]
    meaning = image_meaning(raw.images, np.arange(4), known, Index.of(tmp_path / "p" / "results.json", raw))
    assert [known[place] for place in meaning.places] == [f"annotated/clip.mkv#{number}" for number in (0, 3, 6)]


@pytest.mark.parametrize("every", [3, 100])
def test_every_so_many_frames_are_looked_at(trained: Path, clip: Path, tmp_path: Path, every: int) -> None:
    assert predict(trained, tmp_path / "p", "--images", clip, "--every", every) == 0
    frames = list(range(0, 8, every))
    assert [image["frame"] for image in images_of(tmp_path / "p")] == frames
    assert {entry["frame"] for entry in results_of(tmp_path / "p")} <= set(frames)
    video = Video(tmp_path / "p" / "pictures" / "clip.mp4")
    assert len(video) == len(frames)
    assert float(video.known.rate) == pytest.approx(25 / every, rel=1e-3)


def test_a_folder_may_hold_images_and_videos(
    trained: Path,
    clip: Path,
    scenes: np.ndarray,
    write_clip: WriteClip,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(scenes[0]).save(folder / "b.png")
    write_clip(folder / "a.avi", scenes[:2])
    large = np.repeat(np.repeat(scenes[:3], 11, axis=1), 13, axis=2)[:, :351, :415]
    write_clip(folder / "c.MKV", large, rate="10")
    assert predict(trained, tmp_path / "p", "--images", folder, clip.parent, "--score", 0) == 0
    assert "1 images and 13 frames: " in capsys.readouterr().out
    names = [Path(image["file_name"]).name for image in images_of(tmp_path / "p")]
    assert names[:6] == ["a.avi#0", "a.avi#1", "b.png", "c.MKV#0", "c.MKV#1", "c.MKV#2"]
    assert names[6:] == [f"clip.mkv#{number}" for number in range(8)]
    assert [image.get("frame") for image in images_of(tmp_path / "p")] == [0, 1, None, 0, 1, 2, *range(8)]
    assert drawn_in(tmp_path / "p") == ["a.mp4", "b.jpg", "c.mp4", "clip.mp4"]
    odd = Video(tmp_path / "p" / "pictures" / "c.mp4")
    assert (odd.known.size, odd.known.rate, len(odd)) == ((416, 352), 10, 3), "odd sides get one more"
    assert (
        predict(trained, tmp_path / "q", "--images", clip, write_clip(folder / "clip.mov", scenes[:1], "-c:v", "png"))
        == 0
    )
    assert drawn_in(tmp_path / "q") == ["clip-8.mp4", "clip.mp4"]


def test_frames_of_a_sample_are_pictures(trained: Path, clip: Path, folder: Path, tmp_path: Path) -> None:
    assert predict(trained, tmp_path / "p", "--images", folder, clip, "--sample", 5, "--seed", 2) == 0
    names = [Path(image["file_name"]) for image in images_of(tmp_path / "p")]
    frames = [name.name.split("#")[1] for name in names if "#" in name.name]
    assert 0 < len(frames) < 5 == len(names)
    assert drawn_in(tmp_path / "p") == sorted(
        [f"clip-{number}.jpg" for number in frames] + [f"{name.stem}.jpg" for name in names if "#" not in name.name]
    )


def test_old_videos_do_not_stay_beside_new_ones(trained: Path, clip: Path, folder: Path, tmp_path: Path) -> None:
    assert predict(trained, tmp_path / "p", "--images", clip) == 0
    (tmp_path / "p" / "pictures" / ".clip.mp4.x.unfinished").touch()
    assert predict(trained, tmp_path / "p", "--images", folder / "scene2.png", "--overwrite") == 0
    assert drawn_in(tmp_path / "p") == ["scene2.jpg"]
    assert len(images_of(tmp_path / "p")) == 1


def test_an_interrupted_video_leaves_nothing_half_written(
    trained: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, drawn = predictions.draw_boxes, []

    def interrupted(*arguments: object) -> Image.Image:
        drawn.append(arguments)
        if len(drawn) == 4:
            raise KeyboardInterrupt
        return draw(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(predictions, "draw_boxes", interrupted)
    assert predict(trained, tmp_path / "p", "--images", clip) == 130
    assert drawn_in(tmp_path / "p") == []
    assert len(images_of(tmp_path / "p")) == 8


def test_a_damaged_video_is_said_and_its_frames_are_used(
    trained: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "short.mkv"
    short.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert predict(trained, tmp_path / "p", "--images", short) == 0
    count = len(images_of(tmp_path / "p"))
    assert 0 < count < 8
    assert f"may be damaged (File ended prematurely); {count} frames could be read\n" in capsys.readouterr().out
    assert len(Video(tmp_path / "p" / "pictures" / "short.mp4")) == count


def test_what_is_wrong_is_one_line_and_nothing_is_written(
    trained: Path, clip: Path, folder: Path, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ["predict", "--checkpoint", trained / "best.pt", "--out", tmp_path / "p", "--images"]
    assert refused(*common, clip, "--every", 0).startswith("every is 0: expected 1 for every frame of a video")
    assert refused(*common, folder, "--every", 2) == (
        "every is 2, and there is no video among the images: leave it out"
    )
    assert refused(*common, clip, "--sample", 9).startswith("sample is 9, and there are 8 images")
    (tmp_path / "empty.mp4").touch()
    assert "empty.mp4: no frame can be read (" in refused(*common, tmp_path / "empty.mp4")
    assert "did you mean '--every'?" in refused(*common, clip, "--vid-stride", 2)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert refused(*common, clip) == (f"{clip}: is a video, and nothing here decodes it: pip install 'mapopt[video]'")
    assert not (tmp_path / "p").exists()


def test_commands_that_read_only_images_say_so(trained: Path, clip: Path, tmp_path: Path, refused: Refused) -> None:
    preview = [
        "preview",
        "--checkpoint",
        trained / "best.pt",
        "--layers",
        "stem",
        "--out",
        tmp_path / "p",
        "--images",
        clip,
    ]
    assert refused(*preview).startswith(f"{clip}: is a video, and only images are read here. `mapopt predict` reads")
    for command in (["train", "--data"], ["audit"], ["evaluate", "--checkpoint", trained, "--data"]):
        assert str(clip) in refused(*command, clip, "--out", tmp_path / "q")
