"""GLUE: sentences and pairs of them to be classified, as language models are compared on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from distill_lab.contracts import Arrays, DataInfo, Splits
from distill_lab.data.tokens import Tokens
from distill_lab.errors import DataError


@dataclass(frozen=True)
class Task:
    """What is known of a task.

    Attributes:
        columns: with the sentence, or with both of a pair.
        classes: in the order of their numbers.
        num_train: published training samples.
        published: name of the split whose labels are published beside the training split.
    """

    columns: tuple[str, ...]
    classes: tuple[str, ...]
    num_train: int
    published: str = "validation"


ENTAILS = ("entailment", "not_entailment")
PAIR = ("sentence1", "sentence2")
TASKS = {
    "cola": Task(("sentence",), ("unacceptable", "acceptable"), 8_551),
    "sst2": Task(("sentence",), ("negative", "positive"), 67_349),
    "mrpc": Task(PAIR, ("not_equivalent", "equivalent"), 3_668),
    "qqp": Task(("question1", "question2"), ("not_duplicate", "duplicate"), 363_846),
    "mnli": Task(
        ("premise", "hypothesis"),
        ("entailment", "neutral", "contradiction"),
        392_702,
        "validation_matched",
    ),
    "qnli": Task(("question", "sentence"), ENTAILS, 104_743),
    "rte": Task(PAIR, ENTAILS, 2_490),
    "wnli": Task(PAIR, ("not_entailment", "entailment"), 635),
}


class Glue:
    """The tasks of GLUE that have classes; all but STS-B, which has numbers.

    The labels of the test split are not published, so the published validation split is the test
    split here, as in the tables of papers, and validation is taken from the training split. Token
    types are not told apart. What the hub answers is held against the number of samples alone.

    Source: Wang et al. 2019, arXiv:1804.07461; `nyu-mll/glue` of the package datasets, which keeps
    what it downloads and has to be installed: `pip install 'distill-lab[hub]'`.

    Args:
        task: cola, sst2, mrpc, qqp, mnli, qnli, rte or wnli.
        length: see `Tokens`.
        num_words: see `Tokens`.
        student_words: see `Tokens`.
        folder: see `Tokens`.
        num_validation: of the training samples, >= 1, each class in proportion.
        split_seed: decides which ones; apart from the run's seed, so that runs with different seeds
            share their splits.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        task: Literal["cola", "sst2", "mrpc", "qqp", "mnli", "qnli", "rte", "wnli"],
        length: int,
        num_words: int | None,
        student_words: int | None,
        folder: str,
        num_validation: int,
        split_seed: int,
    ) -> None:
        self.task = TASKS[task]
        most = self.task.num_train - 2
        if not 1 <= num_validation <= most:
            raise ValueError(f"num_validation: must be in [1, {most}], got {num_validation}.")
        if len(self.task.columns) == 2 and length < 5:
            raise ValueError(f"length: must be >= 5 for pairs of sentences, got {length}.")
        self.tokens = Tokens(length, num_words, student_words, Path(folder))
        self.num_validation = num_validation
        self.split_seed = split_seed
        self.info = DataInfo(
            name=f"glue_{task}",
            num_classes=len(self.task.classes),
            class_names=self.task.classes,
            **self.tokens.info,
        )

    def load(self) -> Splits:
        """Return the published samples as token ids; the same arrays every time.

        Raises:
            DataError: datasets is not installed, cannot have them, or has others.
        """
        import torch

        from distill_lab.data.split import stratified

        found = _downloaded(self.info.name.removeprefix("glue_"))
        tables = {"train": found["train"], "test": found[self.task.published]}
        texts = {split: self._texts(table) for split, table in tables.items()}
        targets = {split: torch.tensor(list(table["label"])) for split, table in tables.items()}
        if len(targets["train"]) != self.task.num_train:
            raise DataError(
                f"{self.info.name}: must have {self.task.num_train} training samples, got "
                f"{len(targets['train'])}."
            )
        validation, train = stratified(targets["train"], (self.num_validation,), self.split_seed)
        ids = self.tokens.rows(texts, (texts["train"][number] for number in train.tolist()))
        return Splits(
            Arrays(ids["train"][train], targets["train"][train]),
            Arrays(ids["train"][validation], targets["train"][validation]),
            Arrays(ids["test"], targets["test"]),
        )

    def _texts(self, table: Any) -> list[Any]:
        columns = [list(table[name]) for name in self.task.columns]
        return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def _downloaded(task: str) -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise DataError(
            "GLUE needs the package datasets: pip install 'distill-lab[hub]'."
        ) from error
    try:
        return datasets.load_dataset("nyu-mll/glue", task)
    except (OSError, ValueError) as error:
        what = " ".join(str(error).split())
        raise DataError(f"GLUE, task {task}, could not be loaded: {what}") from error
