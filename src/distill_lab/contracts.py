"""What flows between the layers of the package.

Axis letters used in every docstring:
    B batch, K classes, C channels, H height, W width, N samples, D embedding, L layers.

Nothing here imports torch at run time, so the command line can read these types and stay quick.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from distill_lab.settings import (
        Cache,
        Chain,
        Design,
        Evaluation,
        Hardware,
        Knowledge,
        Price,
        Regime,
        Search,
        Selection,
        Tracking,
        Variants,
        Weighting,
    )

Shapes = dict[str, tuple[int, ...]]
"""Tap name -> shape of its features, batch axis included."""


class Batch(NamedTuple):
    """One batch as the data module yields it.

    Attributes:
        inputs: (B, ...) tensor, or a dict of such tensors. Where several processes share a batch,
            this process's rows of it; all else is of the whole batch.
        targets: (B,) class indices, or (B, K) probabilities after mixing.
        index: (B,) number of each sample in its split.
        view: (B,) number of the augmentation that was applied, the same for the whole batch; 0 on
            the first epoch.
    """

    inputs: Tensor
    targets: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    view: Tensor


@dataclass(frozen=True)
class Output:
    """What a network says about a batch.

    Attributes:
        logits: (B, K).
        features: tap name -> (B, ...) activations.
        classifier: the network's last linear layer, (B, D) -> (B, K); None where it has none.
    """

    logits: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)
    classifier: nn.Linear | None = None


@dataclass(frozen=True)
class DistillBatch:
    """The one argument of every loss.

    Attributes:
        student: the student's output, with gradient.
        teachers: one output per teacher, without gradient; empty when there is no teacher.
        targets: (B,) class indices, or (B, K) probabilities.
        index: (B,) number of each sample in the training split.
        temperature: > 0, shared by all terms of this step.
        epoch: epochs trained so far, a fraction within an epoch; `int(epoch)` counts from 0.
        num_epochs: of the whole training.
        extra: what the networks say to a term's `extra_inputs`; None for other terms.
        inputs: (B, ...) that all this was said about, for terms with a network of their own.
    """

    student: Output
    teachers: tuple[Output, ...]
    targets: Tensor
    index: Tensor
    temperature: float
    epoch: float = 0.0
    num_epochs: int = 1
    extra: Extra | None = None
    inputs: Tensor | None = None


@dataclass(frozen=True)
class Extra:
    """Answers to the further inputs that a term asked for, with as many rows as it made.

    Attributes:
        student: with gradient.
        teachers: one per teacher, without gradient.
    """

    student: Output
    teachers: tuple[Output, ...]


class LossValue(NamedTuple):
    """The training loss of one batch.

    Attributes:
        total: scalar with gradient, the sum of weight times term.
        terms: name -> unweighted scalar, with gradient.
        task: weight times term of those that use no teacher and have a gradient.
        distillation: the same of those that use one; () where nothing is distilled.
    """

    total: Tensor
    terms: dict[str, Tensor]
    task: tuple[Tensor, ...] = ()
    distillation: tuple[Tensor, ...] = ()


class Stored(Protocol):
    """Images in files, used like the (N, C, H, W) tensor of their pixels that memory cannot hold.

    Attributes:
        shape: (N, C, H, W).
        varies: whether training reads other pixels of a sample in every view, by the run's seed.
        signature: stands for all the pixels in the checksum of the data.
    """

    shape: tuple[int, ...]
    varies: bool
    signature: str

    def __len__(self) -> int:
        """Return N."""

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """Return (B, C, H, W) float32 in [0, 1], as they are evaluated."""

    def split(self, size: int) -> Iterator[Tensor]:
        """Yield all of them in order, `size` at a time."""

    def read(self, parts: Sequence[Tensor], seed: int | None, view: int) -> Iterator[Tensor]:
        """Yield (B, C, H, W) uint8 for each index (B,); with a seed, as training sees the view."""


class Arrays(NamedTuple):
    """A split: inputs (N, ...) in memory, or stored in files, and targets (N,) int64.

    Inputs are float32, or int64 where they are token ids.

    Attributes:
        had: (M, 2) int64, the number of a row and an item, from 0 on, that its user had before the
            target, however long ago; each pair once. None where no items are ranked.
    """

    inputs: Tensor | Stored
    targets: Tensor
    had: Tensor | None = None


class Splits(NamedTuple):
    """The three splits: choices are made on `validation`; `test` is read once, in stage 6."""

    train: Arrays
    validation: Arrays
    test: Arrays


class Columns(NamedTuple):
    """Token ids of each row that students read in place of the others.

    Attributes:
        start: of the columns; what is before them is what teachers read.
        vocabulary_size: of their own vocabulary.
    """

    start: int
    vocabulary_size: int


class Quality(NamedTuple):
    """What networks are compared by, in every choice and in the verdict; higher is better.

    Attributes:
        key: last word of its metrics, e.g. of val/accuracy.
        label: for people.
    """

    key: str
    label: str

    @property
    def decides(self) -> str:
        """The metric by which runs are chosen."""
        return f"val/{self.key}"


ACCURACY, NDCG10 = Quality("accuracy", "accuracy"), Quality("ndcg10", "NDCG@10")


@dataclass(frozen=True)
class DataInfo:
    """What is known of a dataset before it is loaded.

    Attributes:
        name: short name, used in run names.
        input_shape: shape of one input, no batch axis, e.g. (C, H, W).
        num_classes: K.
        class_names: K names for tables and plots.
        mean: per-channel mean that inputs are normalised with; () for token ids.
        std: per-channel standard deviation, > 0; () for token ids.
        vocabulary_size: inputs are token ids below it, (L,) int64, 0 being padding; None: inputs
            are numbers, float32.
        mask_id: token id that hides one word of each row, which is the row's class; None: no word
            is hidden.
        hidden_id: token id that stands for a word that augmentation hides; None: rows are not to be
            augmented.
        marks: token ids that begin and end each row and are no words; () for none.
        of_students: the columns that students have to themselves; None: all read the same.
        ranks_items: rows are items of a user's past, the id of class k being k + 1, and the class
            is the next one. Validation and test then have `Arrays.had`.
    """

    name: str
    input_shape: tuple[int, ...]
    num_classes: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    vocabulary_size: int | None = None
    mask_id: int | None = None
    hidden_id: int | None = None
    marks: tuple[int, ...] = ()
    ranks_items: bool = False
    of_students: Columns | None = None

    def read_by(self, student: bool) -> DataInfo:
        """Return what is known to a network that reads the columns of students, or the others."""
        own = self.of_students
        if own is None:
            return self
        if not student:
            return replace(self, input_shape=(own.start,), of_students=None)
        length, size = self.input_shape[0] - own.start, own.vocabulary_size
        return replace(self, input_shape=(length,), vocabulary_size=size, of_students=None)

    @property
    def quality(self) -> Quality:
        """What networks are compared by on these data."""
        return NDCG10 if self.ranks_items else ACCURACY

    @property
    def decisive(self) -> list[Any]:
        """What networks and their inputs depend on besides the arrays, as plain values."""
        shape = [list(self.input_shape), self.num_classes, self.vocabulary_size, self.mask_id]
        marks = [self.hidden_id, list(self.marks)]
        return [list(self.mean), list(self.std), *shape, *marks, self.of_students]


class Dataset(Protocol):
    """What a file in `data/` offers; the constructor's arguments are the keys of its yaml."""

    info: DataInfo

    def load(self) -> Splits:
        """Return the verified, un-normalised splits; the same arrays every time."""


