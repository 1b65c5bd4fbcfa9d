"""Options of every verb as frozen dataclasses: a field is a Python argument, a command-line flag and a YAML key at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from nncift.errors import ConfigError
from nncift.registry import did_you_mean, is_folder

Known = Literal["keep", "predict"]
Design = Literal["auto", "block", "stripes", "spread", "cross", "adaptive"]
Feature = Literal["auto", "embedding", "states"]
Task = Literal["instruction", "task-specific", "continual"]

EXECUTOR = (
    "Who does what falls into shards (labels, embeddings, --parts): serial, threads, ray (on this machine), or a cluster's "
    "ray://HOST:PORT. The result does not depend on it."
)
WORKERS = "Workers of --executor threads or ray; 0: one a GPU, else one a core."


def setting(text: str, default: Any = MISSING, *, short: str | None = None) -> Any:
    """A field with the help text that its flag shows."""
    return field(default=default, metadata={"help": text, "short": short})


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every verb's options share: checked types, and a way in from names and values. Abstract."""

    def __post_init__(self) -> None:
        for item in fields(self):
            _check_type(type(self), item.name, getattr(self, item.name))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """A configuration from names and values, numbers and paths accepted where text is meant.

        Raises:
            ConfigError: a name is unknown (the nearest is suggested), missing, or its value is of the wrong type.
        """
        known = tuple(item.name for item in fields(cls))
        for name in values:
            if name not in known:
                raise ConfigError(f"unknown option {name!r}. {did_you_mean(name, known)}")
        missing = [item.name for item in fields(cls) if item.default is MISSING and item.name not in values]
        if missing:
            raise ConfigError(f"missing option {missing[0]!r}.")
        return cls(**{name: _as_field(cls, name, value) for name, value in values.items()})


@dataclass(frozen=True, kw_only=True)
class _TeacherOptions(Options):
    """What labelling and selecting have in common. Abstract: only `LabelConfig` and `SelectConfig` are ever made."""

    pool: str = setting(
        "Candidates: a .jsonl, .json, .parquet or .csv file, a folder of .parquet or .jsonl shards, or hub:owner/name#split."
    )
    target: str | None = setting(
        "Rows the subset should help with; without them the pool is its own target.", None, short="-t"
    )
    influence: str = setting(
        "Influence function (see `nncift list`), or module:Class; auto: less where a --model is named, else similarity.",
        "auto",
        short="-i",
    )
    option: tuple[str, ...] = setting("Option of the influence function, name=value; may be repeated.", ())
    model: tuple[str, ...] = setting(
        "Language model: hub id, folder, .gguf file, or gemma-3-270m, NAME#layers=6 for its first layers, or "
        "openai://HOST:PORT/NAME behind a server; several for an influence that weighs them.",
        (),
        short="-m",
    )
    embedder: str | None = setting(
        "Sentence-transformers id or folder, `minilm`, or POOL.npy,TARGET.npy.", None, short="-e"
    )
    labels: str = setting(
        "Exact influences to compute: a number of pairs, 5% of pairs, u=5% per axis, 5000calls of the model, 10min, all, or "
        "auto: in rounds until more would change little (none: trust a reused estimator unchecked).",
        "auto",
    )
    design: Design = setting(
        "How the labels lie among the pairs: block, stripes, spread, cross, or adaptive (rounds that go on where the estimator "
        "is least sure); auto: a block where rows are what an exact influence costs, else stripes.",
        "auto",
    )
    format: str = setting("Row layout of the pool: auto, alpaca, sharegpt, messages, prompt-completion, text.", "auto")
    target_format: str = setting("Row layout of the target.", "auto")
    device: str = setting("auto, cpu, cuda, cuda:N or mps; cuda:0,cuda:1 for a worker on each.", "auto")
    dtype: str = setting("Number format of the language model: auto, bfloat16, float16 or float32.", "auto")
    quantize: Literal["4bit"] | None = setting("Load the language model in 4 bits through bitsandbytes.", None)
    max_length: int = setting("Longest sequence in tokens; example text goes first, response tokens last.", 2048)
    batch_tokens: int = setting("Tokens per forward of the language model; 0 follows the device.", 0)
    max_targets: int = setting("Target rows used at most; a larger target is sampled, and the error stated.", 5000)
    memory: str = setting("Memory that the run may use, such as 8GB; auto: what is available; 0: no limit.", "auto")
    seed: int = setting("Seed of everything that is drawn.", 0)
    trust_remote_code: bool = setting("Let a model from the hub run code of its own.", False)
    executor: str = setting(EXECUTOR, "serial")
    workers: int = setting(WORKERS, 0)
    output: str | None = setting("Where the result goes.", None, short="-o")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, max_length=16, max_targets=1, batch_tokens=0, seed=0, workers=0)
        # what taught most in docs/results, and what costs nothing and taught nearly as much
        if self.influence == "auto" and not self.takes_over:
            object.__setattr__(self, "influence", "less" if self.model else "similarity")

    @property
    def takes_over(self) -> bool:
        """Whether the estimator is that of another run, whose recipe then says which influence it is of."""
        return False

    def teacher_options(self) -> dict[str, str]:
        """`--option name=value` as a mapping.

        Raises:
            ConfigError: an entry has no `=`.
        """
        return named_values(self.option, "--option")


