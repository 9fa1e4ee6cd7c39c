"""sensitivity.json, written, read and damaged."""

import json

import pytest

from pocketface.models.group_sensitivity import Sensitivity, read_sensitivity, write_sensitivity

ROWS = [
    Sensitivity("stem", ("stem", "back"), 8, 2, 0.25, 0.01),
    Sensitivity("inner", ("inner",), 16, 8, 0.5, 0.02, 0.98),
]


def test_rows_are_read_as_they_were_written(tmp_path):
    path = write_sensitivity(ROWS, tmp_path / "new" / "sensitivity.json")
    assert read_sensitivity(path) == ROWS
    assert json.loads(path.read_text())[0] == {
        "group": "stem",
        "layers": ["stem", "back"],
        "width": 8,
        "cut": 2,
        "share": 0.25,
        "drift": 0.01,
        "accuracy": None,
    }


@pytest.mark.parametrize("text", ["{", "[1]", '[{"group": "stem"}]', '{"rows": 1}'])
def test_a_damaged_file_is_one_sentence(tmp_path, text):
    path = tmp_path / "sensitivity.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"sensitivity\.json holds no sensitivities: "):
        read_sensitivity(path)
