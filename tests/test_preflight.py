from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
import yaml
from torch import nn

from distill_lab import preflight
from distill_lab.config.groups import CONF
from distill_lab.contracts import Component
from distill_lab.losses.base import Loss, Needs
from distill_lab.settings import Design, Price, Variants

FAKE = {
    "input_shape": [1, 8, 8],
    "num_classes": 3,
    "num_train": 8,
    "num_validation": 4,
    "num_test": 4,
    "noise": 0.1,
    "split_seed": 0,
}
MLP = {"dropout": 0.0, "input_dropout": 0.0, "max_norm": None}
CNN = {"convs_per_block": 1, "kernel_size": 3, "dropout": 0.0}
DESIGN = {
    "reuse_classifier": False,
    "copy_layers": None,
    "max_parameters_fraction": "auto",
    "max_macs_fraction": None,
    "max_latency_ms": None,
    "max_memory_mib": None,
    "pick": "largest",
    "proxy_epochs": 1,
    "latency_repeats": 1,
}


def fake(**changes):
    return Component("distill_lab.data.fake.Fake", FAKE | changes)


def mlp(*widths, **changes):
    return Component("distill_lab.models.mlp.MLP", {"widths": list(widths)} | MLP | changes)


def cnn(*channels, **changes):
    return Component("distill_lab.models.cnn.CNN", {"channels": list(channels)} | CNN | changes)


def architecture(name):
    knobs = yaml.safe_load((CONF / "architecture" / f"{name}.yaml").read_text())
    return Component(knobs.pop("_target_"), knobs)


def term(name, **args):
    classes = {"ce": "CE", "kd": "KD", "label_smoothing": "LabelSmoothing"}
    return Component(f"distill_lab.losses.{name}.{classes[name]}", args)


def design(**changes):
    return Design(**DESIGN | changes)


def selection(**changes):
    return SimpleNamespace(**{"weights": None, "pretrained": None, "from_run": None} | changes)


SOUND = {
    "data": fake(),
    "teachers": (mlp(64),),
    "students": (mlp(4), mlp(8)),
    "loss": {"ce": term("ce", weight=0.1), "kd": term("kd", weight=0.9)},
    "design": design(),
    "regimes": {},
}


def problems(**changes):
    return preflight.problems(**SOUND | changes)


@pytest.mark.parametrize(
    ("country", "found"),
    [
        (None, []),
        ("NLD", []),
        ("NED", ["price.country: codecarbon knows no country 'NED'. Did you mean"]),
    ],
)
def test_a_country_is_one_whose_electricity_is_known(country, found):
    said = problems(price=Price(0.1, 1.0, 0.0, 1.0, country))
    assert all(one.startswith(start) for one, start in zip(said, found, strict=True))


@pytest.fixture
def loss_module(monkeypatch):
    """A loss file of ours: reads the taps that it is told to."""

    class Hint(Loss):
        def __init__(self, weight, student_layer, teacher_layer):
            super().__init__(weight)
            self.layers = (student_layer, teacher_layer)

        @property
        def needs(self):
            return Needs((self.layers[0],), (self.layers[1],))

        def forward(self, batch):
            raise NotImplementedError

    module = ModuleType("distill_lab.losses.hint")
    module.Hint, module.Module, module.NoNetwork = Hint, nn.Identity, dict
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def test_terms_that_read_labels_are_refused_where_few_samples_have_any(regime):
    regimes = {"regime": regime(num_samples=9, num_labels=4)}
    kd = {"kd": term("kd", weight=1.0)}
    assert problems(regimes=regimes, loss=kd) == []
    assert problems(regimes=regimes) == [
        "regime.num_labels: must be null where loss.ce reads labels, got 4."
    ]


def test_teachers_have_no_more_labels_than_there_are(regime):
    kd = {"kd": term("kd", weight=1.0)}
    regimes = {"regime": regime(num_labels=4), "selection.regime": regime(num_samples=4)}
    assert problems(regimes=regimes, loss=kd, selection=selection()) == []
    regimes["selection.regime"] = regime()
    assert problems(regimes=regimes, loss=kd, selection=selection()) == [
        "selection.regime.num_samples: must be <= regime.num_labels, 4, the labels there are, "
        "got null."
    ]
    assert problems(regimes=regimes, loss=kd, selection=selection(from_run="run")) == []


