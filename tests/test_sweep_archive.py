"""An archive of a sweep's cells: another machine takes what is finished, and trusts no path in it."""

import json
from pathlib import Path

import pytest

from pocketface.sweep_archive import CellArchive

CELL = "cut-0123"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    cell = tmp_path / "here" / CELL
    (cell / "cut").mkdir(parents=True)
    (cell / "cut" / "weights.safetensors").write_bytes(b"weights")
    record = {"key": "0123", "files": {"cut/weights.safetensors": 7}}
    (cell / "cell.json").write_text(json.dumps(record))
    return tmp_path / "here"


@pytest.mark.parametrize("url", ["memory://cells", "file://{tmp}/archive", "{tmp}/plain"])
def test_a_cell_that_is_kept_is_fetched_with_the_same_bytes(url: str, store: Path, tmp_path: Path) -> None:
    archive = CellArchive.opened(url.format(tmp=tmp_path))
    assert not archive.has(CELL) and not archive.fetch(CELL, tmp_path / "there")
    archive.keep(CELL, store)
    assert archive.has(CELL) and archive.fetch(CELL, tmp_path / "there")
    for name in ("cell.json", "cut/weights.safetensors"):
        assert (tmp_path / "there" / CELL / name).read_bytes() == (store / CELL / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "there").rglob("*") if path.is_file()) == [
        "cell.json",
        "weights.safetensors",
    ]


@pytest.mark.parametrize(
    "files",
    [
        {"cut/weights.safetensors": 8},  # another size: still being written, or cut off
        {"cut/missing": 1},
        {"../../outside": 7},
        {"/etc/passwd": 7},
        {"C:/outside": 7},
        {"cut\\..\\outside": 7},
        {"": 7},
        ["cut"],
    ],
)
def test_a_cell_that_is_damaged_or_leads_out_of_its_folder_is_not_there(
    files: object, store: Path, tmp_path: Path
) -> None:
    archive = CellArchive.opened(str(tmp_path / "archive"))
    archive.keep(CELL, store)
    (tmp_path / "archive" / "outside").write_bytes(b"weights")
    (tmp_path / "archive" / CELL / "cell.json").write_text(json.dumps({"key": "0123", "files": files}))
    assert not archive.fetch(CELL, tmp_path / "there")
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    ("url", "reason"),
    [("nosuch://cells", "Protocol not known: nosuch"), ("file:///proc/cells", "No such file or directory")],
)
def test_an_archive_that_cannot_be_reached_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"the archive {url} cannot be reached: .*{reason}"):
        CellArchive.opened(url)
