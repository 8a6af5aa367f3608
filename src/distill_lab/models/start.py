"""A network whose encoder starts from weights that were trained before."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from distill_lab.models.bert import Bert

POOLER = "pooler."  # belongs to the task before; either side may lack it


def minilm(vocabulary_size: int) -> nn.Module:
    """Return an encoder of the size of all-MiniLM-L6-v2, `conf/architecture/minilm.yaml`."""
    return Bert(
        input_shape=(1,),
        num_classes=1,
        vocabulary_size=vocabulary_size,
        mask_id=None,
        num_layers=6,
        width=384,
        num_heads=12,
        feed_forward=1536,
        dropout=0.0,
    ).encoder


def start_encoder(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load weights into `net.encoder`; what is around it stays as it was.

    Args:
        net: may be on the meta device, and then nothing is loaded.
        weights: by name, as the encoder's own state.

    Raises:
        ValueError: the network has no encoder, or it has other layers.
    """
    encoder = getattr(net, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise ValueError(f"{type(net).__name__} has no encoder that could start from them.")
    own = encoder.state_dict()
    names = own.keys() | weights.keys()
    needed = {name for name in names if not name.startswith(POOLER)} | (own.keys() & weights.keys())
    for name in sorted(needed):
        ours, theirs = (_shape(of.get(name)) for of in (own, weights))
        if ours != theirs:
            raise ValueError(
                f"{type(net).__name__} has {name} of shape {ours}, they have {theirs}. Take a "
                "network of the same layers, widths and vocabulary."
            )
    if not any(value.is_meta for value in own.values()):
        encoder.load_state_dict({name: weights[name] for name in needed}, strict=False)


def _shape(value: Tensor | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(value.shape)
