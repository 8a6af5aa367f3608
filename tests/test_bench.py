"""The bench: its loops train what they say, its page says what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.__main__ import SECTIONS, read
from bench.bare import Bare
from bench.layout import imagenet
from bench.pairs import LOOPS, summary
from bench.startup import program
from bench.tables import block, filled, slope
from bench.targets import TARGETS, judge
from bench.task import PAIRS, Task, overrides_of, task_of
from bench.workers import PEER_VENV, Worker
from distill_lab.contracts import DistillBatch, Output
from distill_lab.losses.ce import CE
from distill_lab.losses.kd import KD
from distill_lab.losses.objective import Objective

DOCS = Path(__file__).parents[1] / "docs"
SPEEDS = {
    "bare_student": [400.0, 500.0, 480.0],
    "bare_kd": [240.0, 250.0, 260.0],
    "ours_uncached": [200.0, 255.0, 260.0],
    "ours_filling": [250.0, 252.0, 100.0],
    "ours_cached": [470.0, 432.0, 400.0],
    "torchdistill": [180.0, 200.0, 220.0],
}


def mlp(*widths):
    args = {"widths": list(widths), "dropout": 0.0, "input_dropout": 0.0, "max_norm": None}
    return ("distill_lab.models.mlp.MLP", args)


TOY = Task(
    teacher=mlp(8),
    student=mlp(4),
    input_shape=(3, 6, 5),
    num_classes=3,
    num_images=8,
    batch_size=4,
    shift_pixels=2,
    horizontal_flip=True,
    mean=0.5,
    std=0.25,
    lr=0.1,
    momentum=0.9,
    weight_decay=0.0,
    ce_weight=0.1,
    kd_weight=0.9,
    temperature=4.0,
)


@pytest.fixture
def answers():
    """What the loops said in three repeats."""
    others = {"peak_memory_mib": 700.0, "cache_bytes": 4096, "num_workers": 2, "tried": {}}
    return {
        loop: [{"images_per_second": speed, **others} for speed in speeds]
        for loop, speeds in SPEEDS.items()
    }


def test_a_pair_has_the_median_of_each_loop(answers):
    pair = summary(answers)
    assert [pair[loop] for loop in LOOPS] == [480.0, 250.0, 255.0, 250.0, 432.0, 200.0]


def test_a_ratio_is_the_median_of_those_within_a_repeat(answers):
    ratios = summary(answers)["ratios"]
    assert ratios["cached_to_bare_student"] == pytest.approx(432 / 500)  # 1.175, 0.864, 0.833
    assert ratios["uncached_to_bare_kd"] == pytest.approx(260 / 260)  # 0.833, 1.020, 1.000
    assert ratios["cached_to_torchdistill"] == pytest.approx(432 / 200)  # 2.611, 2.160, 1.818
    assert ratios["filling_to_uncached"] == pytest.approx(252 / 255)  # 1.250, 0.988, 0.385


def test_a_processor_that_slows_down_changes_no_ratio(answers):
    before = summary(answers)["ratios"]
    for said in answers.values():
        said[1]["images_per_second"] /= 3
    assert summary(answers)["ratios"] == pytest.approx(before)


def test_the_range_of_a_ratio_is_over_repeats(answers):
    ranges = summary(answers)["ratio_ranges"]
    assert ranges["cached_to_bare_student"] == pytest.approx([400 / 480, 470 / 400])


def test_a_ratio_is_judged_as_it_is_printed():
    def met(value):
        name = "cached_to_bare_student"
        pair = {"ratios": {name: value}, "ratio_ranges": {name: [0.9, 1.0]}}
        (row,) = judge({"pairs": {"resnet": pair}})
        return row["met"]

    assert met(0.9451)
    assert not met(0.9449)


def test_a_sweep_that_takes_too_long_misses_its_target():
    assert [row["met"] for row in judge({"sweep": {"sweep_to_separate": 0.41}})] == [False]
    assert [row["met"] for row in judge({"sweep": {"sweep_to_separate": 0.39}})] == [True]


def test_every_target_is_of_a_section():
    assert {target.section for target in TARGETS} <= set(SECTIONS)


def test_a_missed_target_is_shown_as_missed():
    missed = {"what": "sweep", "value": 0.5, "at_most": 0.4, "met": False}
    assert "| sweep | <= 0.40 | 0.50 |  | **missed** |" in block("targets", {"targets": [missed]})


def test_only_blocks_of_a_page_are_made_anew():
    page = "before\n<!-- sweep -->\nold\n<!-- end -->\nafter\n"
    results = {"sweep": {"separate_seconds": [10.0, 12.0], "sweep_seconds": {"2": 11.0}}}
    assert filled(page, results) == (
        "before\n<!-- sweep -->\n"
        "| jobs | sweep, seconds | separate runs, seconds | ratio |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| 2 | 11.0 | 22.0 | 0.50 |\n"
        "<!-- end -->\nafter\n"
    )


def test_the_page_shows_what_is_kept():
    page = (DOCS / "speed.md").read_text(encoding="utf-8")
    assert filled(page, read(DOCS / "speed.json")) == page


def test_no_trial_run_is_in_the_documentation():
    sections = read(DOCS / "speed.json").get("sections", {})
    assert [name for name, about in sections.items() if about["quick"]] == []


def test_the_slope_of_a_cube_is_three():
    assert slope([1.0, 2.0, 5.0], [7.0, 56.0, 875.0]) == pytest.approx(3.0)


def test_an_answer_about_imagenet_is_its_values_in_whole_words_and_a_checksum():
    sizes = {(row["dtype"], row["top_k"]): row["view_bytes"] / 1_281_167 for row in imagenet()}
    assert sizes["fp32", None] == 1000 * 4 + 8
    assert sizes["fp16", None] == 1000 * 2 + 8
    assert sizes["fp32", 50] == 50 * 4 + 4 + 50 * 2 + 8  # values, the rest, classes: 38 words
    assert sizes["fp16", 10] == 10 * 2 + 4 + 10 * 2 + 4 + 8  # filled up to 6 words


@pytest.mark.parametrize("pair", PAIRS)
def test_both_pairs_are_sound_and_their_epochs_are_whole_batches(pair):
    task = task_of(overrides_of(pair))
    assert task.num_images % task.batch_size == 0
    assert (task.ce_weight, task.kd_weight, task.temperature) == (0.1, 0.9, 4)
    assert (task.momentum, task.weight_decay) == (0.9, 5e-4)
    page = (DOCS / "speed.md").read_text(encoding="utf-8")
    assert f"{task.num_images:,} images an epoch" in page


def test_the_bare_loop_crops_the_padded_image():
    loop = Bare(replace(TOY, horizontal_flip=False), with_teacher=False)
    (image,) = loop.augmented(torch.tensor([3]))
    every = loop.windows[3].permute(1, 2, 0, 3, 4).flatten(0, 1)
    assert len(every) == 25
    assert sum(torch.equal(image, window) for window in every) == 1


def test_the_border_of_the_bare_loop_is_black():
    loop = Bare(TOY, with_teacher=False)
    corner = loop.windows[0, :, 0, 0, 0, 0]
    torch.testing.assert_close(corner, torch.full((3,), (0 - 0.5) / 0.25))


def test_the_bare_loop_has_the_objective_of_the_package():
    loop = Bare(TOY, with_teacher=True)
    inputs, targets = torch.randn(4, *TOY.input_shape), torch.tensor([0, 1, 2, 0])
    objective = Objective({"ce": CE(0.1), "kd": KD(0.9)})
    outputs = Output(loop.student(inputs)), (Output(loop.teacher(inputs)),)
    value = objective(DistillBatch(*outputs, targets, torch.arange(4), 4.0))
    torch.testing.assert_close(loop.loss(inputs, targets), value.total)


@pytest.mark.parametrize("with_teacher", [False, True])
def test_a_bare_loop_trains_its_student_alone(with_teacher):
    loop = Bare(TOY, with_teacher)
    nets = [net for net in (loop.student, loop.teacher) if net is not None]
    before = [net.classifier.weight.clone() for net in nets]
    assert loop.repeat()["images_per_second"] > 0
    changed = [
        not torch.equal(a, net.classifier.weight) for a, net in zip(before, nets, strict=True)
    ]
    assert changed == [True, False][: len(nets)]


@pytest.mark.parametrize("loop", ["ours_uncached", "ours_filling", "ours_cached"])
def test_each_of_our_loops_runs(loop, tmp_path):
    from bench.ours import Ours
    from distill_lab.launch import checked

    parts = checked(["data=fake", "regime=sgd_step", "hardware.threads=1", "regime.shift_pixels=1"])
    ours = Ours(parts, loop, tmp_path)
    for _ in range(2):
        answer = ours.repeat()
        assert answer["images_per_second"] > 0
        assert answer.get("cache_bytes", 0) == (0 if loop == "ours_uncached" else 2 * 128 * 24)


def test_a_cache_that_was_not_read_is_no_cached_run(tmp_path):
    from bench.ours import Ours
    from distill_lab.launch import checked

    parts = checked(["data=fake", "regime=sgd_step", "hardware.threads=1", "regime.shift_pixels=1"])
    ours = Ours(parts, "ours_cached", tmp_path)
    for file in tmp_path.glob("*"):
        file.unlink()
    with pytest.raises(RuntimeError, match="answers read and computed"):
        ours.repeat()


def test_a_loop_answers_in_json_whatever_else_is_printed():
    code = (
        "from bench.serve import serve\n"
        "def repeat():\n    print('noise')\n    return {'images_per_second': 2.0}\n"
        "serve(lambda: repeat)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="run\nrun\n",
        capture_output=True,
        text=True,
        check=True,
        cwd=DOCS.parent,
    )
    ready, first, second = map(json.loads, done.stdout.splitlines())
    assert ready == {"ready": True}
    assert first["images_per_second"] == second["images_per_second"] == 2.0
    assert done.stderr == "noise\nnoise\n"


def test_an_unexpected_exit_code_stops_the_bench(tmp_path):
    with pytest.raises(RuntimeError, match="exit code 2, not 0"):
        program(["no_such_command"], tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(
    not (PEER_VENV / ".installed").exists(), reason="torchdistill is installed by `make bench`"
)
def test_torchdistill_trains_the_same_networks():
    worker = Worker("torchdistill", {"task": TOY.plain})
    assert worker.repeat()["images_per_second"] > 0
    worker.close()


@pytest.mark.slow
def test_a_loop_that_fails_shows_why():
    with pytest.raises(RuntimeError, match=r"exit code 1(?s:.*)missing"):
        Worker("bare_student", {"task": {}})
