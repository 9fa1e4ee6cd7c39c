"""Every script of evidence imports what it needs and says how it is run, without running it."""

import runpy
import sys
from pathlib import Path

import pytest

EVIDENCE = Path(__file__).parents[1] / "evidence"
SCRIPTS = sorted(path.name for path in EVIDENCE.glob("*.py") if "ArgumentParser" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_answers_help(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.syspath_prepend(str(EVIDENCE))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EVIDENCE / name), run_name="__main__")
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"python evidence/{name}" in said


def test_no_script_shadows_the_standard_library() -> None:
    assert not {path.stem for path in EVIDENCE.glob("*.py")} & sys.stdlib_module_names


def test_rows_lie_one_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(EVIDENCE))
    from rows import read_rows, write_rows

    for path in EVIDENCE.glob("*.jsonl"):
        write_rows(read_rows(path), tmp_path / path.name)
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
