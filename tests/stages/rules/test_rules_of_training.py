from __future__ import annotations

import pytest

from distill_lab.stages.rules.training import longer, patient, weights

TEXT = ("data=fake_text", "architecture@teacher=bert_tiny", "architecture@student=bilstm")
REUTERS = ("data=reuters_r8", "architecture@teacher=bert_tiny", "architecture@student=bilstm")
ITEMS = ("data=movielens_100k", "architecture@teacher=sasrec", "architecture@student=gru4rec")


def test_a_best_epoch_near_the_end_asks_for_twice_as_many(asked):
    assert asked(longer, kept_epoch=36) == ["regime.epochs=80"]
    assert asked(longer, kept_epoch=35) is None


def test_the_last_epoch_says_nothing_where_it_is_kept_in_any_case(asked):
    assert asked(longer, kept_epoch=40, regime={"keep": "last"}) is None


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_student_that_does_not_follow_its_teacher_where_it_was_taught_gets_more_time(asked, keep):
    assert asked(longer, agreement=0.89, regime={"keep": keep}) == ["regime.epochs=80"]
    assert asked(longer, agreement=0.90, regime={"keep": keep}) is None


def test_few_agree_on_the_first_of_a_thousand_items(asked):
    assert asked(longer, *ITEMS, agreement=0.2) is None


def test_what_is_learnt_by_heart_and_does_not_carry_over_asks_for_mixed_images(asked):
    expected = ["regime.mixup_alpha=1.0", "regime.epochs=80"]
    assert asked(patient, student=0.93, agreement=0.995) == expected


def test_who_does_not_follow_its_teacher_yet_is_to_be_taught_patiently(asked):
    assert asked(patient, agreement=0.89) == ["regime.mixup_alpha=1.0", "regime.epochs=80"]
    assert asked(patient, *ITEMS, agreement=0.2) is None


@pytest.mark.parametrize(
    "facts",
    [
        {"student": 0.945, "agreement": 0.995},  # 99.5 % of the teacher's 0.95
        {"student": 0.93, "agreement": 0.98},
    ],
)
def test_nothing_more_is_shown_to_who_has_learnt_enough_or_not_yet_what_there_is(asked, facts):
    assert asked(patient, **facts) is None


def test_images_that_are_mixed_are_shifted_next_and_then_no_more_is_known(asked):
    by_heart = {"student": 0.93, "agreement": 0.995}
    for mixing in ("mixup_alpha", "cutmix_alpha"):
        expected = ["regime.shift_pixels=1", "regime.epochs=80"]  # an eighth of 8 pixels
        assert asked(patient, **by_heart, regime={mixing: 0.2}) == expected
    both = {"mixup_alpha": 0.2, "shift_pixels": 1}
    assert asked(patient, **by_heart, regime=both) is None


def test_words_of_texts_are_hidden_where_the_data_know_how(asked):
    by_heart = {"student": 0.9, "agreement": 1.0}
    expected = ["regime.mask_words=0.1", "regime.ngram_rows=0.25", "regime.epochs=80"]
    assert asked(patient, *REUTERS, **by_heart) == expected
    assert asked(patient, *REUTERS, **by_heart, regime={"mask_words": 0.1}) is None


def test_histories_of_items_are_shown_as_they_are(asked):
    assert asked(patient, *ITEMS, student=0.9, agreement=1.0) is None


def test_weights_that_make_gradients_equally_long_are_proposed_where_they_differ(asked):
    assert asked(weights, suggested=0.5) == ["loss.ce.weight=0.5", "loss.kd.weight=0.5"]
    assert asked(weights) is None