@dataclass(frozen=True, kw_only=True)
class LabelConfig(_TeacherOptions):
    """Options of `nncift label`: exact influences, nothing estimated."""


@dataclass(frozen=True, kw_only=True)
class SelectConfig(_TeacherOptions):
    """Options of `nncift select`."""

    budget: str = setting(
        "Rows to choose: a number, a percentage of the usable rows, or tokens of --model such as 2Mtok.",
        "10%",
        short="-b",
    )
    keep: str | None = setting("Rows of the pool that are in the subset already; they count, and come first.", None)
    quota: str | None = setting(
        "The most that rows with one value of a column may have of the subset: task=5%, or task=200 rows.", None
    )
    dedup: float = setting(
        "Leave out pool rows whose embedding has this cosine, or more, with that of an earlier one, such as 0.95; 0: none. A "
        "percentage as --budget is of the rows that are left.",
        0.0,
    )
    existing: str | None = setting(
        "Rows the model already knows (continual learning); what they cover is not chosen again.", None
    )
    existing_format: str = setting("Row layout of the existing rows.", "auto")
    objective: str | None = setting("Set function (see `nncift list`); chosen from the task when not given.", None)
    objective_option: tuple[str, ...] = setting("Option of the objective, name=value; may be repeated.", ())
    task: Task | None = setting("What the subset is for; told from --target and --existing when not given.", None)
    estimator: str = setting(
        "What learns the influence from the labels (see `nncift list`), module:Class, or a finished run whose own is reused.",
        "gaussian-process",
    )
    hidden: str | None = setting("Hidden layers of `network` or `paper`: 100, or 1000,500, or none.", None)
    features: Feature = setting(
        "What the estimator reads of a row: its embedding, or the language model's states of it (a forward per row); auto: "
        "states where these take at most a tenth of what labelling every pair would.",
        "auto",
    )
    eta: float = setting("Weight of the target in flvmi and fl1mi.", 1.0)
    nu: float = setting("Weight of the existing rows in flcg.", 1.0)
    known: Known = setting("Whether exact labels replace predictions at selection (keep) or not (predict).", "keep")
    backend: Literal["auto", "dense", "tiled"] = setting(
        "Store the kernels (dense) or evaluate them whenever a line is needed (tiled); auto: stored where they take at most "
        "an eighth of the memory.",
        "auto",
    )
    entries: int = setting(
        "Keep only the best so many candidates of each covered row, with a bound on what that can lose; 0: all.", 0
    )
    optimizer: Literal["auto", "naive", "lazy", "stochastic", "threshold"] = setting(
        "How an objective is maximised; auto: exact lazy greedy where that is sound.", "auto"
    )
    epsilon: float = setting("What stochastic and threshold may lose of the guarantee, above 0 and below 1.", 0.1)
    parts: int = setting("Random parts of the pool that are searched one by one, then their picks together.", 1)
    phases: int = setting("Also write the subset in this many phases of rising difficulty; 0: none.", 0)
    difficulty: str = setting(
        "What phases are told by: a pointwise influence function; auto: perplexity with a model, else length.", "auto"
    )
    shard_rows: int = setting(
        "Write subset and ranking as folders of shards with at most so many rows each; 0: files.", 0
    )
    threads: int = setting("Threads for kernels and selection; 0 takes all cores. The result does not depend on it.", 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.phases < 0 or self.phases == 1:
            raise ConfigError(f"--phases is {self.phases}; it must be 2 or more, or 0 for none.")
        at_least(self, parts=1, entries=0, shard_rows=0)
        if not 0 <= self.dedup <= 1:
            raise ConfigError(f"--dedup is {self.dedup}; it is a cosine, above 0 and at most 1, or 0 for none.")
        if not 0 < self.epsilon < 1:
            raise ConfigError(f"--epsilon is {self.epsilon}; it must lie between 0 and 1.")
        for name in ("eta", "nu"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{flag(name)} is {getattr(self, name)}; it must be a finite number, 0 or more.")

    @property
    def takes_over(self) -> bool:
        """Whether the estimator is that of another run."""
        return is_folder("estimator", self.estimator)


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(Options):
    """Options of `nncift score`."""

    rows: str = setting(
        "New rows: a .jsonl, .json, .parquet or .csv file, a folder of .parquet or .jsonl shards, or hub:owner/name#split."
    )
    run: str = setting("A finished run folder that has an estimator.")
    format: str = setting("Row layout of the new rows.", "auto")
    embedder: str | None = setting(
        "Vectors of the new rows, NEW.npy, where the run was embedded by files of vectors.", None, short="-e"
    )
    executor: str = setting(EXECUTOR, "serial")
    workers: int = setting(WORKERS, 0)
    output: str | None = setting("Where the scored rows go, best first (JSONL).", None, short="-o")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, workers=0)


def named_values(entries: Iterable[str], flag: str) -> dict[str, str]:
    """Entries `name=value` as a mapping.

    Raises:
        ConfigError: one has no `=`.
    """
    pairs = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals or not name:
            raise ConfigError(f"{flag} {entry!r} is not of the form name=value.")
        pairs[name.strip().replace("-", "_")] = value.strip()
    return pairs


def parse_budget(text: str, n: int) -> int:
    """How many rows a budget means.

    Args:
        text: a number of rows, or a percentage of the `n` usable rows, rounded to nearest (halves up).

    Raises:
        ConfigError: it has another form, or is 0 or more than the pool.
    """
    match = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,18})?|\.\d{1,18})\s*(%?)\s*", text)
    if match is None or (not match[2] and "." in match[1]):
        raise ConfigError(
            f"--budget {text!r} is neither a number of rows (175) nor a percentage (5%).{_share_hint(text)}"
        )
    rows = int(float(match[1]) * n / 100 + 0.5) if match[2] else int(match[1])
    if rows == 0:
        raise ConfigError(f"--budget {text!r} is no row at all of {n} usable rows. Choose a larger budget.")
    if rows > n or (match[2] and float(match[1]) > 100):
        raise ConfigError(f"--budget {text!r} is {rows:,} rows, but only {n:,} rows of the pool are usable. Lower it.")
    return rows


