from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from distill_lab.data.label_noise import with_label_noise
from distill_lab.stages.context import Context
from distill_lab.stages.faithfulness import closer, excess, faithfulness, pairs
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER

NAMES = (TEACHER, CONTROL, DISTILLED)


def saying(*answers):
    return torch.nn.functional.one_hot(torch.tensor(answers), 3).float()


LOGITS = {
    TEACHER: saying(0, 1, 2, 0),
    CONTROL: saying(0, 0, 2, 1),
    DISTILLED: saying(0, 1, 2, 1),
}
TARGETS = torch.tensor([0, 1, 2, 1])


@pytest.fixture
def found_of(info, splits, hardware, regime, net_of, measured_of):
    def make(same=False, **changes):
        parts = SimpleNamespace(
            seed=0,
            data=SimpleNamespace(info=info),
            hardware=hardware,
            regime=regime(**changes),
            evaluation=SimpleNamespace(num_train_samples=20, num_resamples=50),
        )
        context = Context(parts, splits, "checksum", run=None, store=None)
        nets = {name: net_of(seed=0 if same else n).eval() for n, name in enumerate(NAMES)}
        return faithfulness(context, measured_of(context, nets)), context, nets

    return make


def test_pairs_worked_by_hand():
    found = {(one.first, one.second): one for one in pairs(LOGITS, TARGETS)}
    assert found[DISTILLED, TEACHER].agreement == 0.75
    assert found[DISTILLED, CONTROL].agreement == 0.75
    assert found[TEACHER, CONTROL].agreement == 0.5
    # The student is always right, the teacher three times, the control three times.
    assert found[DISTILLED, TEACHER].if_independent == pytest.approx(0.75)
    assert found[TEACHER, CONTROL].if_independent == pytest.approx(0.75**2 + 0.25**2 / 2)


def test_closer_counts_the_samples_on_which_one_of_two_says_what_the_teacher_says():
    found = closer(LOGITS)
    assert (found.only_first, found.only_second) == (1, 0)  # the second sample


def answering(targets, accuracy, seed):
    """Logits that are right by chance, and otherwise any of the other classes."""
    generator = torch.Generator().manual_seed(seed)
    wrong = (targets + torch.randint(1, 3, targets.shape, generator=generator)) % 3
    right = torch.rand(targets.shape, generator=generator) < accuracy
    return torch.nn.functional.one_hot(torch.where(right, targets, wrong), 3).float()


def test_agreement_that_accuracy_brings_is_no_excess():
    targets = torch.arange(4000) % 3
    accuracies = {TEACHER: 0.8, CONTROL: 0.4, DISTILLED: 0.8}
    logits = {name: answering(targets, a, n) for n, (name, a) in enumerate(accuracies.items())}
    agreed = {(one.first, one.second): one.agreement for one in pairs(logits, targets)}
    assert agreed[DISTILLED, TEACHER] > agreed[TEACHER, CONTROL] + 0.2
    found = excess(logits, targets, 400, 0)
    assert found.low < 0 < found.high


def test_a_student_that_copies_its_teachers_errors_has_an_excess():
    targets = torch.arange(4000) % 3
    teacher, control = answering(targets, 0.8, 0), answering(targets, 0.8, 1)
    logits = {TEACHER: teacher, CONTROL: control, DISTILLED: teacher}
    # It always agrees; independent networks would on 0.64 and half of 0.04 of the samples.
    found = excess(logits, targets, 400, 0)
    assert found.low < 1 - 0.66 < found.high
    assert found.low > 0.3


def test_fidelity_is_measured_on_all_three_splits(found_of, splits):
    found, context, nets = found_of()
    sizes = {one.split: one.num_samples for one in found.by_split}
    assert sizes == {"train": 20, "validation": 24, "test": 24}
    said = {name: context.predict(net, splits.validation).argmax(1) for name, net in nets.items()}
    same = (said[CONTROL] == said[TEACHER]).double().mean().item()
    assert found.on("validation").control.agreement == pytest.approx(same)


def test_networks_that_are_the_same_agree_and_their_layers_are_alike(found_of):
    found, *_ = found_of(same=True)
    for one in found.by_split:
        assert (one.student.agreement, one.student.kl_to_teacher) == (1.0, 0.0)
    for one in found.layers:
        assert one.layers == one.teacher_layers
        for number, line in enumerate(one.cka):
            assert line[number] == pytest.approx(1.0)


def test_layers_are_compared_for_control_and_student(found_of, net_of):
    found, *_ = found_of()
    assert [one.network for one in found.layers] == [CONTROL, DISTILLED]
    assert found.num_layer_samples == 24
    assert all(0 <= value <= 1 for one in found.layers for line in one.cka for value in line)


def test_without_label_noise_nothing_is_memorised(found_of):
    assert found_of()[0].memorised == []


def test_wrong_labels_are_held_against_what_the_networks_say(found_of, splits, info):
    found, context, nets = found_of(label_noise=0.5)
    some = context.seen[context.sample(len(context.seen), 20)]
    true = splits.train.targets
    given = with_label_noise(true, 0.5, info.num_classes, 0, [])
    for one, name in zip(found.memorised, (CONTROL, DISTILLED), strict=True):
        said = context.predict(nets[name], splits.train).argmax(1)
        wrong = [n for n in some.tolist() if given[n] != true[n]]
        assert one.network == name
        assert one.num_samples == len(wrong) > 0
        assert one.given == sum(int(said[n] == given[n]) for n in wrong)
        assert one.true == sum(int(said[n] == true[n]) for n in wrong)


def test_a_later_job_asks_no_network_again_about_the_same_samples(found_of, monkeypatch):
    monkeypatch.setattr("distill_lab.stages.context._remembered", {})
    asked, predict = [], Context.predict
    monkeypatch.setattr(
        Context, "predict", lambda self, net, some: asked.append(some) or predict(self, net, some)
    )
    first, *_ = found_of()
    count = len(asked)
    assert count == 9  # each network about train, validation and, by the test, test
    second, *_ = found_of()
    assert len(asked) == count + 3
    assert second == first
    found_of(leave_out_classes=[0])  # other training samples
    assert len(asked) == count + 3 + 3 + 3
