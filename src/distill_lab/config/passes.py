"""The configs of the passes of a chain."""

from __future__ import annotations

from typing import Any

from distill_lab.config.compose import compose


def pass_configs(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one config per pass, in order; of a run without a chain, its own.

    The teacher of every pass but the first is the student of the pass before, whose run is not
    known yet; published weights, to take or to start from, are of the first alone. The networks of
    the last pass are compressed, none before.

    Args:
        config: in which no problem was found.
    """
    chain = config["chain"]
    choices = [f"architecture@student={name}" for name in chain["assistants"]]
    assistants = [compose([choice])["student"] for choice in choices]
    students = [*assistants, *[config["student"]] * chain["generations"]]
    teachers = [config["teacher"], *students[:-1]]
    trained_before = {"weights": None, "pretrained": None}
    later = {**config, "selection": {**config["selection"], **trained_before}}
    passes = [
        {**(later if number else config), "teacher": teacher, "student": student}
        for number, (teacher, student) in enumerate(zip(teachers, students, strict=True))
    ]
    return [*({**one, "compress": {}} for one in passes[:-1]), passes[-1]]
