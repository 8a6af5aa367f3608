"""The last section: command, runs, environment and config, to have it all again."""

from __future__ import annotations

from distill_lab.pages.story import Story
from distill_lab.report.html import Section


def how_to_rerun(story: Story) -> list[Section]:
    """Return the command, the run of each stage, the environment and the whole config."""
    commit = story.environment.get("mlflow.source.git.commit", "unknown")
    stages = [{"stage": name, "run": story.link(run)} for name, run in story.origins.items()]
    environment = [
        {"": key.removeprefix("version."), "version": value}
        for key, value in story.environment.items()
        if key.startswith("version.")
    ]
    where = f", on {story.environment['machine']}" if "machine" in story.environment else ""
    return [
        Section(
            "How to rerun",
            text=(
                f"Run {story.run_id}, at commit {commit}{where}. The same command takes finished "
                "stages from the store; with reuse=off all are done again.",
            ),
            tables=(stages, environment),
            code=(story.command,) if story.command else (),
        ),
        Section("Config", code=(story.config,)),
    ]
