"""From configuration dataclasses to command-line flags: one parameter per field, so that the words are the same."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Annotated, Any, get_args, get_type_hints

import typer

from nncift import registry
from nncift.config import flag, is_list

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what it would cost, and stop.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON summary on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No bars and stages; notes stay.")]
Track = Annotated[
    str | None,
    typer.Option(
        "--track", metavar="[tensorboard|trackio|wandb]", help="Tell this tracker of what was done, at the end."
    ),
]

_NAMES: dict[str, registry.Kind] = {
    "influence": "influence",
    "difficulty": "influence",
    "objective": "objective",
    "estimator": "estimator",
    "embedder": "embedder",
}
"""Options that take a registered name: a shell completes it."""


def options_of(config: type, *arguments: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a verb one parameter per field of a configuration dataclass; the function receives them as one object.

    Args:
        config: the dataclass.
        arguments: fields that are positional on the command line.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(config)
        own = [
            parameter
            for name, parameter in inspect.signature(function, eval_str=True).parameters.items()
            if name != "config"
        ]
        parameters = [_parameter(item, hints[item.name], item.name in arguments) for item in fields(config)]

        def verb(**values: Any) -> None:
            extra = {parameter.name: values.pop(parameter.name) for parameter in own}
            given = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
            function(config.of({name: value for name, value in given.items() if value is not None}), **extra)

        parameters.sort(key=lambda parameter: parameter.kind == parameter.KEYWORD_ONLY)
        own = [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in own]
        verb.__signature__ = inspect.Signature([*parameters, *own])  # pyright: ignore[reportFunctionMemberAccess]
        verb.__doc__, verb.__name__ = function.__doc__, function.__name__
        return verb

    return decorate


def _parameter(item: Any, hint: Any, positional: bool) -> inspect.Parameter:
    text, short = item.metadata["help"], item.metadata["short"]
    if positional:
        kind = list[str] if is_list(hint) else hint
        return inspect.Parameter(
            item.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Annotated[kind, typer.Argument(help=text)]
        )
    choices = [choice for part in (hint, *get_args(hint)) for choice in get_args(part) if isinstance(choice, str)]
    names = [flag(item.name), *([short] if short else [])]
    default = [*item.default] if is_list(hint) else item.default
    annotation: Any = list[str] if is_list(hint) else hint
    if choices:  # a wrong word gets the configuration's one sentence, not Typer's
        annotation = str | None if default is None else str
    return inspect.Parameter(
        item.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is MISSING else default,
        annotation=Annotated[
            annotation,
            typer.Option(
                *names,
                help=text,
                metavar=f"[{'|'.join(choices)}]" if choices else None,
                autocompletion=_completing(_known(item.name, choices)),
            ),
        ],
    )


def _known(name: str, choices: list[str]) -> tuple[str, ...]:
    """The words that an option is known to take; it may take others too."""
    return registry.names(_NAMES[name]) if name in _NAMES else tuple(choices)


def _completing(words: tuple[str, ...]) -> Callable[[str], list[str]] | None:
    """What a shell is offered behind the beginning of a word; None where only files would do."""

    def begun(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return begun if words else None
