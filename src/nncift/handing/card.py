"""The dataset card: what the rows are, how they were chosen, how far to trust that, what it cost, and where they are from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from nncift.data.hub import PREFIX
from nncift.errors import DataError
from nncift.handing.finished import Finished
from nncift.handing.writing import Handed
from nncift.lm.address import read_served
from nncift.plain import Unsound, parse_yaml
from nncift.registry import is_served
from nncift.version import __version__

CARD = "README.md"
_MARK = "<!-- written by nncift export -->"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_COUNTED = {"seconds": "seconds", "lm_forwards": "forward passes", "lm_backwards": "backward passes"}


def write_card(run: Finished, handed: Handed, *, license_id: str | None = None) -> Handed:
    """Writes `README.md` beside an export; a licence that the user has stated in an earlier one stays.

    No path of the machine is named: of local files and folders only the last part.

    Args:
        run: that the rows were chosen in.
        handed: what was exported.
        license_id: of the source, as the hub calls it (`apache-2.0`); None leaves it to the user to state.

    Raises:
        DataError: there is a `README.md` of somebody else's.
    """
    path = handed.data.with_name(CARD)
    stated = license_id or _stated(path)
    path.write_text(_text(run, handed, stated), encoding="utf-8")
    return replace(handed, card=path)


def _stated(path: Path) -> str | None:
    """The licence in the card that is there."""
    if not path.exists():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    if _MARK not in text:
        raise DataError(f"{path} is there and was not written by an export. Choose another folder, or move it.")
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    try:
        head = parse_yaml(found[1]) if found else None
    except Unsound as error:
        raise DataError(f"the head of {path} is not YAML any more. Mend it, or remove the file.") from error
    stated = head.get("license") if isinstance(head, dict) else None
    return None if stated is None else str(stated)


def _text(run: Finished, handed: Handed, stated: str | None) -> str:
    config, of = run.config, int(run.done["of"])
    source = _shown(config.pool)
    head: dict[str, Any] = {"pretty_name": f"{handed.rows:,} rows of {source}"}
    if stated:
        head["license"] = stated
    head |= {
        "task_categories": ["text-generation"],
        "size_categories": [next((name for most, name in _SIZES if handed.rows < most), "1M<n<10M")],
        "tags": ["nncift", "instruction-tuning", "data-selection"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": handed.pattern}]}],
    }
    share = f"{handed.rows:,} of {of:,} usable rows ({handed.rows / of:.1%})"
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        _MARK,
        f"# {_escaped(head['pretty_name'])}",
        "",
        f"{share} of {_code(source)}, best first, chosen by NN-CIFT {__version__} as those that teach most"
        + (f" about {_code(_shown(config.target))}." if config.target else "; no target was named."),
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        f'rows = load_dataset("json", data_files="{handed.pattern}", split="train")',
        "```",
        "",
        "## How they were chosen",
        *_table(("", ""), _choice(run)),
    ]
    if handed.reasons:
        lines += ["", f"{sum(handed.reasons.values()):,} chosen rows are not here, for this format cannot hold them:"]
        lines += [f"- {count:,}: {reason}" for reason, count in handed.reasons.items()]
    lines += ["", "## How far to trust that", _fidelity(run)]
    lines += [f"- {_escaped(_public(text, run))}" for text in run.done.get("notes", {}).values()]
    lines += ["", "## What it cost", *_table(("stage", *_COUNTED.values()), _spent(run))]
    exact = run.costs.get("exact")
    if exact:
        lines += ["", f"What was asked of the language model is worth {exact['share']:.1%} of labelling every pair."]
    rights = f"The source is under `{stated}`." if stated else "**Not stated.** Say it before you share this data set:"
    rights += "" if stated else " put `license:` of the source into the head of this card."
    lines += [
        "",
        "## Source and licence",
        f"The rows are from {_code(source)}, unchanged but for their format. {rights}",
    ]
    lines += ["", "## Reference", "NN-CIFT, [arXiv:2502.09969](https://arxiv.org/abs/2502.09969).", ""]
    return "\n".join(lines)


def _choice(run: Finished) -> Iterable[tuple[str, str]]:
    """What was asked for, and what came of it."""
    config, facts = run.config, run.records["select"].facts
    options = ", ".join((*config.option, *config.objective_option))
    objective = run.done.get("objective", config.objective)
    told: dict[str, Any] = {
        "influence": config.influence,
        "language model": ", ".join(map(_shown, config.model)),
        "embeddings": ", ".join(map(_shown, (config.embedder or "").split(","))),
        "objective": f"{objective} ({facts['objective']})" if objective else facts["objective"],
        "options": options,
        "target": _shown(config.target) if config.target else "",
        "rows known already": _shown(config.existing) if config.existing else "",
        "budget": config.budget,
        "exact influences": f"{run.records['label'].facts['labels']:,}" if "label" in run.records else "every one",
        "estimator": _shown(config.estimator) if run.fidelity else "",
        "seed": config.seed,
    }
    return ((name, _code(_public(str(value), run))) for name, value in told.items() if value not in ("", None))


def _fidelity(run: Finished) -> str:
    if run.fidelity is None:
        return "Every influence was computed exactly; nothing was estimated."
    return _escaped(_public(run.fidelity["sentence"], run))


def _spent(run: Finished) -> Iterable[tuple[str, ...]]:
    stages: Mapping[str, Mapping[str, float]] = run.costs["stages"] | {"all": run.costs["total"]}
    for name, costs in stages.items():
        yield name, *(f"{costs[counter]:,.6g}" for counter in _COUNTED)


def _shown(name: str) -> str:
    """What a source, model or embedder is called in public: of a path the last part, of a name of the hub all."""
    if name.startswith(PREFIX):
        return name.removeprefix(PREFIX)
    if is_served(name):  # whose address is nobody's business
        return read_served(name).model
    local = Path(name.partition("#")[0])
    return local.name if local.is_absolute() or local.suffix else name


def _public(text: str, run: Finished) -> str:
    """A text without the folders of the machine."""
    config = run.config
    named = (config.pool, config.target, config.existing, config.keep, config.embedder, config.estimator)
    paths = {part for value in (*named, *config.model, str(run.folder)) if value for part in value.split(",")}
    for path in sorted(paths, key=len, reverse=True):
        if "/" in path and not path.startswith(PREFIX):
            text = text.replace(path, _shown(path))
    return text


def _table(names: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    every = [names, tuple("---" for _ in names), *rows]
    return [f"| {' | '.join(row)} |" for row in every]


def _escaped(text: str) -> str:
    """A text in which nothing is markup."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """A name as code, inside a table too."""
    return "`" + " ".join(text.split()).replace("`", "'").replace("|", "\\|") + "`"
