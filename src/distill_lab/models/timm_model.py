"""Any image classifier of timm, with the taps and the classifier of this package."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from distill_lab.errors import nearest
from distill_lab.models.checks import require, require_image

FOREIGN = (TypeError, ValueError, RuntimeError, AssertionError, ArithmeticError, LookupError)
"""What constructors and forward passes that are not ours raise where sizes do not fit."""


class TimmModel(nn.Module):
    """A network of timm up to its pooled feature, and a linear classifier after it.

    Source: Wightman, pytorch-image-models, doi:10.5281/zenodo.4414861; first weights of the encoder
    are timm's. Networks with two heads, as DeiT with a distillation token, have one here, on the
    mean of what the heads would read.

    Taps are the layers that timm lists as features of the network, as far as they give maps
    (B, C, H, W) or tokens (B, L, D); others, such as those of Swin, which keep channels last, are
    left out. A network none of whose layers is left has the pooled feature.

    Args:
        input_shape: (C, H, W) of one input.
        num_classes: K.
        name: of the network in `timm.list_models()`, e.g. "resnet18".
        patch_size: side of a patch in pixels, divides H and W; None: that of the named network, or
            it has no patches.

    Attributes:
        token_grid: rows and columns of patches, the last of the tokens; None where there are none.

    Raises:
        ValueError: timm has no such network, or it does not fit the inputs or the patches.
    """

    def __init__(
        self, *, input_shape: tuple[int, ...], num_classes: int, name: str, patch_size: int | None
    ) -> None:
        super().__init__()
        require_image(input_shape)
        self.name = name
        self.encoder = _encoder(name, input_shape, patch_size)
        self.token_grid = _grid(self.encoder, input_shape)
        with torch.device("meta"):
            width, layers = _seen(_encoder(name, input_shape, patch_size), input_shape, name)
        self.classifier = nn.Linear(width, num_classes)
        self.taps = [f"encoder.{layer}" for layer in layers] or ["encoder"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, C, H, W)."""
        logits: Tensor = self.classifier(self.encoder(inputs))
        return logits


def _encoder(name: str, input_shape: tuple[int, ...], patch_size: int | None) -> nn.Module:
    """Make the network without its head; those of a fixed image size for the size at hand."""
    import timm  # takes seconds

    if not timm.is_model(name):
        raise ValueError(f"name: timm has no network {name!r}.{nearest(name, timm.list_models())}")
    require("patch_size", patch_size, ">= 1 or null", patch_size is None or patch_size >= 1)
    sizes: dict[str, Any] = {} if patch_size is None else {"patch_size": patch_size}
    try:
        config = timm.get_pretrained_cfg(name)
        if config is not None and config.fixed_input_size:
            sizes["img_size"] = input_shape[1:]
        net: nn.Module = timm.create_model(name, num_classes=0, in_chans=input_shape[0], **sizes)
    except FOREIGN as error:
        advice = " It takes patch_size=null." if "patch_size" in str(error) else ""
        raise ValueError(
            f"name: {name} cannot be made for inputs {input_shape} with patch_size={patch_size}: "
            f"{_said(error)}.{advice}"
        ) from error
    return net


def _said(error: Exception) -> str:
    return str(error).rstrip(". ") or type(error).__name__


def _seen(encoder: nn.Module, input_shape: tuple[int, ...], name: str) -> tuple[int, list[str]]:
    """Run a network that has no memory once.

    Returns:
        The width of its pooled feature, and which of the layers that timm lists can be read.
    """
    listed: list[dict[str, Any]] = getattr(encoder, "feature_info", None) or []
    modules = dict(encoder.named_modules())
    channels = {one["module"]: one["num_chs"] for one in listed if one["module"] in modules}
    shapes: dict[str, tuple[int, ...]] = {}
    for path in channels:
        modules[path].register_forward_hook(
            lambda _, given, said, path=path: shapes.update({path: getattr(said, "shape", ())})
        )
    try:
        with torch.no_grad():
            pooled = encoder.eval()(torch.zeros(2, *input_shape))
    except FOREIGN as error:
        raise ValueError(f"name: {name} does not read {input_shape}: {_said(error)}.") from error
    found = {4: 1, 3: -1}  # number of axes -> that of the channels
    kept = [
        path
        for path, shape in shapes.items()
        if path and len(shape) in found and shape[found[len(shape)]] == channels[path]
    ]
    return pooled.shape[1], kept


def _grid(encoder: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return rows and columns of patches.

    Raises:
        ValueError: they leave pixels out.
    """
    found = [getattr(encoder, where, None) for where in ("patch_embed", "stem")]
    patches: Any = next((one for one in found if hasattr(one, "grid_size")), None)
    grid = getattr(patches, "grid_size", None)
    if not isinstance(grid, tuple):
        return None
    steps = getattr(getattr(patches, "proj", None), "stride", None)
    if isinstance(steps, tuple):
        sides = tuple(input_shape[1:])
        inside = all(n * step >= side for n, step, side in zip(grid, steps, sides, strict=True))
        require("patch_size", steps[0], f"a divisor of H and W, {sides}", inside)
    return grid[0], grid[1]
