"""The trackers themselves: each is told one story and says where it can be seen. None is imported before it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path

import yaml

from nncift.tracking.story import Story

PROJECT = "nncift"

Tell = Callable[[Story], str]
"""Takes a story, and gives the place or command that shows it."""


def tensorboard(story: Story) -> str:
    """Event files in `tensorboard` inside the folder; those of an earlier telling are replaced. It holds no page."""
    place = story.folder / "tensorboard"
    for earlier in place.glob("events.out.tfevents.*"):
        earlier.unlink()
    writer = import_module("torch.utils.tensorboard").SummaryWriter(str(place))
    try:
        text = yaml.safe_dump(story.recipe, sort_keys=False, allow_unicode=True)
        writer.add_text("recipe", "".join(f"    {line}\n" for line in text.splitlines()))  # Markdown's block of code
        for name, value in story.numbers.items():
            writer.add_scalar(name, value, 0)
        for curve in story.curves:
            for step, values in curve.points:
                for name, value in values.items():
                    writer.add_scalar(f"{curve.name}/{name}", value, step)
    finally:
        writer.close()
    return f"tensorboard --logdir {story.folder.parent}"


def trackio(story: Story) -> str:
    """A run of the local project `nncift`, or of the server that its own environment variables name; the page an artefact."""
    package = import_module("trackio")
    quiet = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
    with redirect_stdout(StringIO()):  # which is for what the command prints
        run = package.init(project=PROJECT, name=story.name, group=story.group, config=story.recipe, **quiet)
        try:
            run.log(story.numbers, step=0)
            for curve in story.curves:
                for step, values in curve.points:
                    run.log({f"{curve.name}/{name}": value for name, value in values.items()}, step=step)
            if story.page:
                package.log_artifact(story.page, name=f"{story.name}-report", type="report")
        finally:
            package.finish()
    return f"trackio show --project {PROJECT}"


def wandb(story: Story) -> str:
    """A run of the project `nncift`, or of `WANDB_PROJECT`, by the settings of its environment variables; the page a panel."""
    package = import_module("wandb")
    settings = package.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
    )
    run = package.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=story.name,
        group=story.group,
        config=story.recipe,
        dir=os.environ.get("WANDB_DIR", str(story.folder)),
        settings=settings,
    )
    with run:
        run.summary.update(story.numbers)
        for curve in story.curves:
            along = f"{curve.name}/{curve.along}"
            run.define_metric(along, hidden=True)
            run.define_metric(f"{curve.name}/*", step_metric=along)
            for step, values in curve.points:
                run.log({along: step} | {f"{curve.name}/{name}": value for name, value in values.items()})
        if story.page:
            run.log({"report": package.Html(story.page, inject=False)})
    return f"wandb sync {Path(run.dir).parent}" if run.offline else str(run.url)
