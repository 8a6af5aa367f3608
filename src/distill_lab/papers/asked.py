"""The words of `distill-lab reproduce`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from distill_lab.errors import ConfigError, nearest
from distill_lab.papers.paper import Paper, papers, read_paper

CHANGES_NO_NUMBER = ("tracking.", "hardware.", "reuse", "data.folder", "cache.folder")
"""Beginnings of the overrides that may be given beside a paper."""


class Asked(NamedTuple):
    """A paper, one of its scales by name, a pattern of row names, and overrides of every run."""

    paper: Paper
    scale: str
    only: str
    overrides: list[str]


def asked(words: Sequence[str]) -> Asked:
    """Read `PAPER [--scale NAME] [--only PATTERN] [overrides]`.

    The scale is `full` and all rows are meant if not said.

    Raises:
        ConfigError: there is no such paper, scale, row or option, or an override is not for here.
    """
    options = {"--scale": "full", "--only": "*"}
    names, overrides = [], []
    left = iter(words)
    for word in left:
        option, equals, value = word.partition("=")
        if option in options:
            options[option] = value if equals else next(left, "")
        elif word.startswith("-"):
            raise ConfigError(
                [f"{word}: reproduce takes --scale NAME, --only PATTERN and overrides."]
            )
        elif equals and option.startswith(CHANGES_NO_NUMBER):
            overrides.append(word)
        elif equals:
            raise ConfigError(
                [
                    f"{option}: would measure something else than the paper's number; put it "
                    f"into a scale or an experiment. Here are {', '.join(CHANGES_NO_NUMBER)}."
                ]
            )
        else:
            names.append(word)
    if len(names) != 1:
        known, given = ", ".join(papers()) or "none", " ".join(names) or "none"
        raise ConfigError([f"reproduce: name one paper; there are {known}; got {given}."])
    paper = read_paper(names[0])
    scale, only = options["--scale"], options["--only"]
    if scale not in paper.scales:
        known, hint = ", ".join(paper.scales), nearest(scale, paper.scales)
        raise ConfigError([f"--scale: {paper.name} has {known}, got {scale!r}.{hint}"])
    if not paper.named(only):
        names = [row.name for row in paper.rows]
        raise ConfigError(
            [
                f"--only: no row of {paper.name} is named {only!r}.{nearest(only, names)} "
                f"Names are such as {names[0]}; * stands for any part of one."
            ]
        )
    return Asked(paper, scale, only, overrides)