def test_an_own_term_is_taken_to_read_labels_unless_it_says_that_it_does_not(workdir, monkeypatch):
    (workdir / "own_terms.py").write_text(
        "from distill_lab.losses.kd import KD\n"
        "class Silent(KD): ...\n"
        "class Told(KD):\n    reads_labels = False\n"
    )
    monkeypatch.syspath_prepend(workdir)
    silent, told = Component("own_terms.Silent", {}), Component("own_terms.Told", {})
    assert (preflight._reads_labels(silent), preflight._reads_labels(told)) == (True, False)


def test_labels_that_are_not_there_are_refused(regime):
    kd = {"kd": term("kd", weight=1.0)}
    teachers = {"selection.regime": regime(num_labels=4)}
    students = {"regime": regime(num_samples=4, num_labels=9)}
    assert problems(regimes=teachers | students, loss=kd) == [
        "selection.regime.num_labels: must be null, as teachers learn of labels; set num_samples.",
        "regime.num_labels: must be <= num_samples, 4, got 9.",
    ]


def test_published_weights_are_for_the_network_that_they_are_named_after():
    knobs = yaml.safe_load((CONF / "data" / "image_folder.yaml").read_text())
    data = Component(knobs.pop("_target_"), knobs | {"num_classes": 1000})
    timm_net = "distill_lab.models.timm_model.TimmModel"
    other = Component(timm_net, {"name": "resnet34", "patch_size": None})
    chosen = selection(weights="timm/resnet18.a1_in1k")
    said = "selection.weights: timm/resnet18.a1_in1k is of another network. Take "
    said += "architecture@teacher=timm teacher.name=resnet18."
    assert said in problems(data=data, teachers=(other,), selection=chosen)
    chosen = selection(weights="ResNet34_Weights.IMAGENET1K_V1")
    said = "selection.weights: ResNet34_Weights.IMAGENET1K_V1 is of another network. Take "
    said += "architecture@teacher=one of torchvision's."
    assert said in problems(data=data, teachers=(other,), selection=chosen)


def test_published_weights_are_held_against_the_teacher_and_its_inputs():
    name = "ResNet18_Weights.IMAGENET1K_V1"
    resnet = Component("distill_lab.models.resnet.ResNet", {"depth": 18, "small_images": False})
    knobs = yaml.safe_load((CONF / "data" / "image_folder.yaml").read_text())
    images = Component(knobs.pop("_target_"), knobs)
    fits = {"data": images, "teachers": (resnet,), "selection": selection(weights=name)}
    assert problems(**fits) == []
    grey = Component(images.target, knobs | {"mean": [0.5], "std": [0.5], "num_classes": 10})
    assert problems(**fits | {"data": grey}) == [
        f"selection.weights: {name} has 11,689,512 parameters for 1000 classes; the teacher on "
        "imagenet has 11,175,370. Choose the architecture and the size of inputs that they are "
        "named after, and data of 1000 classes.",
        f"selection.weights: {name} reads inputs normalised by mean (0.485, 0.456, 0.406) and std "
        "(0.229, 0.224, 0.225); those of imagenet are (0.5,) and (0.5,). Set data.mean and "
        "data.std.",
    ]
    [problem] = problems(**fits | {"selection": selection(weights="resnet18")})
    assert problem.startswith("selection.weights: torchvision has no weights 'resnet18'.")


def test_a_pretrained_encoder_is_held_against_the_teacher():
    knobs = yaml.safe_load((CONF / "data" / "reuters_r8.yaml").read_text())
    texts = Component(knobs.pop("_target_"), knobs)
    teachers, students = ((architecture(name),) for name in ("minilm", "bilstm"))
    given = {
        "data": texts,
        "teachers": teachers,
        "students": students,
        "selection": selection(pretrained="all-MiniLM-L6-v2"),
    }
    assert problems(**given) == []
    [problem] = problems(**given | {"teachers": (architecture("bert_tiny"),)})
    assert problem.startswith("selection.pretrained: Bert has embeddings.LayerNorm.bias of shape")
    assert problem.endswith("It is for architecture@teacher=minilm.")
    [problem] = problems(**given | {"teachers": students})
    assert problem.startswith("selection.pretrained: BiLSTM has no encoder")
    words = Component(texts.target, knobs | {"num_words": 1000})
    [problem] = problems(**given | {"data": words})
    assert "embeddings.word_embeddings.weight of shape (1002, 384)" in problem


