"""Your own texts: a CSV file per split, a column with the text and one with its label."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from distill_lab.contracts import Arrays, DataInfo, Splits
from distill_lab.data.tokens import Tokens
from distill_lab.errors import DataError, nearest

if TYPE_CHECKING:
    from torch import Tensor


LONGEST_FIELD = 2**31 - 1  # characters; Python's own limit is 131,072


class Table(NamedTuple):
    """What was read of a file, row by row."""

    texts: list[str]
    labels: list[str]


class CsvTexts:
    """Rows of `train` and `test` and, if there is one, `validation`; UTF-8, with a header line.

    Args:
        train: path of the file, absolute or from the working directory.
        validation: of the one that choices are made on; None splits a part off `train`.
        test: of the one that is read once, at the end.
        text_column: name of the column with the texts.
        label_column: name of the column with their labels, numbers or words.
        num_classes: >= 2, different labels in `train`; a key, because networks are checked before
            any file is looked at.
        length: see `Tokens`.
        num_words: see `Tokens`.
        student_words: see `Tokens`.
        folder: see `Tokens`.
        validation_fraction: in (0, 1), share of `train` that is split off where `validation` is
            None, each class in proportion.
        split_seed: decides which rows that is; apart from the run's seed, so that runs with
            different seeds share their splits.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        train: str,
        validation: str | None,
        test: str,
        text_column: str,
        label_column: str,
        num_classes: int,
        length: int,
        num_words: int | None,
        student_words: int | None,
        folder: str,
        validation_fraction: float,
        split_seed: int,
    ) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes: must be >= 2, got {num_classes}.")
        if not 0 < validation_fraction < 1:
            raise ValueError(f"validation_fraction: must be in (0, 1), got {validation_fraction}.")
        paths = {"train": train, "validation": validation, "test": test}
        self.paths = {split: Path(path) for split, path in paths.items() if path is not None}
        self.columns = (text_column, label_column)
        self.tokens = Tokens(length, num_words, student_words, Path(folder))
        self.validation_fraction = validation_fraction
        self.split_seed = split_seed
        self.info = DataInfo(
            name=re.sub(r"[^\w.-]+", "_", Path(train).resolve().parent.name) or "csv_texts",
            num_classes=num_classes,
            class_names=self._class_names(num_classes),
            **self.tokens.info,
        )

    def load(self) -> Splits:
        """Read the files; the same arrays every time.

        Raises:
            DataError: a file is missing, has no such column, or other labels than `train`.
        """
        import torch

        tables = {split: read(path, *self.columns) for split, path in self.paths.items()}
        classes = in_order(tables["train"].labels)
        if len(classes) != self.info.num_classes:
            raise DataError(
                f"data.num_classes: must be {len(classes)}, the number of labels in "
                f"{self.paths['train']}, got {self.info.num_classes}."
            )
        numbers = {label: number for number, label in enumerate(classes)}
        targets = {}
        for split, table in tables.items():
            unknown = sorted(set(table.labels) - numbers.keys())
            if unknown:
                raise DataError(
                    f"{self.paths[split]}: has the label {unknown[0]!r}, which is not in train."
                )
            targets[split] = torch.tensor([numbers[label] for label in table.labels])
        rest = torch.arange(len(targets["train"]))
        if "validation" not in tables:
            own, rest = self._split_off(targets["train"])
        trained_on = (tables["train"].texts[number] for number in rest.tolist())
        ids = self.tokens.rows({split: table.texts for split, table in tables.items()}, trained_on)
        arrays = {split: Arrays(ids[split], targets[split]) for split in tables}
        train = arrays["train"]
        if "validation" not in tables:
            arrays["validation"] = Arrays(train.inputs[own], train.targets[own])
        arrays["train"] = Arrays(train.inputs[rest], train.targets[rest])
        return Splits(**arrays)

    def _split_off(self, targets: Tensor) -> tuple[Tensor, ...]:
        from distill_lab.data.split import stratified

        size = round(self.validation_fraction * len(targets))
        if not 1 <= size <= len(targets) - 2:
            raise DataError(
                "data.validation_fraction: must leave >= 1 row to validate on and >= 2 to train "
                f"on, got {self.validation_fraction} of {len(targets)} rows."
            )
        return stratified(targets, (size,), self.split_seed)

    def _class_names(self, num_classes: int) -> tuple[str, ...]:
        """Return the labels where the file is there and has that many, else their numbers."""
        try:
            names = in_order(read(self.paths["train"], *self.columns).labels)
        except DataError:
            names = []
        fits = len(names) == num_classes
        return tuple(names) if fits else tuple(str(number) for number in range(num_classes))


def read(path: Path, text_column: str, label_column: str) -> Table:
    """Return the texts of a file and their labels.

    Raises:
        DataError: see `columns_of`; or a row has no label.
    """
    texts, labels = columns_of(path, {"text_column": text_column, "label_column": label_column})
    if "" in labels:
        raise DataError(f"{path}: row {labels.index('') + 1} has no {label_column!r}.")
    return Table(texts, labels)


def columns_of(path: Path, columns: dict[str, str]) -> tuple[list[str], ...]:
    """Return columns of a CSV file, UTF-8 with a header line, row by row.

    Args:
        path: of the file.
        columns: key of the config -> name of a column.

    Raises:
        DataError: it cannot be read, has no such column, a row has more or fewer fields, or there
            are no rows.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            known = list(reader.fieldnames or [])
            for key, column in columns.items():
                if column not in known:
                    raise DataError(
                        f"data.{key}: {path} has no column {column!r}.{nearest(column, known)} "
                        f"Columns: {', '.join(known) or 'none'}."
                    )
            csv.field_size_limit(LONGEST_FIELD)
            rows: list[list[str]] = []
            for row in reader:
                if None in row or None in row.values():
                    many = "more" if None in row else "fewer"
                    raise DataError(
                        f"{path}: row {len(rows) + 1} has {many} fields than the header; a text "
                        "with commas needs quotes around it."
                    )
                rows.append([row[column] for column in columns.values()])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error
    if not rows:
        raise DataError(f"{path}: has no rows.")
    return tuple(list(values) for values in zip(*rows, strict=True))


def in_order(labels: Sequence[str]) -> list[str]:
    """Return the different labels: by number where all are whole numbers, else by the alphabet.

    >>> in_order(["10", "9", "10"])
    ['9', '10']
    """
    found = set(labels)
    is_number = all(re.fullmatch(r"-?\d+", label) for label in found)
    return sorted(found, key=lambda label: (int(label), label)) if is_number else sorted(found)
