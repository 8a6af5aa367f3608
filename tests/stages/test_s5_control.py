from __future__ import annotations

from distill_lab.stages.s5_control import on_labels


def test_where_all_samples_have_labels_the_control_has_the_regime_of_the_student(regime):
    given = regime(num_samples=40)
    assert on_labels(given, 40) is given


def test_where_few_have_labels_it_passes_over_them_as_often_as_takes_the_same_steps(regime):
    control = on_labels(regime(epochs=3, num_samples=50, num_labels=20), 50)
    assert (control.num_samples, control.epochs) == (20, 8)  # 3 x 50 / 20 = 7.5
