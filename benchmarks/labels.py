"""`make bench-labels`: the benchmarks of the language model's side, one after the other, and the page of their results.

    python -m benchmarks.labels [--pool POOL.jsonl --target TARGET.jsonl] [--write docs/benchmarks.md]

Without files the labels are timed on the generated demo rows, which are shorter than real ones.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nncift.data.demo import write_demo
from nncift.version import __version__

HERE = Path(__file__).parent


def measured(script: str, *arguments: str) -> dict[str, Any]:
    """Runs one benchmark in a process of its own and reads its numbers."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        subprocess.run([sys.executable, str(HERE / script), *arguments, "--json", str(out)], check=True)
        return json.loads(out.read_text(encoding="utf-8"))


def page(results: dict[str, dict[str, Any]], rows: str) -> str:
    """The results as Markdown."""
    labels = results["labels"]
    tokens = labels["tokens"]
    lines = [
        "# Benchmarks",
        "",
        "Written by `python -m benchmarks.labels --pool POOL.jsonl --target TARGET.jsonl --write docs/benchmarks.md`",
        "(`make bench-labels`); every ratio is against the named peer in the same run, after equal results were asserted.",
        "How fast kernels are filled and subsets chosen: [selection](selection-speed.md).",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {version('torch')}, nncift {__version__}.",
        "",
        "## DELIFT labels",
        "",
        f"{labels['pairs']} pairs of {rows}, {labels['model']} in {labels['dtype']} on {labels['threads']} threads; on average "
        f"{tokens['prefix']:.0f} tokens of instruction and example, {tokens['query']:.0f} of query, "
        f"{tokens['response']:.0f} of response. The peer is the plain `transformers` forward: length-sorted batches of 16, "
        "all logits. The bound is what counting floating-point operations allows for these lengths.",
        "",
        "| path | ms a pair | ratio | bound | goal |",
        "|---|--:|--:|--:|--:|",
        f"| plain forward | {labels['ms_per_pair']['plain']:.1f} | 1.00 | | |",
        f"| shared prefixes, tiled head | {labels['ms_per_pair']['ours']:.1f} | {labels['ratio']:.2f} | "
        f"{labels['flop_bound']:.2f} | {labels['goal']:.2f} |",
        "",
        f"Distances differ by {labels['difference']['mean']:.1e} on average and {labels['difference']['worst']:.1e} at worst.",
        "",
        *_selectit(results["selectit"], rows.partition(" and ")[0]),
        *_features(results["features"], rows.partition(" and ")[0]),
        *_projection(results["projection"]),
    ]
    return "\n".join(lines)


def _selectit(found: dict[str, Any], rows: str) -> list[str]:
    tokens, ms, off = found["tokens"], found["ms_per_row"], found["difference"]
    return [
        "## SelectIT labels",
        "",
        f"{found['rows']} rows of {rows} × {found['prompts']} rating prompts, {found['model']} in {found['dtype']} on "
        f"{found['threads']} threads; on average {tokens['prompt']:.0f} tokens of prompt, {tokens['row']:.0f} "
        "of row. The peer is the loop of the published code: one sequence at a time, all logits, a softmax over the whole "
        "vocabulary.",
        "",
        "| path | ms a row | ratio | bound | goal (floor) |",
        "|---|--:|--:|--:|--:|",
        f"| batch of one, whole vocabulary | {ms['plain']:.0f} | 1.00 | | |",
        f"| shared prompts, five logits | {ms['ours']:.0f} | {found['ratio']:.2f} | {found['flop_bound']:.2f} | "
        f"{found['goal']:.1f} ({found['floor']:.1f}) |",
        "",
        f"Scores, between 0 and 5, differ by {off['mean']:.1e} on average and {off['worst']:.1e} at worst.",
        "",
    ]


def _features(found: dict[str, Any], rows: str) -> list[str]:
    tokens, ms, cosine = found["tokens"], found["ms_per_row"], found["cosine"]
    return [
        "## LESS features",
        "",
        f"{found['rows']} rows of {rows}, {found['model']} in {found['dtype']} on {found['threads']} threads, an adapter of "
        f"{found['weights']:,} weights, {found['r']:,} numbers a row; on average {tokens['prompt']:.0f} tokens of prompt, "
        f"{tokens['response']:.0f} of response. The peer is the loop over single rows: all logits, `backward()`, the "
        "gradients flattened, the same Adam direction and the same projection.",
        "",
        "| path | ms a row | ratio | goal (floor) |",
        "|---|--:|--:|--:|",
        f"| one row at a time | {ms['plain']:.0f} | 1.00 | |",
        f"| whole batches, tiled head | {ms['ours']:.0f} | {found['ratio']:.2f} | {found['goal']:.1f} ({found['floor']:.1f}) |",
        "",
        f"Cosine between the features of the two sides: {cosine['mean']:.4f} on average, "
        f"{cosine['least']:.4f} at least.",
        "",
    ]


def _projection(found: dict[str, Any]) -> list[str]:
    lines = [
        "## Projection",
        "",
        f"{found['rows']} gradients of {found['p']:,} numbers to {found['r']:,}, on {found['threads']} threads. The peer "
        "multiplies by a dense matrix of signs, generated block by block from a seed. Error: root mean square of the inner "
        "products of "
        f"different unit vectors; the Johnson-Lindenstrauss level is {found['johnson_lindenstrauss']:.4f}.",
        "",
        "| path | ms a row | error | ratio | goal |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, words, ratio, goal in (
        ("dense", "dense signs", 1.0, ""),
        ("sketch", "count sketch", found["ratio"], f"{found['goal']:.0f}"),
    ):
        time, error = found["ms_per_row"][name], found["error"][name]
        lines.append(f"| {words} | {time:,.1f} | {error:.4f} | {ratio:,.0f} | {goal} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs every benchmark of the language model's side.")
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--target", type=Path)
    parser.add_argument("--write", type=Path, help="write the results here as Markdown")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        demo = write_demo(Path(folder))
        pool, target = options.pool or demo.pool, options.target or demo.target
        rows = f"`{pool.name}` and `{target.name}`" if options.pool else "the generated demo rows"
        results = {
            "labels": measured("delift_labels.py", str(pool), str(target)),
            "selectit": measured("selectit_labels.py", str(pool), "--rows", "32"),
            "features": measured("less_features.py", str(pool), "--rows", "32"),
        }
    results["projection"] = measured("projection.py")
    text = page(results, rows)
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
