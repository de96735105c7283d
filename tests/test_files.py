"""Files: what is written whole, and what a file that is read back may be wrong with."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

import mapopt
from mapopt.errors import AgentError, StoreError
from mapopt.files import checked, read_json_lines, read_record, sealed, write_json, write_text

ELSEWHERE = {
    'training/checkpoint.py: self.checkpoint(snapshot, history).save(self.folder / f"{name}.pt")',
    'native.py: unfinished.write_bytes(b"\\n".join(parts))',
    "agents/registry.py: written.save(path)",
    "agents/learning/seeds.py: agent.save(out / name)",
    "agents/learning/training.py: agent.save(out / name)",
    'envs/wrappers/schedules.py: recording.save(self._folder / f"episode-{self._ended:06d}.json")',
    'data/writing.py: with source.open("rb") as reader, target.open("xb") as writer:',
    'experiments/bench/peers/workers.py: with suppress(OSError), open("/proc/self/clear_refs", "w") as file:',
}
"""Lines that look like writing a file: our own objects, which go through that module, images in a folder that is
renamed when it is whole, and one of Linux's switches."""

WHAT = "a schedule that RecordSchedule wrote"


def test_a_record_that_was_written_is_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"format": "mapopt schedule", "version": 2, "name": "\u00e9"})
    record = read_record(tmp_path / "a.json", what=WHAT, format="mapopt schedule", version=2)
    assert record["name"] == "\u00e9"
    write_json(tmp_path / "plain.json", {"name": "plain"})
    assert read_record(tmp_path / "plain.json", what=WHAT) == {"name": "plain"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, f"a.json: no such file; expected {WHAT}."),
        ("{", f"a.json: is not JSON; expected {WHAT}. Record it again."),
        ("\udc80", f"a.json: is not JSON; expected {WHAT}. Record it again."),
        ([], f"a.json: is something else; expected {WHAT}. Record it again."),
        ({}, f"a.json: is something else; expected {WHAT}. Record it again."),
        ({"format": "mapopt agent", "version": 2}, f"a.json: is something else; expected {WHAT}. Record it again."),
        ({"format": "mapopt schedule"}, f"a.json: is of version none; expected {WHAT} in version 2. Record it again."),
        (
            {"format": "mapopt schedule", "version": 9},
            f"is of version 9; expected {WHAT} in version 2. Record it again.",
        ),
    ],
)
def test_what_is_wrong_with_a_record_is_one_line(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(AgentError) as caught:
        read_record(path, what=WHAT, format="mapopt schedule", version=2, remedy="Record it again.", error=AgentError)
    assert str(caught.value).endswith(message)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r": is a folder; expected a schedule .* Give the path of a file"):
        read_record(tmp_path, what=WHAT)


def test_lines_are_read_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / "rounds.jsonl", '{"a": 1}\n[2]\n')
    assert read_json_lines(tmp_path / "rounds.jsonl", what="rounds") == [{"a": 1}, [2]]
    write_text(tmp_path / "rounds.jsonl", '{"a": 1}\n{"a"\n')
    with pytest.raises(
        StoreError, match=r"rounds.jsonl, line 2: is not JSON; expected rounds. .* cut off: copy it again"
    ):
        read_json_lines(tmp_path / "rounds.jsonl", what="rounds")
    with pytest.raises(StoreError, match="no such file; expected rounds"):
        read_json_lines(tmp_path / "none.jsonl", what="rounds")


def test_a_changed_value_is_not_what_the_checksum_says() -> None:
    content = sealed({"version": 2, "seeds": {10: 1.0, 2: None}, "name": "\u00e9"})
    assert checked(json.loads(json.dumps(content)), "a.json") == {
        "version": 2,
        "seeds": {"10": 1.0, "2": None},
        "name": "\u00e9",
    }
    with pytest.raises(AgentError) as caught:
        checked({**content, "version": 3}, "a.json", remedy="Copy it again.", error=AgentError)
    expected = "a.json: its content is not what its checksum says, so it was changed or damaged. Copy it again."
    assert str(caught.value) == expected


def test_a_checksum_is_missing_only_where_an_earlier_version_wrote_none() -> None:
    assert checked({"version": 1}, "a.json", required=False) == {"version": 1}
    with pytest.raises(StoreError, match=r"^a.json: has no checksum, so it was changed or cut off. Write"):
        checked({"version": 1}, "a.json")
    with pytest.raises(StoreError, match="not what its checksum says"):
        checked({"version": 1, "checksum": ""}, "a.json", required=False)


def test_the_package_writes_files_through_one_module() -> None:
    """Whatever else opens a file to write can leave half of one."""
    writing = re.compile(
        r"\.write_text\(|\.write_bytes\(|\.to_csv\(|json\.dump\(|open\([^)]*[\"'][wax]b?\+?[\"']"
        r"|\.(save|savefig|imwrite)\((?!content|buffer|\"<bytes>\")[^)]*(path|folder|file|out)\b"
    )
    root = Path(mapopt.__file__).parent
    # Parts of the package are links, which rglob does not follow.
    paths = [Path(folder, name) for folder, _, names in os.walk(root, followlinks=True) for name in names]
    places = {
        f"{path.relative_to(root)}: {line.strip()}"
        for path in paths
        if path.suffix == ".py" and path != root / "files.py"
        for line in path.read_text().splitlines()
        if writing.search(line)
    }
    assert places == ELSEWHERE