def test_a_sound_run_has_no_problem():
    assert problems() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": fake(num_classes=1)}, "data.num_classes: must be >= 2, got 1."),
        ({"teachers": (mlp(0),)}, "teacher.widths: must be a list of integers >= 1"),
        ({"students": (mlp(4), mlp(8, dropout=1.5))}, "student.dropout: must be in [0, 1), got"),
        ({"loss": {"kd": term("kd", weight=-1)}}, "loss.kd.weight: must be >= 0, got -1."),
        (
            {"loss": {"label_smoothing": term("label_smoothing", weight=1, smoothing=2)}},
            "loss.label_smoothing.smoothing: ",
        ),
        ({"students": (cnn(1, 2, 3, 4, 5),)}, "student.channels: must list at most 4 blocks"),
        ({"loss": {"keys": term("ce", weight=1)}}, "loss.keys: torch keeps this word"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_key(changes, said):
    [problem] = problems(**changes)
    assert problem.startswith(said)


def test_no_wrong_value_hides_another():
    found = problems(
        data=fake(noise=-1, num_classes=0),
        teachers=(mlp(0, dropout=2),),
        students=(mlp(4), mlp(8, input_dropout=-1)),
        loss={"ce": term("ce", weight=-1), "kd": term("kd", weight=-2)},
    )
    assert [problem.split(":")[0] for problem in found] == [
        "data.num_classes",
        "data.noise",
        "teacher.widths",
        "teacher.dropout",
        "student.input_dropout",
        "loss.ce.weight",
        "loss.kd.weight",
    ]


def test_a_network_is_not_called_too_deep_when_it_is_the_dataset_that_is_wrong():
    found = problems(data=fake(input_shape=[1, 64, 64], noise=-1), students=(cnn(1, 2, 3, 4, 5),))
    assert [problem.split(":")[0] for problem in found] == ["data.noise"]


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ([3], "regime.leave_out_classes: must be numbers in [0, 2], got [3]."),
        ([2, 0, 1], "regime.leave_out_classes: must leave a class of fake, got [2, 0, 1]."),
    ],
)
def test_classes_that_are_left_out_are_those_of_the_dataset_and_not_all(classes, said, regime):
    assert problems(regimes={"regime": regime(leave_out_classes=[2, 0])}) == []
    wrong = {"regime": regime(leave_out_classes=classes), "selection.regime": regime()}
    assert problems(regimes=wrong) == [said]


def test_a_label_cannot_become_another_one_where_one_class_is_trained_on(regime):
    assert problems(regimes={"regime": regime(leave_out_classes=[0], label_noise=0.2)}) == []
    wrong = {"regime": regime(leave_out_classes=[0, 1], label_noise=0.2)}
    said = "regime.label_noise: must be 0 where one class of fake is trained on, got 0.2."
    assert problems(regimes=wrong) == [said]


def test_parts_that_are_left_out_are_not_held_against_the_others():
    assert preflight.problems(None, (), (), {}, None, {}) == []
    assert problems(data=None) == []
    [problem] = problems(data=None, students=(), loss={"ce": term("ce", weight=-1)}, design=None)
    assert problem.startswith("loss.ce.weight: ")


def test_an_impossible_budget_names_the_nearest_candidate():
    # MLP of width w on 64 inputs and 3 classes: 64w + w + 3w + 3 = 68w + 3 parameters.
    [problem] = problems(design=design(max_parameters_fraction=0.01))
    assert problem.startswith("design: none of the 2 student candidates meets the budget. Nearest:")
    assert "MLP widths=[4]" in problem
    assert f"parameters {68 * 4 + 3} where at most {(68 * 64 + 3) * 0.01:.6g} are" in problem


def test_memory_that_no_candidate_fits_in_is_counted_without_a_real_network():
    # MLP of width 4 on 64 inputs and 3 classes: 275 parameters, and alive at the worst moment,
    # after the ReLU, are 64 inputs and 2 x 4 activations; all of 4 bytes.
    needed = 4 * (275 + 64 + 2 * 4) / 2**20
    assert problems(design=design(max_memory_mib=needed)) == []
    [problem] = problems(design=design(max_memory_mib=0.9 * needed))
    assert problem.startswith("design: none of the 2 student candidates meets the budget. Nearest:")
    assert f"MLP widths=[4] with peak_memory_mib {needed:.6g} where at most" in problem


