"""Every option of every group, and every experiment: composed, checked and built, without a run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from distill_lab.config.check import problems
from distill_lab.config.compose import compose
from distill_lab.config.groups import EXPERIMENTS, groups, takes_several
from distill_lab.errors import ConfigError
from distill_lab.launch import check_jobs, deep_problems
from distill_lab.naming import split_override
from distill_lab.own_code import make_importable

NETWORKS = (
    ("architecture@student=mlp_30",),
    ("architecture@teacher=cnn_teacher", "architecture@student=cnn_small"),
    ("architecture@teacher=vit_small", "architecture@student=vit_tiny"),
    ("architecture@teacher=vit_small", "architecture@student=deit_tiny"),
    (
        "architecture@teacher=cnn_teacher",
        "architecture@student=cnn_small",
        "design.reuse_classifier=true",
    ),
)
"""For losses that read vectors, maps, tokens, a distillation token, or the teacher's classifier."""
DOMAINS = (
    (),
    ("data=fake_text", "architecture@teacher=bert_tiny", "architecture@student=bert_tiny"),
    ("data=voice_prompts",),
    ("data=movielens_100k", "architecture@teacher=sasrec", "architecture@student=gru4rec"),
)
"""For datasets and networks of images, texts, sounds, and of users and items."""
AROUND = ("data", "teacher", "student", "design")
"""Sections that these differ in."""
LAST_STEP = "quantize_onnx"
"""For steps of compression that need another one after them."""


def check_everything() -> int:
    """Compose, check and build every option of every group and every experiment; return how many.

    An option by itself is not held against the budget; an experiment is, with each of its jobs. A
    loss is tried with several networks until it can read some, a step of compression with another
    one after it, other options in every domain.

    Raises:
        ConfigError: lists every problem, each with the choice that shows it.
    """
    make_importable()
    choices = [
        f"{key}=[{name}]" if takes_several(key) else f"{key}={name}"
        for key, names in groups().items()
        for name in names
    ]
    found = []
    for choice in choices:
        try:
            _check_choice(choice)
        except ConfigError as error:
            found += [f"with {choice}: {problem}" for problem in error.problems]
    if found:
        raise ConfigError(found)
    return len(choices)


def _check_choice(choice: str) -> None:
    if split_override(choice)[0] == EXPERIMENTS:
        check_jobs([choice])
        return
    first: list[str] = []
    for config in _configs_around(choice):
        shallow = problems(config)
        found = shallow + deep_problems(config, shallow, budget=False)
        if not found:
            return
        first = first or found
    raise ConfigError(first)


def _configs_around(choice: str) -> Iterator[dict[str, Any]]:
    """Yield configs in which an option may be sound."""
    if choice.startswith("compress="):
        yield from (compose([text]) for text in (choice, choice.replace("]", f",{LAST_STEP}]")))
        return
    config = compose([choice])
    chosen = split_override(choice)[0].rpartition("@")[2]
    for others in NETWORKS if chosen == "loss" else DOMAINS:
        around = _composed_once(others)
        yield config | {section: around[section] for section in AROUND if section != chosen}


@cache
def _composed_once(overrides: tuple[str, ...]) -> dict[str, Any]:
    return compose(overrides)
