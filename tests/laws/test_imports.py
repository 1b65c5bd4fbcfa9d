"""The rooms of the house import one way only, and the light ones stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "nncift"

FOUNDATIONS = (
    *("errors", "redact", "config", "recipe", "plain", "registry"),
    *("ledger", "seeds", "version", "cachedir", "progress", "disk"),
)
"""The ground floor, whose files may use one another."""

ORDER = (
    *("data", "lm", "tuning", "embed", "influence", "kernel", "estimator", "objective"),
    *(
        "run",
        "handing",
        "selection",
        "scale",
        "pipeline",
        "rehearsal",
        "evaluation",
        "plan",
        "experiment",
        "report",
        "tracking",
        "api",
        "doctor",
        "screen",
        "summary",
        "catalogue",
        "demo",
        "__init__",
    ),
    *("flags", "cli", "__main__"),
)
"""Each room may use the foundations and what stands before it; `__init__` is the package's own front door."""

STRANGERS = {frozenset({"influence", "estimator"})}
"""Between a teacher and an estimator pass only labels and embeddings."""

LIGHT = ("data", "config", "registry", "objective", "kernel")
HEAVY = {"torch", "transformers", "sentence_transformers"}


def room_of(path: Path, source: Path) -> str:
    """The room that a file belongs to: its folder under the package, or its own name."""
    return path.relative_to(source).parts[0].removesuffix(".py")


def imported_modules(path: Path, source: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import in a file, also inside functions; relative ones resolved.

    `from a import b` yields `a.b`, since `b` may be a module.
    """
    package = [source.name, *path.relative_to(source).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)


def rooms_imported(path: Path, source: Path) -> Iterator[tuple[int, str]]:
    """(line, room) of every import from the package itself; what is no room is a name of the front door, `__init__`."""
    rooms = {room_of(one, source) for one in source.rglob("*.py")}
    for line, name in imported_modules(path, source):
        package, _, rest = name.partition(".")
        if package == source.name:
            first = rest.split(".")[0]
            yield line, first if first in rooms else "__init__"


def allowed(room: str, other: str) -> bool:
    """Whether a file of `room` may import from `other`."""
    if room == other:
        return True
    if other in FOUNDATIONS or room in FOUNDATIONS:
        return other in FOUNDATIONS
    return ORDER.index(other) < ORDER.index(room) and frozenset({room, other}) not in STRANGERS


def violations(source: Path) -> list[str]:
    """Every import that goes up instead of down, and every file without a place in the house."""
    found = []
    for path in sorted(source.rglob("*.py")):
        room = room_of(path, source)
        where = path.relative_to(source).as_posix()
        if room not in FOUNDATIONS + ORDER:
            found.append(f"{where}: the room {room!r} has no place in the order")
            continue
        for line, other in rooms_imported(path, source):
            if other not in FOUNDATIONS + ORDER or not allowed(room, other):
                found.append(f"{where}:{line}: {room!r} must not import {other!r}")
    return found


def heavy_imports(source: Path) -> list[str]:
    """Every import of a heavy package in a light room, also inside functions."""
    found = []
    for path in sorted(source.rglob("*.py")):
        if room_of(path, source) in LIGHT:
            for line, name in imported_modules(path, source):
                if name.split(".")[0] in HEAVY:
                    found.append(f"{path.relative_to(source).as_posix()}:{line}: imports {name}")
    return found


def test_imports_go_one_way() -> None:
    assert violations(SOURCE) == []


def test_light_rooms_import_nothing_heavy() -> None:
    assert heavy_imports(SOURCE) == []


def modules_of(rooms: tuple[str, ...]) -> list[str]:
    """The dotted names of all modules in the rooms that exist."""
    files = [path.relative_to(SOURCE) for path in sorted(SOURCE.rglob("*.py")) if room_of(path, SOURCE) in rooms]
    return [".".join(("nncift", *file.with_suffix("").parts)).removesuffix(".__init__") for file in files]


@pytest.mark.parametrize(
    "names", [["nncift"], modules_of(LIGHT), modules_of(("cli",))], ids=["package", "light", "cli"]
)
def test_importing_loads_nothing_heavy(names: list[str]) -> None:
    """What is imported inside the imported is seen only by running it."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        f"print(sorted(set({sorted(HEAVY)}) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("data/a.py", "from nncift.embed import choose", "data/a.py:1: 'data' must not import 'embed'"),
        ("data/a.py", "def f():\n    import nncift.lm.model", "data/a.py:2: 'data' must not import 'lm'"),
        ("lm/a.py", "from ..embed.base import unit_rows", "lm/a.py:1: 'lm' must not import 'embed'"),
        ("lm/a.py", "from .. import embed", "lm/a.py:1: 'lm' must not import 'embed'"),
        ("errors.py", "from nncift.data import rows", "errors.py:1: 'errors' must not import 'data'"),
        ("influence/a.py", "import nncift.estimator", "influence/a.py:1: 'influence' must not import 'estimator'"),
        ("estimator/a.py", "import nncift.influence", "estimator/a.py:1: 'estimator' must not import 'influence'"),
        ("pipeline.py", "from nncift import select", "pipeline.py:1: 'pipeline' must not import '__init__'"),
        ("attic/a.py", "", "attic/a.py: the room 'attic' has no place in the order"),
        ("run.py", "from nncift import attic", "run.py:1: 'run' must not import '__init__'"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, file: str, text: str, complaint: str) -> None:
    source = tmp_path / "nncift"
    lawful = {
        "errors.py": "import torch",
        "registry.py": "from nncift.errors import ConfigError",
        "data/rows.py": "from nncift import errors\nfrom . import rows",
        "embed/choose.py": "import torch\nfrom nncift.data.rows import Pool\nfrom ..lm import model",
        "lm/model.py": "import transformers",
        "influence/delift.py": "from nncift.lm import model\nfrom nncift.embed import choose",
        "estimator/network.py": "from nncift.data import labels",
        "cli.py": "from nncift import select, pipeline",
        "__init__.py": "def __getattr__(name):\n    from nncift import pipeline",
        "pipeline.py": "from nncift.estimator import network",
    }
    for name, body in lawful.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(body)
    assert violations(source) == []
    (source / file).parent.mkdir(parents=True, exist_ok=True)
    (source / file).write_text(text)
    assert violations(source) == [complaint]


@pytest.mark.parametrize(
    "text",
    [
        "import torch.nn",
        "def f():\n    from transformers import X",
        "if TYPE_CHECKING:\n    import sentence_transformers",
    ],
)
def test_a_planted_heavy_import_is_found(tmp_path: Path, text: str) -> None:
    for room in ("objective", "lm"):
        (tmp_path / "nncift" / room).mkdir(parents=True)
        (tmp_path / "nncift" / room / "a.py").write_text(text)
    found = heavy_imports(tmp_path / "nncift")
    assert len(found) == 1 and found[0].startswith("objective/a.py:")
