"""`make audit`: known holes in what is installed, and whether it is what its wheels said.

    python -m benchmarks.audit [--offline]

First `pip-audit` asks the vulnerability service about every installed package. Where that is out of reach, or knows a
package not, the program says so, for then nothing is known about its holes. In either case the versions are compared with
`lock.txt`, and every installed file is held against the SHA-256 that the wheel recorded for it, which tells a file that was
changed, damaged or lost since, and no more than that. The hash of a wheel itself is checked when it is installed from the
lock (`pip install --require-hashes -r lock.txt`).

Exit codes: 0 nothing found, 1 a hole or a changed file, 3 nothing found, but not every package could be looked up. Another
version than the locked one is told and no failure.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.lock import locked

HOLES, CLEAN, UNREACHED = "holes", "clean", "unreached"
OWN = ("nncift",)


def ask_service() -> tuple[str, str]:
    """A verdict, and its words."""
    if find_spec("pip_audit") is None:
        return UNREACHED, "pip-audit is not installed (pip install pip-audit)"
    command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--format", "json", "--timeout", "20"]
    done = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True, check=False)
    try:
        return verdict_of(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError, TypeError):
        return UNREACHED, (done.stderr.strip().splitlines() or ["no reason given"])[-1]


def verdict_of(asked: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """What the answers of `pip-audit` come to: it calls an audit clean in which it could look up no package at all."""
    known = [one for one in asked if "skip_reason" not in one]
    skipped = [one["name"] for one in asked if "skip_reason" in one and one["name"] not in OWN]
    holes = [f"{one['name']} {one['version']}: {hole['id']}" for one in known for hole in one["vulns"]]
    missing = f"; {len(skipped):,} could not be looked up ({', '.join(skipped[:5])}, ...)" if skipped else ""
    words = f"{len(holes):,} in {len(known):,} packages{missing}"
    return (HOLES if holes else UNREACHED if skipped else CLEAN), "\n  ".join([words, *holes])


def unlike_the_lock(installed: Iterable[Distribution], lock: Mapping[str, str]) -> list[str]:
    """Packages that are installed in another version than the locked one, or not locked at all, in words."""
    found = []
    for package in sorted(installed, key=lambda one: one.name.lower()):
        known = lock.get(package.name.lower().replace("_", "-"))
        if package.name not in OWN and known != package.version:
            found.append(f"{package.name} {package.version} ({'not locked' if known is None else f'locked: {known}'})")
    return found


def changed_files(installed: Iterable[Distribution]) -> tuple[int, int, list[str]]:
    """(packages, files) that were checked, and the files that are not what the wheel recorded."""
    packages = files = 0
    wrong = []
    for package in installed:
        known = [(file, file.hash) for file in package.files or () if file.hash is not None]
        packages += bool(known)
        for file, recorded in known:
            path = Path(str(package.locate_file(file)))
            files += 1
            if not path.is_file():
                wrong.append(f"{package.name}: {file} is missing")
            elif _hash(path, recorded.mode) != recorded.value:
                wrong.append(f"{package.name}: {file} was changed")
    return packages, files, wrong


def _hash(path: Path, mode: str) -> str:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, mode).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offline", action="store_true", help="do not ask the vulnerability service")
    verdict, words = (UNREACHED, "not asked") if parser.parse_args().offline else ask_service()
    packages, files, wrong = changed_files(distributions())
    if verdict == UNREACHED:
        print(f"Known holes: NOT CHECKED, or not for all ({words}).")
    else:
        print(f"Known holes: {words}.")
    other = unlike_the_lock(distributions(), locked())
    print(f"Versions: {len(other):,} packages are not as locked{': ' if other else ''}{', '.join(other)}.")
    print(f"Installed files: {files:,} of {packages:,} packages held against their wheels, {len(wrong):,} differ.")
    print("\n".join(wrong))
    sys.exit(1 if wrong or verdict == HOLES else 0 if verdict == CLEAN else 3)


if __name__ == "__main__":
    main()
