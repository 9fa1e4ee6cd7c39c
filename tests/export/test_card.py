"""The card that every file carries: what it says, and what is refused as one."""

import json

import pytest

from pocketface.export.artifact import LARGEST_CARD, Card, Note
from pocketface.export.certificate import Certificate, Point
from pocketface.export.provenance import provenance_sentences
from pocketface.faces.contract import InputContract
from pocketface.models.graph.rewrite import Rewrite

CARD = Card(
    "net",
    InputContract(112, 96, "bgr", (127.5, 127.5, 127.5), (0.0078125, 0.0078125, 0.0078125)),
    128,
    precision="w8a8",
    licence="MIT",
    rewrites=(Rewrite("equalise", 33),),
    source_sha256="ab" * 32,
    tools=("onnx 1.19.0",),
    ancestry=("Weights w.pth of net.py:build.",),
    certificate=Certificate((Point(0.01, 0.35),), 6000, 3000, 3000, None, "pairs.txt", "cd" * 32, "litert 2.3.0"),
)


def test_a_card_comes_back_as_it_was_and_is_the_same_text_each_time() -> None:
    text = CARD.to_json()
    assert Card.from_json(text) == CARD
    assert Card.from_json(text.encode()).to_json() == text
    assert Card.from_json(CARD.but(certificate=None).to_json()) == CARD.but(certificate=None)


def test_a_card_from_before_there_were_certificates_is_read() -> None:
    values = json.loads(CARD.to_json())
    del values["certificate"], values["ancestry"]
    assert Card.from_json(json.dumps(values)) == CARD.but(certificate=None, ancestry=())


def test_a_card_says_in_words_what_an_app_must_do() -> None:
    texts = CARD.sentences()
    assert texts["description"] == "Face embedder net, w8a8"
    assert "112 pixels high and 96 wide" in texts["input"] and "blue, green, red" in texts["input"]
    assert "mean (127.5, 127.5, 127.5), scale (0.0078125, 0.0078125, 0.0078125)" in texts["input"]
    assert texts["output"] == "The face's embedding, 128 numbers. Divide it by its length before you compare cosines."
    assert (
        "at least the threshold: 0.3500 at FAR 0.01 (6,000 pairs of pairs.txt, by litert 2.3.0)." in texts["threshold"]
    )
    assert CARD.but(normalised=True).sentences()["output"].endswith("It has length one.")
    assert set(CARD.but(certificate=None, ancestry=()).sentences()) == {"description", "license", "input", "output"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": 5}, "a name is no text"),
        ({"tools": [[]]}, "a name is no text"),
        ({"ancestry": 5}, "is no card"),
        ({"embedding_size": "128"}, "the embedding is not described"),
        ({"embedding_size": -1}, "the embedding is not described"),
        ({"normalised": "no"}, "the embedding is not described"),
        ({"certificate": []}, "the threshold certificate cannot be read"),
        ({"certificate": {"points": [{"far": "x"}]}}, "FAR 'x' is no rate"),
        ({"precision": "w2"}, "no precision 'w2'; known: fp32"),
        ({"contract": {"height": 1 << 40}}, "no size of a face crop"),
        ({"extra": 1}, "unexpected keyword argument 'extra'"),
    ],
)
def test_what_is_no_card_is_refused_in_one_sentence(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Card.from_json(json.dumps({**json.loads(CARD.to_json()), **change}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", '"card"', "[" * 100_000, b"\xff\xfe", "{}"])
def test_other_texts_are_no_cards(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="the file's pocketface metadata"):
        Card.from_json(text)


def test_a_card_of_a_megabyte_is_not_parsed() -> None:
    with pytest.raises(ValueError, match="a card has at most 1048576"):
        Card.from_json(" " * (LARGEST_CARD + 1))


def test_ancestry_is_told_oldest_first_and_without_folders() -> None:
    told = provenance_sentences(
        [
            {"stage": "source", "architecture": "/home/me/net.py:build", "weights": "w.pth", "sha256": "ab" * 32},
            {
                "stage": "prune", "recipe": {"criterion": "taylor", "control": False}, "faces": 12000,
                "parameters": [999936, 700012], "sha256": "cd" * 32,
            },
            {"stage": "recover", "recipe": {"signal": "arcface"}, "teacher": None, "faces": 7, "sha256": "ef" * 32},
        ]
    )  # fmt: skip
    assert told == (
        "Weights w.pth (sha256 abababababab) of net.py:build.",
        "Pruned by taylor from 999,936 to 700,012 parameters on 12,000 faces "
        "(weights, faces and recipe: sha256 cdcdcdcdcdcd).",
        "Trained by arcface on 7 faces (weights, faces and recipe: sha256 efefefefefef).",
    )


def test_a_foreign_checkpoints_odd_ancestry_is_cut_short_not_obeyed() -> None:
    odd = [{}, {"stage": "x" * 5000}, {"stage": "prune", "parameters": "many", "recipe": [1], "faces": {}}]
    told = provenance_sentences(odd)
    assert told[0] == "Unknown step." and len(told[1]) == 400
    assert told[2] == "Pruned by unknown from ? to ? parameters."


def test_a_card_of_an_older_form_is_read_and_stays_what_it_is() -> None:
    values = json.loads(CARD.to_json()) | {"rewrites": ["equalise 33 sites", "correct 50 biases"]}
    old = Card.from_json(json.dumps(values))
    assert old.rewrites == (Rewrite("other", text="equalise 33 sites"), Rewrite("other", text="correct 50 biases"))
    assert json.loads(old.to_json()) == values


@pytest.mark.parametrize(
    "rewrite", [5, None, {}, {"kind": 5}, {"kind": "equalise", "count": "33"}, {"kind": "a", "b": 1}]
)
def test_what_is_no_rewrite_is_refused(rewrite: object) -> None:
    with pytest.raises(ValueError, match="is no card"):
        Card.from_json(json.dumps(json.loads(CARD.to_json()) | {"rewrites": [rewrite]}))


def test_a_rewrite_and_a_note_have_a_kind_for_programs_and_a_sentence_for_people() -> None:
    assert str(Rewrite("equalise", 33)) == "equalise 33 sites"
    assert str(Rewrite("of-a-later-version", 2)) == "of-a-later-version: 2"
    assert Note.from_plain({"kind": "slow", "text": "takes long"}) == Note("slow", "takes long")
    assert Note.from_plain("3 XNNPACK partitions") == Note("other", "3 XNNPACK partitions")
