from __future__ import annotations

import pytest

from distill_lab.measure.price import (
    Bill,
    per_million,
    repaid_after,
    saving,
    usd_per_hour,
    yearly,
)
from distill_lab.settings import Price

PRICE = Price(0.36, 7.2, 0.25, 2e6, None)


def test_on_a_cpu_a_core_is_paid_for_each_thread_and_a_gpu_is_paid_for_as_one():
    assert usd_per_hour(PRICE, on_gpu=False, threads=2) == pytest.approx(0.72)
    assert usd_per_hour(PRICE, on_gpu=True, threads=2) == 7.2


def test_a_million_inferences_are_paid_for_in_hours_and_kilowatt_hours():
    # 1,000 a second are 1,000 seconds, 1/3.6 hours, at 0.72 $. 7.2 J each are 7.2 MJ, 2 kWh, at
    # 0.25 $ and at 400 g of CO2.
    bill = per_million(PRICE, 0.72, 1000, joules=7.2, grams_per_kwh=400)
    assert (bill.usd, bill.kwh, bill.kg) == pytest.approx((0.2 + 0.5, 2.0, 0.8))


def test_energy_that_was_not_told_is_not_on_the_bill():
    assert per_million(PRICE, 0.72, 1000, None, None) == Bill(pytest.approx(0.2), None, None)


def test_a_year_has_as_many_inferences_as_365_days():
    bill = yearly(Bill(0.7, 2.0, 0.8), PRICE)  # 2 million a day, 730 million a year
    assert (bill.usd, bill.kwh, bill.kg) == pytest.approx((511, 1460, 584))
    assert yearly(Bill(0.7, None, None), PRICE) == Bill(pytest.approx(511), None, None)


def test_what_costs_more_saves_less_than_nothing():
    assert saving(Bill(5.0, 4.0, 3.0), Bill(1.0, 5.0, 3.0)) == Bill(4.0, -1.0, 0.0)
    assert saving(Bill(5.0, 4.0, 3.0), Bill(1.0, None, None)) == Bill(4.0, None, None)


def test_a_training_is_repaid_when_inferences_have_saved_its_energy():
    assert repaid_after(training=600, before=0.5, after=0.2) == pytest.approx(2000)
    assert repaid_after(training=600, before=0.2, after=0.2) is None
