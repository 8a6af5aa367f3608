from __future__ import annotations

import pickle
from copy import deepcopy

import pytest
import torch

from distill_lab.errors import RunError
from distill_lab.knowledge.taps import forward_with_taps
from distill_lab.training import compiled as subject
from distill_lab.training.compiled import compiled

CPU = torch.device("cpu")


def test_without_a_compiler_it_says_so_and_names_the_key(net_of, monkeypatch):
    monkeypatch.setattr(subject.shutil, "which", lambda name: None)
    monkeypatch.setenv("CXX", "some-c++")
    with pytest.raises(RunError) as caught, compiled([net_of()], CPU):
        pass
    assert str(caught.value).startswith("hardware.compile: needs a C++ compiler")
    assert "'some-c++'" in str(caught.value)
    assert "hardware.compile=false" in str(caught.value)


@pytest.mark.slow
def test_a_compiled_network_answers_like_itself_and_is_itself_afterwards(net_of):
    net, plain, inputs = net_of(), net_of(), torch.randn(4, 1, 8, 8)
    with compiled([net], CPU):
        assert list(net.state_dict()) == list(plain.state_dict())
        torch.testing.assert_close(net(inputs), plain(inputs))
        assert net._compiled_call_impl is not None
    assert net._compiled_call_impl is None
    assert torch.equal(net(inputs), plain(inputs))
    for copy in (deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(copy(inputs), plain(inputs))


@pytest.mark.slow
def test_taps_are_read_whether_or_not_the_network_ran_without_them_before(net_of):
    net, plain = net_of(), net_of()
    with compiled([net], CPU):
        for taps in ([], ["hidden.0"], ["hidden.0"], []):
            inputs = torch.randn(4, 1, 8, 8)
            ours, theirs = (forward_with_taps(n, inputs, taps) for n in (net, plain))
            torch.testing.assert_close(ours.logits, theirs.logits)
            torch.testing.assert_close(ours.features, theirs.features)
