from __future__ import annotations

import pytest
import torch

from distill_lab.models.bert import Bert, DistilBert
from distill_lab.models.cnn import CNN
from distill_lab.models.copied_layers import copied
from distill_lab.models.vit import ViT

SIZES = {"width": 12, "num_heads": 3, "feed_forward": 20, "dropout": 0.0}
TEXT = {"input_shape": (9,), "vocabulary_size": 50}
IDS = torch.tensor([[4, 7, 9, 49, 3, 0], [8, 49, 1, 2, 3, 5]])


def bert(num_layers, kind=Bert, mask_id=49, num_classes=50, **changes):
    given = TEXT | {"mask_id": mask_id, "num_classes": num_classes}
    return kind(**given, **(SIZES | {"num_layers": num_layers} | changes)).eval()


def vit(depth, dim=8, num_heads=2):
    knobs = {"patch_size": 4, "dim": dim, "depth": depth, "num_heads": num_heads, "mlp_ratio": 2.0}
    return ViT(
        input_shape=(1, 8, 8), num_classes=3, dropout=0.0, distillation_token=False, **knobs
    ).eval()


def test_a_distilbert_of_all_layers_says_what_its_bert_says():
    torch.manual_seed(0)
    teacher, student = bert(3), bert(3, DistilBert)
    with torch.no_grad():
        teacher.encoder.embeddings.token_type_embeddings.weight.zero_()  # DistilBERT has none
        assert not torch.allclose(student(IDS), teacher(IDS), atol=0.1)
        student.load_state_dict(copied(student, teacher, [0, 1, 2]))
        torch.testing.assert_close(student(IDS), teacher(IDS))


def test_layers_are_those_that_were_named():
    # huggingface's extraction for DistilBERT: of BERT's twelve these six, and the heads.
    torch.manual_seed(0)
    teacher, student = bert(12), bert(6, DistilBert)
    state = copied(student, teacher, [0, 2, 4, 7, 9, 11])
    theirs = teacher.state_dict()
    for number, taken in enumerate([0, 2, 4, 7, 9, 11]):
        for ours, name in (
            ("attention.q_lin.weight", "attention.self.query.weight"),
            ("attention.k_lin.bias", "attention.self.key.bias"),
            ("attention.v_lin.weight", "attention.self.value.weight"),
            ("attention.out_lin.weight", "attention.output.dense.weight"),
            ("sa_layer_norm.weight", "attention.output.LayerNorm.weight"),
            ("ffn.lin1.weight", "intermediate.dense.weight"),
            ("ffn.lin2.bias", "output.dense.bias"),
            ("output_layer_norm.bias", "output.LayerNorm.bias"),
        ):
            copy = state[f"encoder.transformer.layer.{number}.{ours}"]
            assert torch.equal(copy, theirs[f"encoder.encoder.layer.{taken}.{name}"])
    for name in ("encoder.embeddings.word_embeddings.weight", "word_head.dense.weight"):
        assert torch.equal(state[name], theirs[name])


def test_the_student_is_not_changed_and_keeps_what_the_teacher_has_not():
    teacher = bert(2, mask_id=None, num_classes=5)
    student = bert(1, DistilBert, mask_id=None, num_classes=5)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    state = copied(student, teacher, [1])
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())
    assert torch.equal(state["pre_classifier.0.weight"], before["pre_classifier.0.weight"])
    assert torch.equal(state["classifier.weight"], teacher.classifier.weight)


def test_networks_of_one_kind_need_no_names():
    teacher, student = vit(3), vit(2)
    student.load_state_dict(copied(student, teacher, [0, 2]))
    inputs = torch.randn(2, 4, 8)
    torch.testing.assert_close(student.blocks[1](inputs), teacher.blocks[2](inputs))
    assert torch.equal(student.positions, teacher.positions)


def test_nothing_is_computed_on_the_meta_device():
    with torch.device("meta"):
        state = copied(bert(1, DistilBert), bert(2), [1])
    assert all(value.is_meta for value in state.values())


@pytest.mark.parametrize("layers", [[0], [0, 3], [-1, 0], [0, 1, 2]])
def test_one_layer_of_the_teacher_is_named_for_each_of_the_student(layers):
    with pytest.raises(ValueError, match=r"^copy_layers: must be a number in \[0, 2\] for each of"):
        copied(vit(2), vit(3), layers)


def test_layers_of_another_width_are_refused_by_name():
    said = r"^copy_layers: the student's layer 0 has .* \(4,\), the teacher's layer 1 has \(8,\)"
    with pytest.raises(ValueError, match=said):
        copied(vit(1, dim=4), vit(2), [1])


def test_layers_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="the teacher's layer 0 has none"):
        copied(vit(1, dim=12, num_heads=3), bert(2), [0])


def test_layers_that_divide_their_width_in_another_way_are_refused():
    said = r"^copy_layers: the student has 4 heads, the teacher 2\. Set student\.num_heads=2\.$"
    with pytest.raises(ValueError, match=said):
        copied(vit(1, num_heads=4), vit(2), [0])


def test_a_network_without_layers_is_refused():
    knobs = {"channels": [4], "convs_per_block": 1, "kernel_size": 3, "dropout": 0.0}
    cnn = CNN(input_shape=(1, 8, 8), num_classes=3, **knobs)
    with pytest.raises(ValueError, match=r"^copy_layers: the student, CNN, is no stack of alike"):
        copied(cnn, vit(1), [0])