def _share_hint(text: str) -> str:
    """What a bare fraction most likely meant."""
    if re.fullmatch(r"\s*0?\.\d+\s*", text) and float(text) > 0:
        return f" Did you mean {float(text) * 100:.12g}%?"
    return ""


def at_least(config: Options, **lowest: int) -> None:
    """Raises:
    ConfigError: a field is below its lowest value.
    """
    for name, low in lowest.items():
        if getattr(config, name) < low:
            raise ConfigError(f"{flag(name)} is {getattr(config, name)}; it must be at least {low}.")


def flag(name: str) -> str:
    """The command-line flag of a field."""
    return "--" + name.replace("_", "-")


def _as_field(cls: type, name: str, value: Any) -> Any:
    hint = get_type_hints(cls)[name]
    if name in ("option", "objective_option") and isinstance(value, Mapping):
        return tuple(f"{key}={entry}" for key, entry in value.items())
    if is_list(hint):
        found = () if value is None else (value,) if isinstance(value, str | Path) else value
        return tuple(map(str, found)) if isinstance(found, list | tuple) else value
    if isinstance(value, Path) or (hint is str and isinstance(value, int | float) and not isinstance(value, bool)):
        return budget_text(value) if name == "budget" and not isinstance(value, Path) else str(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < 1024:
        return float(value)
    return value


def is_list(hint: Any) -> bool:
    """Whether a field takes several values, and its flag may be repeated."""
    return get_origin(hint) is tuple


def budget_text(value: int | float | str) -> str:
    """A budget given as a Python number: whole numbers are rows, fractions up to one are shares."""
    return f"{value * 100:.12g}%" if isinstance(value, float) and value <= 1 else str(value)


def _check_type(cls: type, name: str, value: Any) -> None:
    hint = get_type_hints(cls)[name]
    choices = [choice for part in (hint, *get_args(hint)) for choice in get_args(part) if isinstance(choice, str)]
    if choices:
        if value is not None and value not in choices:
            raise ConfigError(f"{flag(name)} is {value!r}. {did_you_mean(str(value), tuple(choices))}")
        return
    allowed = (tuple,) if is_list(hint) else tuple(p for p in (get_args(hint) or (hint,)) if isinstance(p, type))
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise ConfigError(f"{flag(name)} is {value!r}, a {type(value).__name__}; expected {hint}.")
