"""A student whose layers start as some of its teacher's."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from distill_lab.models.checks import require


def copied(student: nn.Module, teacher: nn.Module, layers: Sequence[int]) -> dict[str, Tensor]:
    """Return the student's state with its layer n as the teacher's layer `layers[n]`.

    What is outside of the layers (embeddings, heads) is the teacher's where name and shape are the
    same, and stays where not. A network tells by `layers_at` the path of its list of layers, by
    `num_heads` how they divide their width, and by `layer_names`, if it needs to, what BERT calls
    their parts.

    Source: Sanh et al. 2019 (DistilBERT), arXiv:1910.01108, section 3.

    Args:
        student: whose state it is; not changed. May be on the meta device, as the teacher.
        teacher: a trained network.
        layers: numbers of the teacher's layers, from 0, one per layer of the student.

    Raises:
        ValueError: a network has no such layers, a number is not the teacher's, or the layers are
            of another shape or number of heads.
    """
    ours, theirs = _layers(student, "student"), _layers(teacher, "teacher")
    each = f"a number in [0, {len(theirs) - 1}] for each of the student's {len(ours)} layers"
    sound = len(layers) == len(ours) and all(0 <= n < len(theirs) for n in layers)
    require("copy_layers", list(layers), each, sound)
    if student.num_heads != teacher.num_heads:
        raise ValueError(
            f"copy_layers: the student has {student.num_heads} heads, the teacher "
            f"{teacher.num_heads}. Set student.num_heads={teacher.num_heads}."
        )
    state, source = student.state_dict(), teacher.state_dict()
    inside = f"{student.layers_at}."
    for name, value in state.items():
        found = source.get(name)
        if not name.startswith(inside) and found is not None and found.shape == value.shape:
            state[name] = found
    for number, taken in enumerate(layers):
        parts = _parts(theirs[taken], teacher)
        for name, value in _parts(ours[number], student).items():
            if name not in parts or parts[name][1].shape != value[1].shape:
                raise ValueError(
                    f"copy_layers: the student's layer {number} has {name} of shape "
                    f"{tuple(value[1].shape)}, the teacher's layer {taken} has "
                    f"{tuple(parts[name][1].shape) if name in parts else 'none'}. Take a student "
                    "of the teacher's kind and width."
                )
            state[f"{inside}{number}.{value[0]}"] = parts[name][1]
    return state


def _layers(net: nn.Module, whose: str) -> list[nn.Module]:
    path = getattr(net, "layers_at", None)
    if path is None:
        kind = type(net).__name__
        raise ValueError(f"copy_layers: the {whose}, {kind}, is no stack of alike layers.")
    return list(net.get_submodule(path).children())


def _parts(layer: nn.Module, net: nn.Module) -> dict[str, tuple[str, Tensor]]:
    """Return BERT's name of each tensor -> its own name, and the tensor."""
    names, found = getattr(net, "layer_names", {}), {}
    for own, value in layer.state_dict().items():
        part, _, last = own.rpartition(".")
        found[f"{names.get(part, part)}.{last}"] = (own, value)
    return found
