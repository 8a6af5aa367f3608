"""The six stages together, on the fake dataset: what is tracked, what is reused, what fails how."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread, Timer
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from distill_lab import plan, workflow
from distill_lab.contracts import Component
from distill_lab.data.checksum import checksum
from distill_lab.data.normalise import normalise
from distill_lab.data.subset import subset
from distill_lab.errors import ConfigError, DataError, RunError
from distill_lab.launch import checked, run_job
from distill_lab.plan import STAGES
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import from_plain, to_plain
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER, Report
from distill_lab.tracking.store import Store
from tests.whole_runs import SHORT, store_of

pytestmark = pytest.mark.usefixtures("no_figures")

NAMES = [stage.name for stage in STAGES]
WIDTHS = "student.widths={grid: [[8], [16], [900]]}"
CNN_STUDENT = ("architecture@student=cnn_small", "student.channels={grid: [[4, 4]]}")
QUICK = [
    *SHORT,
    "knowledge.student_epochs=1",
    WIDTHS,
    "teacher.channels={grid: [[4, 8], [8, 16]]}",
    "evaluation.register_as=null",
]
MEASURED = (
    "latency",
    "seconds",
    "throughput",
    "energy",
    "usd",
)  # metrics that differ from run to run


def go(*overrides):
    given = [
        *(one for one in QUICK if one != WIDTHS or CNN_STUDENT[0] not in overrides),
        *overrides,
    ]
    parts = checked(given)
    return run_job(parts, given)


def stages_of(store, run_id):
    return {record.tags["stage"]: record for record in store.children(run_id)}


def steady(metrics):
    return {k: v for k, v in metrics.items() if not any(word in k for word in MEASURED)}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A working directory in which one default workflow has run; tests may add runs, not remove."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def first(home):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        return go()


@pytest.fixture
def here(home, first, monkeypatch):
    monkeypatch.chdir(home)
    return first


def test_every_stage_is_a_finished_child_with_tags_params_metrics_and_handoff(here):
    store = store_of()
    children = stages_of(store, here.run_id)
    assert list(children) == NAMES
    for stage in STAGES:
        record = children[stage.name]
        assert record.status == "FINISHED"
        for tag in ("fingerprint", "seed", "data_checksum", "version.torch", "version.mlflow"):
            assert record.tags[tag], (stage.name, tag)
        assert record.tags["mlflow.source.git.commit"]
        assert record.metrics, stage.name
        params = store.client.get_run(record.id).data.params
        for section in stage.reads:
            assert any(key.split(".")[0] == section for key in params), (stage.name, section)
        handoff = from_plain(stage.handoff, store.read_json(record.id, "handoff.json"))
        assert to_plain(handoff) == store.read_json(record.id, "handoff.json")
        inputs = store.client.get_run(record.id).inputs.dataset_inputs
        assert record.tags["data_checksum"].startswith(inputs[0].dataset.digest)


@pytest.mark.parametrize(
    ("stage", "paths"),
    [
        ("1 teacher", ["leaderboard.csv", "curves.png"]),
        ("2 knowledge", ["softness.png", "softness.csv", "cka.png", "probes.csv", "pairs.csv"]),
        ("3 student", ["candidates.csv", "pareto.png"]),
        ("4 loss", ["terms.csv"]),
        ("5 control", ["weights/control.safetensors", "validation.png"]),
        ("5 train", ["weights/student.safetensors", "training_loss.png", "validation.png"]),
        ("6 evaluate", ["table.csv", "predictions.safetensors"]),
    ],
)
def test_stages_leave_their_tables_and_plots(here, stage, paths):
    store = store_of()
    record = stages_of(store, here.run_id)[stage]
    for path in paths:
        assert store.fetch(record.id, path).stat().st_size > 0


def test_workflow_run_carries_the_config_the_few_metrics_and_the_report(here):
    store = store_of()
    data = store.client.get_run(here.run_id).data
    assert data.params["temperature.value"] == "4.0"
    assert data.params["regime.epochs"] == "2"
    assert data.params["loss.kd"] == "distill_lab.losses.kd.KD"
    assert data.params["choices.loss"] == "ce+kd"
    assert data.params["choices.architecture.student"] == "mlp_student"
    assert data.metrics == pytest.approx(here.report.metrics)
    assert "student distilled" in store.fetch(here.run_id, "report.html").read_text()
    for name in ("pareto_front_1", "calibration_1", "confusion_1"):
        assert store.fetch(here.run_id, f"figures/{name}.png").stat().st_size > 0


def test_what_each_network_says_of_the_test_split_is_kept(here):
    store = store_of()
    run_id = stages_of(store, here.run_id)["6 evaluate"].id
    said = load_file(store.fetch(run_id, "predictions.safetensors"))
    for name in (TEACHER, CONTROL, DISTILLED):
        accuracy = (said[name] == said["target"]).double().mean().item()
        assert accuracy == pytest.approx(here.report.row(name).scores.accuracy)


def test_budget_keeps_the_largest_student_within_forty_percent(here):
    store = store_of()
    design = store.read_json(stages_of(store, here.run_id)["3 student"].id, "handoff.json")
    teacher = here.report.row(TEACHER).cost.parameters
    assert design["architecture"]["args"]["widths"] == [16]
    assert design["cost"]["parameters"] <= 0.4 * teacher
    assert (design["num_in_budget"], design["num_candidates"]) == (2, 3)


def test_report_puts_teacher_control_and_student_side_by_side(here):
    rows = {row.name: row for row in here.report.rows}
    assert list(rows) == [TEACHER, CONTROL, DISTILLED]
    assert rows[TEACHER].agreement == 1
    assert rows[TEACHER].kl_to_teacher == pytest.approx(0, abs=1e-6)
    assert rows[CONTROL].cost.parameters == rows[DISTILLED].cost.parameters
    kept = rows[DISTILLED].scores.accuracy / rows[TEACHER].scores.accuracy
    assert here.report.metrics["test/accuracy_kept"] == pytest.approx(kept)


def test_same_command_again_reuses_every_stage_and_trains_nothing(here, monkeypatch):
    monkeypatch.setattr(workflow._Flow, "_do", lambda self, stage: pytest.fail(stage.name))
    again = go()
    assert again.reused == NAMES
    assert again.report == here.report
    assert again.model == here.model
    children = stages_of(store_of(), again.run_id)
    assert {record.tags["reused_from"] for record in children.values()} == {
        record.id for record in stages_of(store_of(), here.run_id).values()
    }
    for name, record in stages_of(store_of(), here.run_id).items():
        assert children[name].metrics == record.metrics


def test_compressed_networks_are_lines_of_the_same_table_and_a_lost_one_is_made_again(here):
    asked = ("compress=[prune_unstructured]", "variants=compared")
    done = go(*asked)
    assert [name for name in NAMES if name not in done.reused] == ["6 evaluate"]
    assert done.report.rows[0].scores == here.report.rows[0].scores
    of = [variant.of for variant in done.report.variants]
    assert of == [DISTILLED, CONTROL, TEACHER]
    text = done.report_path.read_text()
    assert "student distilled + prune_unstructured" in text
    assert go(*asked).reused == NAMES
    lost = done.report.variants[1].file
    store = store_of()
    store.fetch(lost.run_id, lost.path).unlink()
    again = go(*asked)
    assert [name for name in NAMES if name not in again.reused] == ["6 evaluate"]
    evaluated = stages_of(store, again.run_id)["6 evaluate"]
    made = [record.name for record in store.children(evaluated.id)]
    assert made == [f"{CONTROL} + prune_unstructured"]


def test_same_run_in_a_fresh_store_gives_the_same_numbers(here, workdir):
    again = go()
    assert again.reused == []
    assert steady(again.report.metrics) == steady(here.report.metrics)


@pytest.mark.parametrize(
    ("change", "done_again"),
    [
        ("temperature.value=2", ["4 loss", "5 train", "6 evaluate"]),
        ("regime.lr=0.02", ["5 control", "5 train", "6 evaluate"]),
        ("regime.label_noise=0.2", ["5 control", "5 train", "6 evaluate"]),
        ("evaluation.num_bins=5", ["6 evaluate"]),
        ("evaluation.goal_compute_saved=0.5", ["6 evaluate"]),
        ("evaluation.register_as=other", []),
        ("name=other", []),
        ("design.max_parameters_fraction=0.9", NAMES[2:]),
    ],
)
def test_a_change_runs_its_stage_and_those_after_it_and_nothing_before(here, change, done_again):
    done = go(change)
    assert [name for name in NAMES if name not in done.reused] == done_again


def test_reuse_off_does_everything_again(here):
    assert go("reuse=off").reused == []


def test_any_code_reuses_what_other_code_made_and_same_code_does_not(here, monkeypatch):
    monkeypatch.setattr(plan, "source_hash", lambda modules: "edited")
    assert go("reuse=any_code").reused == NAMES
    assert go("reuse=same_code").reused == []


def test_altered_weights_are_found_and_only_that_stage_is_done_again(workdir, capsys):
    store_dir = go()
    store = store_of()
    control = stages_of(store, store_dir.run_id)["5 control"]
    path = store.fetch(control.id, "weights/control.safetensors")
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    again = go()
    assert [name for name in NAMES if name not in again.reused] == ["5 control"]
    assert "was altered" in capsys.readouterr().out


def test_what_was_distilled_from_other_weights_is_not_reused(workdir, monkeypatch):
    """A teacher made again under the same config may differ: by hardware, say."""
    go()
    store = store_of()
    stage = store.find_finished({"stage": "1 teacher"}).id
    for run in (stage, *(candidate.id for candidate in store.children(stage))):
        store.fetch(run, "handoff.json").unlink()
    original = Context.new_network

    def other_seed(context, architecture, seed):
        return original(context, architecture, seed + 1)

    monkeypatch.setattr(Context, "new_network", other_seed)
    again = go()
    assert "5 control" in again.reused
    assert [name for name in NAMES if name not in again.reused] == [
        "1 teacher",
        "2 knowledge",
        "3 student",
        "4 loss",
        "5 train",
        "6 evaluate",
    ]


def test_the_logged_model_lies_with_its_run(here, home):
    store = store_of()
    logged = store.client.get_logged_model(here.report.model.rpartition("/")[2])
    assert logged.experiment_id == store.experiment_id
    assert (home / "mlartifacts").as_uri() in logged.artifact_location
    assert not (home / "mlruns").exists()


def test_no_password_of_the_store_is_kept(here):
    data = store_of().client.get_run(here.run_id).data
    assert not [key for key in data.params if key.startswith("tracking")]


def test_a_diverging_training_fails_its_runs_and_the_next_start_goes_on_from_there(here):
    with pytest.raises(RunError, match=r"epoch 0, batch \d+: .* is not finite"):
        go("regime.lr=1e30", "regime.optimizer=sgd", "regime.clip_norm=null")
    store = store_of()
    failed = [
        record
        for record in store.client.search_runs([store.experiment_id])
        if record.info.status == "FAILED"
    ]
    kinds = {record.data.tags["kind"]: record.data.tags for record in failed}
    assert set(kinds) == {"workflow", "stage"}
    assert "not finite" in kinds["stage"]["error"]
    assert "not finite" in kinds["workflow"]["error"]


def test_stopping_by_hand_marks_the_runs_killed(workdir, monkeypatch):
    def stop(self, stage):
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow._Flow, "_do", stop)
    with pytest.raises(KeyboardInterrupt):
        go()
    store = store_of()
    statuses = [r.info.status for r in store.client.search_runs([store.experiment_id])]
    assert statuses == ["KILLED"]


def test_data_that_rank_items_must_say_what_users_had():
    parts = checked(QUICK)
    data = SimpleNamespace(info=replace(parts.data.info, ranks_items=True), load=parts.data.load)
    with pytest.raises(DataError, match=r"validation must have Arrays\.had.* it is true\."):
        workflow.run(replace(parts, data=data), store=None, name="no past", tags={})


def test_several_teachers_are_kept_and_measured(here):
    done = go("selection.keep=2")
    assert [row.name for row in done.report.rows] == [TEACHER, "teacher 2", CONTROL, DISTILLED]


def test_distillation_alone_needs_no_cross_entropy(here):
    assert "5 control" in go("loss=kd").reused


def test_logged_model_answers_with_the_numbers_of_the_report(here):
    import mlflow

    parts = checked(QUICK)
    test = parts.data.load().test
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    model = mlflow.pyfunc.load_model(here.model)
    logits = model.predict(test.inputs.numpy())
    accuracy = float((logits.argmax(axis=1) == test.targets.numpy()).mean())
    assert accuracy == pytest.approx(here.report.row(DISTILLED).scores.accuracy)
    assert model.metadata.signature.inputs.to_dict()[0]["tensor-spec"]["shape"] == (-1, 1, 8, 8)


AUGMENTED = ("regime.shift_pixels=1", "regime.horizontal_flip=true")


def test_a_run_at_another_temperature_reads_what_the_teacher_said(here):
    store = store_of()
    first, second = (go(f"temperature.value={value}", *AUGMENTED) for value in (2, 3))
    filling, cached = (stages_of(store, done.run_id)["5 train"] for done in (first, second))
    assert (filling.metrics["cache/share_read"], cached.metrics["cache/share_read"]) == (0, 1)
    assert cached.tags["cache"] == filling.tags["cache"]
    # 128 samples, 4 classes in float32 and a checksum; two epochs.
    assert cached.metrics["cache/mib"] == 2 * 128 * (4 * 4 + 8) / 2**20


def test_a_cached_run_has_the_numbers_of_an_uncached_one(here):
    store = store_of()
    go("temperature.value=2", *AUGMENTED)
    runs = [
        go("temperature.value=5", *AUGMENTED, "reuse=off", f"cache={c}") for c in ("lazy", "off")
    ]
    cached, live = (stages_of(store, done.run_id)["5 train"] for done in runs)
    assert cached.metrics["cache/share_read"] == 1
    assert "cache/share_read" not in live.metrics
    alike = {k: v for k, v in steady(cached.metrics).items() if not k.startswith("cache/")}
    assert alike == steady(live.metrics)
    assert runs[0].report.row(DISTILLED).scores == runs[1].report.row(DISTILLED).scores


def test_a_cache_that_is_filled_in_stage_2_leaves_nothing_to_ask(here):
    store = store_of()
    done = go("cache=stage_2", "cache.folder=ahead", "temperature.value=6", *AUGMENTED)
    assert "2 knowledge" in done.reused
    (fill,) = [r for r in store.children(done.run_id) if r.tags["kind"] == "fill"]
    assert (fill.status, fill.metrics["cache/computed"]) == ("FINISHED", 2 * 128)
    train = next(r for r in store.children(done.run_id) if r.tags.get("stage") == "5 train")
    assert train.metrics["cache/share_read"] == 1


def test_layers_are_chosen_in_stage_4_kept_in_the_cache_and_trained_on(here):
    store = store_of()
    loss = ("loss=[ce,at,crd]", "weighting.schedules={at: {stop: 1}}")
    ahead = ("cache=stage_2", "cache.features=all", "cache.folder=layers")
    overrides = (*CNN_STUDENT, *loss, *ahead, *AUGMENTED)
    done = go(*overrides)
    stages = {r.tags["stage"]: r for r in store.children(done.run_id) if "stage" in r.tags}
    handoff = store.read_json(stages["4 loss"].id, "handoff.json")
    assert set(handoff["pairs"]) == {"at", "crd"}
    assert all(ends[0].startswith("blocks.") for ends in handoff["pairs"]["at"])
    train = stages["5 train"].metrics
    assert train["cache/share_read"] == 1
    assert train["train/weight/at"] == 0
    assert set(go(*overrides).reused) == set(NAMES)


def test_a_student_with_the_teachers_classifier_is_trained_handed_out_and_taken_again(here):
    import mlflow

    store = store_of()
    overrides = (*CNN_STUDENT, "loss=[simkd]", "design.reuse_classifier=true")
    done = go(*overrides)
    stages = stages_of(store, done.run_id)
    pairs = store.read_json(stages["4 loss"].id, "handoff.json")["pairs"]
    assert pairs == {"simkd": [["projector", "pool:input"]]}
    best = store.read_json(stages["1 teacher"].id, "handoff.json")["kept"][0]["weights"]
    control, student = (
        load_file(store.fetch(stages[stage].id, f"weights/{name}.safetensors"))
        for stage, name in (("5 control", "control"), ("5 train", "student"))
    )
    teacher = load_file(store.fetch(best["run_id"], best["path"]))
    assert torch.equal(student["classifier.weight"], teacher["classifier.weight"])
    assert not torch.equal(control["classifier.weight"], teacher["classifier.weight"])
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    test = checked(QUICK).data.load().test
    logits = mlflow.pyfunc.load_model(done.model).predict(test.inputs.numpy())
    accuracy = float((logits.argmax(axis=1) == test.targets.numpy()).mean())
    assert accuracy == pytest.approx(done.report.row(DISTILLED).scores.accuracy)
    assert set(go(*overrides).reused) == set(NAMES)


def test_agreement_on_training_images_is_of_those_that_the_student_saw(workdir):
    given = [*QUICK, "regime.leave_out_classes=[2]", "regime.num_samples=30"]
    parts = checked(given)
    done = run_job(parts, given)
    store = store_of()
    stages = stages_of(store, done.run_id)
    handoffs = {name: store.read_json(one.id, "handoff.json") for name, one in stages.items()}
    train = parts.data.load().train
    seen = subset(train.targets, [2], 30, seed=0)
    assert len(seen) == 30
    answers = []
    for trained in (handoffs["1 teacher"]["kept"][0], handoffs["5 train"]):
        network, weights = trained["architecture"], trained["weights"]
        net = Component(network["target"], network["args"]).make_network(parts.data.info)
        net.load_state_dict(load_file(store.fetch(weights["run_id"], weights["path"])))
        inputs = normalise(train.inputs[seen], parts.data.info)
        with torch.no_grad():
            answers.append(net.eval()(inputs).argmax(1))
    agreement = (answers[0] == answers[1]).double().mean().item()
    assert done.report.metrics["train/agreement"] == pytest.approx(agreement)


def test_a_teacher_too_loud_for_fp16_ends_the_run_with_the_way_out(here, monkeypatch):
    original = Store.load_weights

    def loud(self, net, *where):
        original(self, net, *where)
        net.get_parameter("classifier.bias").data.fill_(1e5)
        return net

    monkeypatch.setattr(Store, "load_weights", loud)
    with pytest.raises(RunError, match=r"stage 5 train: cache.dtype: .* Use cache.dtype=fp32"):
        go("cache.dtype=fp16", "temperature.value=7", *AUGMENTED)


SECTIONS = {"teachers": "teacher", "students": "student"}
IN_EVERY_FINGERPRINT = ("data", "hardware", "config", "name", "reuse", "tracking")


class _Recorder:
    """Parts that note which sections are read."""

    def __init__(self, parts):
        self.parts = parts
        self.seen = set()

    def __getattr__(self, name):
        self.seen.add(SECTIONS.get(name, name))
        return getattr(self.parts, name)


def test_a_stage_reads_no_section_that_its_fingerprint_leaves_out(workdir, monkeypatch):
    """A stage that reads more than it declares would be reused when it must not be."""
    read = {}
    original = workflow._Flow._do

    def watched(self, stage):
        parts, recorder = self.parts, _Recorder(self.parts)
        self.parts = recorder
        original(self, stage)
        self.parts = parts
        read[stage.name] = recorder.seen - set(IN_EVERY_FINGERPRINT)

    monkeypatch.setattr(workflow._Flow, "_do", watched)
    go("design.pick=proxy", "design.proxy_epochs=1")
    by_name = {stage.name: stage for stage in STAGES}

    def declared(name):
        stage = by_name[name]
        return set(stage.reads).union(*(declared(before) for before in stage.after))

    for name in NAMES:
        assert read[name] <= declared(name), name
    assert all(read.values())


def test_classes_that_are_left_out_are_told_apart_in_report_and_metrics(here):
    done = go("regime.leave_out_classes=[2]", "loss=[ce]", "regime.keep=last", "regime.epochs=8")
    found, [class_2] = (
        done.report.left_out,
        [int((checked([*QUICK]).data.load().test.targets == 2).sum())],
    )
    assert found.num_samples == class_2 > 0
    assert found.plain.errors_on == class_2  # it was never told of them
    assert found.plain.errors == done.report.row(DISTILLED).scores.errors
    assert found.test_tuned.errors <= found.chosen.errors
    metrics = store_of().get(done.run_id).metrics
    assert metrics["left_out/no_bias/errors_on"] == class_2
    assert metrics["left_out/bias_tuned_on_test/bias"] == found.test_tuned.bias
    assert "Classes that were left out" in done.report_path.read_text()


def test_a_student_is_told_of_samples_without_a_label_and_the_control_has_the_others_alone(here):
    few = ["loss=[kd]", "selection.regime.num_samples=30", "regime.num_labels=30"]
    done = go(*few, "regime.num_samples=60", "regime.batch_size=16")
    metrics = {
        name: store_of().client.get_metric_history(run.id, "val/accuracy")
        for name, run in stages_of(store_of(), done.run_id).items()
        if name.startswith("5")
    }
    assert len(metrics["5 control"]) == 2 * len(metrics["5 train"])
    assert "on the 30 samples that have a label" in done.report_path.read_text()
    with pytest.raises(ConfigError, match=r"regime\.num_labels: must be null where loss\.ce reads"):
        go(*few, "loss=[ce,kd]")
    with pytest.raises(ConfigError, match=r"regime\.num_labels: must be in"):
        go("loss=[kd]", "selection.regime.num_samples=30", "regime.num_labels=1000000")


def test_more_samples_than_there_are_is_said_before_a_run_is_made(here):
    before = len(store_of().client.search_runs([store_of().experiment_id]))
    with pytest.raises(ConfigError, match=r"selection\.regime\.num_samples: must be in"):
        go("selection.regime.num_samples=1000000")
    assert len(store_of().client.search_runs([store_of().experiment_id])) == before


def test_threads_are_those_of_the_hardware(here):
    go("hardware.threads=2")
    assert torch.get_num_threads() == 2


def test_handoffs_survive_json(here):
    plain = json.loads(json.dumps(to_plain(here.report)))
    assert from_plain(Report, plain) == here.report


def test_report_path_is_where_the_report_is(here):
    assert Path(here.report_path).read_text().startswith("<!doctype html>")


def test_what_another_process_is_at_comes_after_what_need_not_wait_for_it(
    here, monkeypatch, capsys
):
    overrides = [*QUICK, "seed=9"]
    parts, store = checked(overrides), store_of()
    control = plan.fingerprints(parts, checksum(parts.data.load()))["5 control"].same_code
    held, trained = Event(), Event()

    def other_process():
        with store.lock(control):
            held.set()
            trained.wait(60)

    order, real = [], workflow._Flow._take_or_do

    def noted(flow, stage):
        order.append(stage.name)
        real(flow, stage)
        if stage.name == "5 train":
            Timer(1.0, trained.set).start()  # longer than it takes to look for the next stage

    monkeypatch.setattr(workflow._Flow, "_take_or_do", noted)
    other = Thread(target=other_process)
    other.start()
    held.wait(60)
    run_job(parts, overrides)
    other.join()
    assert order == [*NAMES[:4], "5 train", "5 control", "6 evaluate"]
    assert "5 control    waits: another process is at it" in capsys.readouterr().out


@pytest.mark.parametrize(
    "had",
    [[[0, 1], [0, 1]], [[0, 3]], [[2, 0]], [[-1, 0]], [[0.0, 1.0]], [[0, 1, 2]]],
    ids=["twice", "no such item", "no such row", "negative", "no whole numbers", "no pairs"],
)
def test_what_users_had_must_be_pairs_of_a_row_and_an_item(had):
    assert workflow._are_pairs(torch.tensor([[0, 1], [1, 2]]), (2, 3))
    assert not workflow._are_pairs(torch.tensor(had), (2, 3))


def test_teachers_are_not_trained_on_one_class_alone():
    three = ["data=fake", "data.num_classes=3"]
    parts = checked([*three, "regime.leave_out_classes=[0,1]"])
    workflow._require_samples(parts, parts.data.load())
    parts = checked([*three, "selection.regime.leave_out_classes=[0,2]"])
    with pytest.raises(ConfigError, match=r"\[0, 2\] leaves teachers one class alone, number 1"):
        workflow._require_samples(parts, parts.data.load())
