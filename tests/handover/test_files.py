"""Files of a student of every kind of input, held against the network."""

from __future__ import annotations

import io
import json

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from distill_lab.compress.onnx_graph import OnnxGraph
from distill_lab.contracts import Arrays, Columns, DataInfo
from distill_lab.handover.files import copies_of
from distill_lab.models.deployed import Deployed
from distill_lab.models.word_bag import WordBag

INFO = DataInfo("tiny", (1, 2, 2), 3, ("a", "b", "c"), (0.5,), (0.25,))
TEXT = DataInfo("text", (6,), 3, ("a", "b", "c"), (), (), vocabulary_size=9)
OWN = DataInfo(
    "own", (10,), 3, ("a", "b", "c"), (), (), vocabulary_size=90, of_students=Columns(4, 9)
)


class Unknown(nn.Module):
    """torch.export takes it, and ONNX has no operator for it."""

    def forward(self, inputs):
        return torch.special.bessel_j0(inputs.flatten(1))[:, :3]


def arrays(inputs):
    return Arrays(inputs, torch.zeros(len(inputs), dtype=torch.int64))


def images(count):
    return arrays(torch.rand(count, 1, 2, 2))


def pt2(net, example):
    """The file that MLflow keeps, made by hand."""
    file = io.BytesIO()
    dims = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(net, (example,), dynamic_shapes=dims), file)
    return file.getvalue()


def linear():
    return Deployed(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), INFO).eval()


def run_onnx(content, inputs):
    (logits,) = onnxruntime.InferenceSession(content).run(["logits"], {"inputs": inputs.numpy()})
    return logits


def test_the_files_take_inputs_that_are_not_normalised():
    net, test = linear(), images(5)
    made = copies_of(net, pt2(net, test.inputs[:2]), images(4), test, INFO)
    weight, bias = (one.detach() for one in net.net[1].parameters())
    expected = ((test.inputs - 0.5) / 0.25).flatten(1) @ weight.T + bias
    np.testing.assert_allclose(run_onnx(made.files["student.onnx"], test.inputs), expected, 1e-5)
    assert made.said.tolist() == expected.argmax(1).tolist()
    assert made.not_made == {}
    assert {name: one.num_same for name, one in made.alike.items()} == {
        "student.pt2": 5,
        "student.onnx": 5,
    }


def test_the_example_can_be_posted_as_it_is():
    net, train = linear(), images(4)
    made = copies_of(net, pt2(net, train.inputs[:2]), train, images(3), INFO)
    asked = json.loads(made.files["example.json"])
    assert list(asked) == ["inputs"]
    torch.testing.assert_close(torch.tensor(asked["inputs"]), train.inputs[:2])


@pytest.mark.parametrize(("info", "start"), [(TEXT, 0), (OWN, 4)])
def test_a_student_of_token_ids_is_asked_about_its_own_columns(info, start):
    own = info.read_by(student=True)
    bag = WordBag(input_shape=own.input_shape, num_classes=3, vocabulary_size=9, embedding=4)
    net = Deployed(bag, own).eval()
    rows = torch.cat([torch.full((7, start), 80), torch.randint(1, 9, (7, 6))], dim=1)
    made = copies_of(net, pt2(net, rows[:2, start:].contiguous()), arrays(rows), arrays(rows), info)
    with torch.no_grad():
        expected = net(rows[:, start:])
    logits = run_onnx(made.files["student.onnx"], rows[:, start:].contiguous())
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-6)
    assert json.loads(made.files["example.json"])["inputs"] == rows[:2, start:].tolist()


def test_what_onnx_cannot_hold_is_left_out_with_the_reason():
    net, test = Deployed(Unknown(), INFO).eval(), images(3)
    made = copies_of(net, pt2(net, test.inputs[:2]), images(2), test, INFO)
    assert set(made.files) == {"student.pt2", "example.json"}
    assert list(made.not_made) == ["student.onnx"]
    assert "cannot be held by ONNX" in made.not_made["student.onnx"]
    assert "compress=" not in made.not_made["student.onnx"]
    assert list(made.alike) == ["student.pt2"]


def test_a_served_model_that_is_another_network_is_refused():
    net, test = linear(), images(3)
    with pytest.raises(ValueError, match=r"student\.pt2: on the test split a logit differs"):
        copies_of(net, pt2(linear(), test.inputs[:2]), images(2), test, INFO)


def test_an_onnx_file_that_answers_otherwise_is_left_out(monkeypatch):
    net, test = linear(), images(3)
    other, original = linear(), OnnxGraph.of
    monkeypatch.setattr(OnnxGraph, "of", lambda net, examples: original(other, examples))
    made = copies_of(net, pt2(net, test.inputs[:2]), images(2), test, INFO)
    assert "student.onnx" not in made.files
    assert "more than 1e-04" in made.not_made["student.onnx"]
