"""The rules of the house that a machine can check: short files, nothing pickled, no remote code, nobody's own paths."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "nncift"
LONGEST = 350

PICKLERS = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
MAY_PRINT = ("cli/", "report/", "screen.py")

MACHINE_PATH = re.compile(r"(?<![\w.~/<>$}-])/(?:home|root|tmp|work|Users)(?=/|[^\w-]|$)", re.MULTILINE)
MAY_NAME_PATHS = {"tests/laws/test_house.py"}


def broken_rules(path: Path, name: str) -> Iterator[str]:
    """What one source file does that no file of this house does."""
    text = path.read_text(encoding="utf-8")
    if len(text.splitlines()) > LONGEST:
        yield f"{name}: {len(text.splitlines())} lines; past {LONGEST} a file has two ideas"
    for node in ast.walk(ast.parse(text)):
        complaint = complaint_about(node, name)
        if complaint:
            yield f"{name}:{getattr(node, 'lineno', 0)}: {complaint}"


def complaint_about(node: ast.AST, name: str) -> str | None:
    """The rule that one node of the syntax tree breaks, if any."""
    match node:
        case ast.Import(names=names) if PICKLERS & {alias.name.split(".")[0] for alias in names}:
            return "nothing is pickled"
        case ast.ImportFrom(module=str(module)) if module.split(".")[0] in PICKLERS:
            return "nothing is pickled"
        case ast.Call(func=ast.Attribute(value=ast.Name("torch"), attr="load" | "save")):
            return "nothing is pickled (torch.save pickles): use safetensors"
        case ast.keyword(arg="allow_pickle", value=value) if not is_false(value):
            return "nothing is unpickled"
        case ast.keyword(arg="trust_remote_code", value=ast.Constant(value=True)):
            return "no code of a stranger is run"
        case ast.ExceptHandler(type=None):
            return "a bare except"
        case ast.Call(func=ast.Name("print")) if not name.startswith(MAY_PRINT):
            return "the library logs; only the command line and the report print"
    return None


def is_false(node: ast.AST) -> bool:
    """Whether an expression is the literal False."""
    return isinstance(node, ast.Constant) and node.value is False


def machine_paths(text: str) -> list[str]:
    """The lines that name a folder of somebody's machine."""
    return [line.strip() for line in text.splitlines() if MACHINE_PATH.search(line)]


def test_every_source_file_keeps_the_rules() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert files
    assert [rule for path in files for rule in broken_rules(path, path.relative_to(SOURCE).as_posix())] == []


def test_nothing_tracked_names_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    found = []
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if name in MAY_NAME_PATHS or not path.is_file():
            continue
        data = path.read_bytes()
        if b"\0" not in data:
            found += [f"{name}: {line}" for line in machine_paths(data.decode("utf-8", "replace"))]
    assert found == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import pickle", "nothing is pickled"),
        ("def f():\n    from joblib.numpy_pickle import dump", "nothing is pickled"),
        ("torch.save(x, y)", "torch.save pickles"),
        ("np.load(x, allow_pickle=True)", "nothing is unpickled"),
        ("load(x, trust_remote_code=True)", "no code of a stranger"),
        ("try:\n    pass\nexcept:\n    pass", "a bare except"),
        ("print(1)", "the library logs"),
        ("\n" * LONGEST + "x = 1", "351 lines"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "a.py"
    path.write_text(text)
    (found,) = broken_rules(path, "data/a.py")
    assert complaint in found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cli/starting.py", "print(1)"),
        ("report/page.py", "print(1)"),
        ("a.py", "np.load(x, allow_pickle=False)\nnp.save(x, y)\nself.print(1)"),
        ("a.py", "load(x, trust_remote_code=False)\nload(x, trust_remote_code=asked)"),
        ("a.py", "try:\n    pass\nexcept Exception:\n    pass" + "\n" * (LONGEST - 4)),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / "a.py"
    path.write_text(text)
    assert list(broken_rules(path, name)) == []


def test_machine_paths_are_told_from_other_slashes() -> None:
    bad = ["open('/tmp/x')", "/home/me", "path: /root", "see /work/data.", '"/Users/a"', "(/tmp)"]
    good = [
        "</root>",
        "https://x.org/home/",
        "a/tmp/b",
        "~/work",
        "$XDG/tmp",
        "and/or/work",
        "/tmpfs",
        "./tmp",
    ]
    assert machine_paths("\n".join(bad)) == bad
    assert machine_paths("\n".join(good)) == []
