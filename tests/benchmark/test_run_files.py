"""Tables in a run folder: whole, missing and damaged."""

import tomllib
from pathlib import Path

import pytest

from pocketface.benchmark.run_files import named_values, read_mapping


def test_a_table_is_read_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("[prune]\nsteps = 6\n")
    assert read_mapping(tmp_path / "recipe.toml", tomllib.loads) == {"prune": {"steps": 6}}
    assert read_mapping(tmp_path / "manifest.json") == {}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", r"manifest\.json is no JSON: "),
        ("[" * 100_000, r"manifest\.json is no JSON: "),
        ("[]", r"manifest\.json holds no table"),
        ("\udcff", r"manifest\.json is no JSON: "),
    ],
)
def test_a_damaged_table_is_one_sentence(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=error):
        read_mapping(tmp_path / "manifest.json")


def test_lists_of_tables_are_numbered_and_other_lists_stay_whole() -> None:
    table = {"versions": {"torch": "2.13"}, "inputs": [{"path": "w"}, {"path": "x"}], "threads": [1, 2]}
    assert dict(named_values(table, " ")) == {
        "versions torch": "2.13",
        "inputs 1 path": "w",
        "inputs 2 path": "x",
        "threads": "[1, 2]",
    }