def test_the_budget_is_held_against_the_largest_teacher_that_could_be_kept():
    small_and_large = (mlp(8), mlp(64))
    assert problems(teachers=small_and_large) == []
    [problem] = problems(teachers=small_and_large[:1])
    assert problem.startswith("design: ")


def test_without_a_design_the_budget_is_not_checked():
    assert problems(teachers=(mlp(4),), students=(mlp(64), mlp(128)), design=None) == []


def test_one_candidate_in_budget_is_enough():
    assert problems(students=(mlp(4), mlp(512))) == []


def test_one_named_student_has_no_automatic_limit():
    assert problems(students=(mlp(512),)) == []


@pytest.mark.parametrize(
    ("student_layer", "teacher_layer", "wrong", "near"),
    [
        ("hidden.00", "hidden.0", "hidden.00", "hidden.0"),
        ("hidden.0", "hiden.0", "hiden.0", "hidden.0"),
    ],
)
def test_a_tap_that_does_not_exist_is_named_with_the_nearest(
    loss_module, student_layer, teacher_layer, wrong, near
):
    layers = {"student_layer": student_layer, "teacher_layer": teacher_layer}
    hint = Component(f"{loss_module}.Hint", {"weight": 1.0} | layers)
    [problem] = problems(loss={"hint": hint})
    assert problem.startswith("loss.hint")
    assert repr(wrong) in problem
    assert near in problem.replace(repr(wrong), "")


def test_a_tap_that_exists_is_no_problem(loss_module):
    layers = {"student_layer": "hidden.0", "teacher_layer": "classifier"}
    hint = Component(f"{loss_module}.Hint", {"weight": 1.0} | layers)
    assert problems(loss={"hint": hint}) == []


SIMKD = {"simkd": Component("distill_lab.losses.simkd.SimKD", {"weight": 1.0, "pairs": "auto"})}
REUSE = design(reuse_classifier=True, max_parameters_fraction=None)


def test_a_loss_is_connected_to_the_student_as_it_is_deployed():
    networks = {"teachers": (cnn(6, 8),), "students": (cnn(2, 4),)}
    assert problems(**networks, loss=SIMKD, design=REUSE) == []
    [problem] = problems(**networks, loss=SIMKD)
    assert problem.startswith("loss.simkd: reads the projector ")
    assert problem.endswith("Set design.reuse_classifier=true.")


def test_a_classifier_may_be_that_of_any_teacher_of_the_grid():
    networks = {"teachers": (cnn(6, 8), cnn(8, 16)), "students": (cnn(2, 4), cnn(4, 4))}
    assert problems(**networks, loss=SOUND["loss"] | SIMKD, design=REUSE) == []


def test_projector_and_classifier_count_in_the_budget():
    # MLP of width 8 on 64 inputs and 3 classes: 547 parameters. Of width 2 with its projector:
    # 64 * 2 + 2, 2 * 4 + 4, 4 * 8 + 8 and 8 * 3 + 3, which are 209.
    networks = {"teachers": (mlp(8),), "students": (mlp(2),)}
    bounds = {"max_parameters_fraction": 0.39, "reuse_classifier": True}
    assert problems(**networks, design=design(**bounds)) == []
    [problem] = problems(**networks, design=design(**bounds | {"max_parameters_fraction": 0.38}))
    assert "MLP widths=[2]" in problem
    assert "parameters 209 where at most" in problem


def test_one_teacher_under_which_a_student_is_in_budget_is_enough():
    bounds = design(max_parameters_fraction=0.4, reuse_classifier=True)
    small, large = mlp(8), mlp(64)
    assert problems(teachers=(large, small), students=(mlp(2),), design=bounds) == []
    [problem] = problems(teachers=(small,), students=(mlp(4),), design=bounds)
    assert problem.startswith("design: none of the 1 student candidates")


def test_a_network_without_a_classifier_to_reuse_is_named():
    knobs = {"patch_size": 4, "dim": 4, "depth": 1, "num_heads": 1, "mlp_ratio": 1.0}
    knobs |= {"dropout": 0.0, "distillation_token": True}
    deit = Component("distill_lab.models.vit.ViT", knobs)
    [problem] = problems(students=(deit,), design=REUSE)
    assert problem.startswith("design.reuse_classifier: ViT patch_size=4")
    assert "without a distillation token" in problem


def test_losses_are_connected_though_the_budget_is_not_checked():
    found = problems(loss=SIMKD, design=design(max_parameters_fraction=0.01), budget=False)
    assert [problem.split(":")[0] for problem in found] == ["loss.simkd"]


