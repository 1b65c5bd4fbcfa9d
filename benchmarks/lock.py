"""`make lock`: writes `lock.txt`, every package of the developers' environment with its version and the SHA-256 of its wheel.

    python -m benchmarks.lock

pip resolves `.[offline,dev]` under `constraints.txt` without installing anything and tells each wheel's hash. The hashes are
those of wheels for this machine's kind and Python, which the first line names; elsewhere the versions hold and the hashes of
compiled packages do not. `make audit` says where what is installed is not what is locked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "lock.txt"

HEAD = """\
# Written by `make lock`, for Python {python} on {system} {machine}. Exactly this environment:
#   pip install --require-hashes --only-binary=:all: -r lock.txt && pip install --no-deps -e .
"""


def resolve() -> dict[str, Any]:
    """What pip would install into an empty environment, as its report."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--ignore-installed",
        "--quiet",
        "--only-binary=:all:",
    ]
    command += ["-c", str(ROOT / "constraints.txt"), "--report", "-", "-e", f"{ROOT}[offline,dev]"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def lock_of(report: Mapping[str, Any]) -> str:
    """The lock file; where wheels come from is nobody's business."""
    machine = report["environment"]
    head = HEAD.format(
        python=machine["python_version"], system=machine["platform_system"], machine=machine["platform_machine"]
    )
    lines = []
    for package in report["install"]:
        if (archive := package["download_info"].get("archive_info")) is None:  # this project
            continue
        name, version = package["metadata"]["name"].lower(), package["metadata"]["version"]
        lines.append(f"{name}=={version} --hash=sha256:{archive['hashes']['sha256']}")
    if any(line.startswith("torch==") and "+cpu" in line for line in lines):
        head += "# torch is the build without CUDA, from PyTorch's own index of wheels.\n"
    return head + "\n".join(sorted(lines)) + "\n"


def locked() -> dict[str, str]:
    """Versions by name, as they are locked."""
    lines = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    pairs = (line.partition(" --hash=")[0].split("==") for line in lines)
    return {name.replace("_", "-"): version for name, version in pairs}


def main() -> None:
    LOCK.write_text(lock_of(resolve()), encoding="utf-8")
    print(f"{LOCK.name}: {len(locked()):,} packages")


if __name__ == "__main__":
    main()
