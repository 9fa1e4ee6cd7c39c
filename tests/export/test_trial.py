"""A file that would crash or exhaust this process is one sentence; what ran once is not tried again."""

import os
from pathlib import Path

import pytest

from pocketface.export import trial
from pocketface.export.trial import try_in_child
from pocketface.faces.contract import ARCFACE, InputContract

DAMAGED = Path(os.environ.get("POCKETFACE_SHARED", "../shared")) / "cases" / "damaged"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tflite-crash-2-198.tflite", "tflite-crash-2-198.tflite"),
        (
            "tfliterun-crash-1-129.tflite",
            r"129\.tflite(: LiteRT cannot load| is damaged: it crashes litert with SIGSEGV)",
        ),
        ("tflite-traceback-1-103.tflite", "LiteRT cannot load it"),
    ],
)
def test_a_damaged_file_is_one_sentence(name: str, sentence: str) -> None:
    if not (DAMAGED / name).is_file():
        pytest.skip(f"there is no {DAMAGED / name}")
    with pytest.raises(ValueError, match=sentence) as caught:
        try_in_child(DAMAGED / name, ARCFACE)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_file_that_ran_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(b"anything")
    with pytest.raises(ValueError, match=r"^net\.tflite: LiteRT cannot load it"):
        try_in_child(path, InputContract(8, 8))
    trial.vouch_for(path)
    monkeypatch.setattr(trial, "run_child", lambda *_, **__: pytest.fail("a child was started"))
    try_in_child(path, InputContract(8, 8))
