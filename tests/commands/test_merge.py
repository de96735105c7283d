"""`mapopt merge` prints what the sources bring, and what came of it."""

from __future__ import annotations

import json

from PIL import Image

from mapopt.cli import main


def write(folder, name: str) -> None:
    folder.mkdir()
    Image.new("L", (20, 10), len(name)).save(folder / "a.png")
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": 20, "height": 10}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}],
        "categories": [{"id": 1, "name": name}],
    }
    (folder / "train.json").write_text(json.dumps(data))


def test_sources_and_collisions_are_printed(tmp_path, capsys, refused):
    write(tmp_path / "reef", "fish")
    write(tmp_path / "tank", "Fish")
    data = ["--data", str(tmp_path / "reef"), str(tmp_path / "tank"), "--out", str(tmp_path / "new")]
    (tmp_path / "names.yaml").write_text("Fsh: fish\n")
    assert "unknown category 'Fsh': did you mean 'Fish'" in refused(
        "merge", *data, "--renames", tmp_path / "names.yaml"
    )
    assert "no such file" in refused("merge", *data, "--renames", tmp_path / "nowhere.yaml")
    assert main(["merge", *data]) == 0
    said = capsys.readouterr().out
    assert "what the sources bring" in said
    assert "'Fish' and 'fish' are different categories: if they are the same, rename one with --renames." in said
    assert "'a.png' is 'tank-a.png'" in said
