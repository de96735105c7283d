"""`mapopt audit` prints a table, writes pictures, mends a copy, and ends with the status of the worst finding."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from mapopt.cli import main
from mapopt.drawing.audit_sheets import draw_findings


def write(folder: Path, boxes: list[list[float]]) -> Path:
    """Writes a COCO folder of two images, the first with these boxes."""
    (folder / "images").mkdir(parents=True)
    for number in range(2):
        image = Image.linear_gradient("L").resize((80, 60)).rotate(90 * number)
        image.save(folder / "images" / f"{number}.png")
    entries = [{"id": n, "image_id": 0, "category_id": 1, "bbox": box} for n, box in enumerate(boxes)]
    data = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 80, "height": 60} for n in range(2)],
        "annotations": [*entries, {"id": 99, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}],
        "categories": [{"id": 1, "name": "disc"}],
    }
    (folder / "train.json").write_text(json.dumps(data))
    return folder


CASES = {
    "note": [[5, 5, 20, 20]],
    "warning": [[5, 5, 20, 20], [5, 5, 20, 20.5]],
    "error": [[5, 5, 20, 20], [30, 30, 0, 8], [70, 50, 30, 4]],
}
QUIET = ["--kinds", "degenerate", "outside", "duplicate", "rare_class"]


@pytest.mark.parametrize(
    ("case", "fail_on", "status"),
    [
        ("note", "warning", 0), ("warning", "warning", 3), ("error", "warning", 4), ("note", "error", 0),
        ("warning", "error", 0), ("error", "error", 4), ("error", "never", 0),
    ],
)  # fmt: skip
def test_the_exit_status_is_that_of_the_worst_finding(case, fail_on, status, tmp_path, capsys):
    folder = write(tmp_path / "set", CASES[case])
    assert main(["audit", str(folder), *QUIET, "--fail-on", fail_on]) == status
    said = capsys.readouterr().out
    assert "rare_class" in said
    if case == "error":
        assert "train: train.json: annotation 1 has no area: 0 x 8 pixels" in said
        assert "reaches 20 pixels out of its image of 80 x 60 pixels" in said


def test_nothing_is_said_to_be_nothing(tmp_path, capsys):
    folder = write(tmp_path / "set", CASES["note"])
    assert main(["audit", str(folder), "--kinds", "degenerate"]) == 0
    assert capsys.readouterr().out == f"{folder}: nothing was found in 2 images with 2 objects\n"


def test_findings_pictures_and_a_mended_copy_are_written(tmp_path, capsys):
    folder = write(tmp_path / "set", CASES["error"] + CASES["warning"])
    out, fix = tmp_path / "audit", tmp_path / "mended"
    assert main(["audit", str(folder), "--out", str(out), "--fix", str(fix), "--to", "voc"]) == 4
    names = {path.name for path in out.iterdir()}
    assert {"findings.json", "degenerate.jpg", "outside.jpg", "duplicate.jpg", "classes.png", "sizes.png"} <= names
    counts = json.loads((out / "findings.json").read_text())["counts"]
    assert (counts["degenerate"], counts["outside"]) == (1, 1)
    assert "Mended: 1 x boxes without area." in capsys.readouterr().out
    assert main(["audit", str(fix), *QUIET]) == 0
    assert main(["audit", str(folder), "--out", str(out)]) == 2
    assert main(["audit", str(folder), "--out", str(out), "--overwrite", "--kinds", "outside"]) == 4
    assert {path.name for path in out.iterdir()} == {"findings.json", "outside.jpg", "classes.png", "sizes.png"}


def test_a_box_is_drawn_where_it_is(tmp_path):
    from mapopt.data import audit

    folder = tmp_path / "set"
    write(folder, [[30, 20, 20, 20], [30, 20, 20, 20]])
    Image.new("RGB", (80, 60), "black").save(folder / "images" / "0.png")
    (sheet,) = draw_findings(audit(folder, kinds=["duplicate"])).values()
    picture = Image.open(io.BytesIO(sheet)).convert("RGB")
    red = [
        (x, y)
        for x in range(12, 312)
        for y in range(66, 291)
        if picture.getpixel((x, y))[0] > 150 and picture.getpixel((x, y))[1] < 120
    ]
    assert red
    left, right = min(x for x, _ in red) - 12, max(x for x, _ in red) - 12
    top, bottom = min(y for _, y in red) - 66, max(y for _, y in red) - 66
    # The box is in the middle of its tile, with its own length on every side of it.
    assert abs((left + right) / 2 - 150) < 3
    assert abs((top + bottom) / 2 - 112) < 3
    assert abs((bottom - top) - 75) < 5


def test_what_is_wrong_is_said_in_one_line(tmp_path, refused):
    folder = write(tmp_path / "set", CASES["note"])
    assert "unknown kind of finding 'degenrate': did you mean" in refused("audit", folder, "--kinds", "degenrate")
    assert "unknown flag '--fixx'" in refused("audit", folder, "--fixx", tmp_path / "x")
    assert "no such file or folder" in refused("audit", tmp_path / "nowhere")
    assert "which is read and stays as it is" in refused("audit", folder, "--fix", folder)
    assert "show is -1" in refused("audit", folder, "--show", "-1")
