from __future__ import annotations

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from distill_lab.contracts import ACCURACY, NDCG10
from distill_lab.errors import Pruned, RunError
from distill_lab.training.callbacks import KeepWeights, Prune, SendCurve
from distill_lab.training.supervised import Supervised


@pytest.fixture
def after(net_of, regime):
    """Runs a callback over epochs of the given (accuracy, NLL); weights are the epoch's number."""

    def run(callback: pl.Callback, *scores: tuple[float, float]) -> int | None:
        trainee = Supervised(net_of(), regime(), 3, seed=0)
        for epoch, (accuracy, nll) in enumerate(scores):
            falling = {"val/ndcg10": -float(epoch)}
            trainee.curve.append({"val/accuracy": accuracy, "val/nll": nll, **falling})
            with torch.no_grad():
                trainee.net.classifier.bias.fill_(epoch)
            trainer = SimpleNamespace(current_epoch=epoch, should_stop=False)
            callback.on_validation_end(trainer, trainee)
            if trainer.should_stop:
                return epoch
        return None

    return run


def kept(keep: KeepWeights) -> tuple[int, float]:
    return keep.epoch, float(keep.state["classifier.bias"][0])


def test_the_weights_of_the_highest_accuracy_are_kept(after):
    keep = KeepWeights(True, None, ACCURACY)
    after(keep, (0.5, 1.0), (0.8, 1.0), (0.7, 0.1))
    assert kept(keep) == (1, 1.0)


def test_what_quality_is_decides_which_epoch_is_kept_and_when_to_stop(after):
    keep = KeepWeights(True, 2, NDCG10)
    assert after(keep, (0.5, 1.0), (0.8, 1.0), (0.9, 1.0)) == 2
    assert kept(keep) == (0, 0.0)


def test_at_equal_accuracy_the_lower_nll_is_better(after):
    keep = KeepWeights(True, None, ACCURACY)
    after(keep, (0.8, 0.9), (0.8, 0.5), (0.8, 0.7))
    assert kept(keep) == (1, 1.0)


def test_of_equal_epochs_the_first_is_kept(after):
    keep = KeepWeights(True, None, ACCURACY)
    after(keep, (0.8, 0.5), (0.8, 0.5))
    assert kept(keep) == (0, 0.0)


def test_the_last_weights_are_kept_if_so_asked(after):
    keep = KeepWeights(False, None, ACCURACY)
    after(keep, (0.5, 1.0), (0.8, 1.0), (0.7, 0.1))
    assert kept(keep) == (2, 2.0)


def test_it_stops_after_so_many_epochs_without_a_better_one(after):
    scores = [(0.5, 1.0), (0.8, 1.0), (0.7, 1.0), (0.6, 1.0), (0.9, 1.0)]
    assert after(KeepWeights(True, 2, ACCURACY), *scores) == 3


def test_a_better_epoch_starts_the_count_anew(after):
    scores = [(0.5, 1.0), (0.4, 1.0), (0.6, 1.0), (0.5, 1.0)]
    assert after(KeepWeights(True, 2, ACCURACY), *scores) is None


def test_without_patience_it_never_stops(after):
    assert after(KeepWeights(True, None, ACCURACY), *[(0.5, 1.0)] * 20) is None


def test_patience_counts_from_the_best_epoch_even_where_the_last_is_kept(after):
    assert after(KeepWeights(False, 1, ACCURACY), (0.8, 1.0), (0.7, 1.0), (0.9, 1.0)) == 1


def test_each_epochs_row_is_sent_once(after):
    sent = []
    after(
        SendCurve(lambda row, epoch: sent.append((epoch, row["val/accuracy"]))), (0.5, 1), (0.6, 1)
    )
    assert sent == [(0, 0.5), (1, 0.6)]


def test_the_bar_names_the_training_and_its_newest_accuracy(net_of, regime, train, capsys):
    curve = train(Supervised(net_of(), regime(), 3, seed=0)).curve
    line = capsys.readouterr().err
    assert "a test" in line
    assert "100%" in line
    assert line.endswith(f"epoch 2, val accuracy {curve[-1]['val/accuracy']:.4f}\n")


def test_the_bar_closes_its_line_when_the_training_fails(net_of, regime, train, capsys):
    def fail(row: dict[str, float], epoch: int) -> None:
        raise RunError("no")

    with pytest.raises(RunError, match="no"):
        train(Supervised(net_of(), regime(), 3, seed=0), log=fail)
    assert capsys.readouterr().err.endswith("\n")


def watching(answers, quality=ACCURACY):
    """What the watch is told of epochs whose accuracy is 0.5, 0.8, 0.9; it gives the answers."""
    told = []

    def watch(epoch, value):
        told.append((epoch, value))
        return answers[epoch - 1]

    def on(callback):
        trainee = SimpleNamespace(curve=[])
        for epoch, accuracy in enumerate((0.5, 0.8, 0.9)):
            trainee.curve.append({"val/accuracy": accuracy, "val/ndcg10": -accuracy})
            trainer = SimpleNamespace(current_epoch=epoch, max_epochs=3, should_stop=False)
            callback.on_validation_end(trainer, trainee)

    return told, lambda: on(Prune(watch, quality))


def test_a_training_goes_on_as_long_as_the_watch_lets_it():
    told, go = watching([False, False, False])
    go()
    assert told == [(1, 0.5), (2, 0.8), (3, 0.9)]


def test_a_training_ends_where_the_watch_says_so():
    told, go = watching([False, True, False], NDCG10)
    with pytest.raises(Pruned, match="pruned after epoch 2 of 3"):
        go()
    assert told == [(1, -0.5), (2, -0.8)]


def test_a_training_that_is_done_is_not_pruned():
    told, go = watching([False, False, True])
    go()
    assert len(told) == 3


def test_a_training_that_goes_on_tells_of_the_epochs_before_and_its_newest_answer_counts():
    told = []

    def watch(epoch, value):
        told.append((epoch, value))
        return epoch == 1

    trainee = SimpleNamespace(curve=[{"val/accuracy": value} for value in (0.5, 0.8, 0.9)])
    trainer = SimpleNamespace(current_epoch=2, max_epochs=4, should_stop=False)
    Prune(watch, ACCURACY).on_validation_end(trainer, trainee)
    assert told == [(1, 0.5), (2, 0.8), (3, 0.9)]