@dataclass(frozen=True)
class Component:
    """Something a config names and that is made later: a network, a loss term, a dataset.

    Attributes:
        target: dotted path of a class or function.
        args: its keyword arguments, as plain values.
        is_student: of a network: it reads the columns of students where the data have some.
    """

    target: str
    args: dict[str, Any] = field(default_factory=dict)
    is_student: bool = False

    def make(self, **extra: Any) -> Any:
        """Import the target and call it with `args` and `extra`."""
        return self.imported(**self.args, **extra)

    @property
    def imported(self) -> Any:
        """The class or function itself."""
        module, _, name = self.target.rpartition(".")
        return getattr(import_module(module), name)

    def make_network(self, info: DataInfo) -> nn.Module:
        """Make a network for the inputs and classes of a dataset.

        Raises:
            ValueError: a knob is out of range, or the input is too small for the network.
        """
        net: nn.Module = self.make(**self.supplied(info))
        return self.reading(net, info)

    def reading(self, net: nn.Module, info: DataInfo) -> nn.Module:
        """Let the network read its own columns of each row, and return it."""
        if info.of_students is not None:
            net.register_forward_pre_hook(_OfStudents(info.of_students.start, self.is_student))
        return net

    def supplied(self, info: DataInfo) -> dict[str, Any]:
        """Return what a network is given beside its knobs.

        Raises:
            ValueError: the inputs are token ids, which this network does not read.
        """
        info = info.read_by(self.is_student)
        given = {"input_shape": info.input_shape, "num_classes": info.num_classes}
        words = {"vocabulary_size": info.vocabulary_size, "mask_id": info.mask_id}
        known, name = self._parameters, self.target.rpartition(".")[2]
        if info.vocabulary_size is not None and "vocabulary_size" not in known:
            raise ValueError(
                f"input_shape: {name} reads numbers, and {info.name} has token ids. Take a network "
                "that reads them, e.g. bert_tiny."
            )
        if info.mask_id is not None and "mask_id" not in known:
            raise ValueError(
                f"input_shape: {name} classifies rows, and {info.name} asks for a masked word. "
                "Take a network that names it, e.g. bert_tiny."
            )
        return given | {key: value for key, value in words.items() if key in known}

    @property
    def takes_vocabulary(self) -> bool:
        """Whether it is given the size of the vocabulary, as a network that reads token ids is."""
        return "vocabulary_size" in self._parameters

    @property
    def _parameters(self) -> frozenset[str]:
        try:
            return frozenset(signature(self.imported).parameters)
        except ValueError:  # a builtin has no signature, and is no network
            return frozenset()

    @property
    def label(self) -> str:
        """Short text for tables and run names; knobs that are off are left out.

        >>> Component("distill_lab.models.mlp.MLP", {"widths": [64, 32], "dropout": 0.0}).label
        'MLP widths=[64, 32]'
        """
        knobs = " ".join(f"{key}={_shown(value)}" for key, value in self.args.items() if value)
        return f"{self.target.rpartition('.')[2]} {knobs}".strip()