def test_what_is_no_loss_or_no_network_is_refused(loss_module):
    [problem] = problems(loss={"x": Component(f"{loss_module}.Module")})
    assert problem == f"loss.x._target_: must be a loss term, got '{loss_module}.Module'."
    [problem] = problems(teachers=(Component(f"{loss_module}.NoNetwork"),))
    assert problem == f"teacher._target_: must be a network, got '{loss_module}.NoNetwork'."


def test_nothing_is_allocated_and_no_random_number_is_drawn():
    before = torch.random.get_rng_state()
    assert problems(teachers=(mlp(200_000, 200_000),)) == []  # 160 GB if it were real
    assert torch.equal(torch.random.get_rng_state(), before)


def step(name, **args):
    module = f"distill_lab.compress.{name}"
    return Component(f"{module}.{''.join(word.title() for word in name.split('_'))}", args)


def variants(*of, chains=None):
    return Variants(chains, list(of) or ["student"], 0.1)


def test_steps_that_suit_the_network_and_each_other_pass():
    chain = {
        "prune": step("prune_structured", fraction=0.5, rounds=1, epochs=0),
        "int8": step("quantize_linear", dynamic=True),
    }
    assert problems(compress=chain, variants=variants("student", "control", "teacher")) == []


def test_a_network_that_a_step_cannot_treat_is_named_with_its_layer():
    chain = {"int8": step("quantize_linear", dynamic=True)}
    asked = {"students": (cnn(4),), "compress": chain}
    [problem] = problems(**asked, variants=variants())
    assert problem.startswith("compress.int8: of the student: treats Linear, which hold ")
    assert "'blocks.0.0' (Conv2d). Take compress=[quantize_onnx]" in problem
    assert problems(**asked, variants=variants("teacher")) == []
    [problem] = problems(**asked, variants=variants("student", "teacher"))
    assert problem.endswith(" Or leave it out: variants.of=[teacher].")


@pytest.mark.parametrize(("epochs", "num_problems"), [(0, 0), (1, 1)])
def test_a_loss_that_cannot_train_a_narrower_student_is_found(loss_module, epochs, num_problems):
    class Tight(sys.modules[loss_module].Hint):
        def connect(self, student_shapes, teacher_shapes, num_samples):
            ours, theirs = student_shapes["hidden.0"], teacher_shapes[0]["hidden.0"]
            if ours != theirs:
                raise ValueError(f"widths {ours[1]} and {theirs[1]} differ.")

    sys.modules[loss_module].Tight = Tight
    args = {"weight": 1.0, "student_layer": "hidden.0", "teacher_layer": "hidden.0"}
    asked = {"loss": {"tight": Component(f"{loss_module}.Tight", args)}, "students": (mlp(64),)}
    asked |= {"design": design(max_parameters_fraction=None)}
    assert problems(**asked) == []
    prune = step("prune_structured", fraction=0.75, rounds=2 if epochs else 1, epochs=epochs)
    found = problems(**asked, compress={"prune": prune}, variants=variants())
    said = "compress.prune: in its training: loss.tight: widths 16 and 64 differ."
    assert found == [said] * num_problems


def test_a_student_with_its_teacher_s_classifier_can_be_pruned_and_trained():
    networks = {"teachers": (cnn(6, 8),), "students": (cnn(2, 4),)}
    prune = step("prune_structured", fraction=0.5, rounds=4, epochs=1)
    asked = {"loss": SIMKD, "design": REUSE, "compress": {"prune": prune}}
    assert problems(**networks, **asked, variants=variants()) == []


def test_steps_in_an_order_that_cannot_be_are_named():
    chain = {
        "int8": step("quantize_linear", dynamic=True),
        "prune": step("prune_unstructured", fraction=0.5, rounds=1, epochs=0),
    }
    [problem] = problems(compress=chain, variants=variants())
    assert problem.startswith("compress: prune cannot follow int8, which leaves int8 weights")
    assert problems(compress=chain, variants=variants(chains=[["int8"], ["prune"]])) == []


def test_a_step_that_is_none_is_refused():
    chain = {"linear": Component("distill_lab.compress.zeros.Masked", {"mask": None})}
    [problem] = problems(compress=chain, variants=variants())
    assert problem.startswith("compress.linear._target_: must be a step, got ")