@dataclass(frozen=True)
class _OfStudents:
    """Leaves a network the columns of students, or the others; a hook that can be copied."""

    start: int
    is_student: bool

    def __call__(self, net: nn.Module, given: tuple[Any, ...]) -> Any:
        rows, start = given[0], self.start
        return (rows[:, start:] if self.is_student else rows[:, :start],)


def placeholder(net: nn.Module, input_shape: tuple[int, ...], batch_size: int) -> Tensor:
    """Return (batch_size, *input_shape) to run a network on where the values do not matter.

    Zeros in the dtype of the weights, on their device; ones, int64, for a network whose first
    layer with weights is an embedding: it reads token ids.
    """
    import torch

    inside = (module for module in net.modules() if module is not net)
    first = next((m for m in inside if next(m.parameters(recurse=False), None) is not None), net)
    weight = next((p for p in net.parameters() if p.is_floating_point()), torch.empty(0))
    if isinstance(first, torch.nn.Embedding):
        return torch.ones(batch_size, *input_shape, dtype=torch.int64, device=weight.device)
    return torch.zeros(batch_size, *input_shape, dtype=weight.dtype, device=weight.device)


def _shown(value: Any) -> Any:
    """Show a network inside another one by its label."""
    is_network = isinstance(value, dict) and value.keys() == {"target", "args", "is_student"}
    return f"({Component(**value).label})" if is_network else value


def grid_labels(components: Sequence[Component]) -> list[str]:
    """Return a short text for each point of a grid: the knobs that vary, or all if none does.

    >>> grid_labels([Component("m.MLP", {"widths": [n], "dropout": 0}) for n in (8, 16)])
    ['MLP widths=[8]', 'MLP widths=[16]']
    """
    first = components[0]
    varying = [
        key for key, value in first.args.items() if any(c.args[key] != value for c in components)
    ]
    if len(components) == 1 or not varying:
        return [component.label for component in components]
    return [
        Component(component.target, {key: component.args[key] for key in varying}).label
        for component in components
    ]


@dataclass(frozen=True)
class Parts:
    """A checked run, ready to work: what `config.build` makes of the config.

    Attributes:
        teachers: every point of the teacher's grid.
        students: every point of the student's grid.
        loss: term name -> loss.
        compress: step name -> step of compression, in order.
        architectures: option of that group -> network, for what is proposed; part of no
            fingerprint.
        config: the resolved config as plain values, for fingerprints and logging.
        choices: group -> option, for logging.
        search: which values of keys are tried around this run; None: it is a single run.
    """

    name: str | None
    seed: int
    reuse: Literal["off", "same_code", "any_code"]
    data: Dataset
    teachers: tuple[Component, ...]
    students: tuple[Component, ...]
    loss: dict[str, Component]
    temperature: Component
    selection: Selection
    chain: Chain
    knowledge: Knowledge
    design: Design
    regime: Regime
    weighting: Weighting
    cache: Cache
    evaluation: Evaluation
    compress: dict[str, Component]
    architectures: dict[str, Component]
    variants: Variants
    price: Price
    hardware: Hardware
    tracking: Tracking
    config: dict[str, Any]
    choices: dict[str, str]
    search: Search | None = None
