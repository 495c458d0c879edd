"""What a diff shows a person: what was asked before what follows from it, and of many keys a few."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixproof.cli.commands.diff import diff, print_diff
from mixproof.train.launch.diff import Diff, Difference

SPEC = """schema: 1
name: {name}
sources:
{sources}
tokenizer: {{sentencepiece: tok.model}}
mixtures: {{m: {{parts: {{{parts}}}}}}}
train: {{proxies: {{nano: {{tokens: {tokens}, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}}}}}}
"""


def write(path: Path, tokens: str, *, steps: str = "", first: int = 1) -> Path:
    names = [f"s{number:02d}" for number in range(20)]
    sources = "\n".join(f"  {name}: {{files: {name}.jsonl{steps if name == 's03' else ''}}}" for name in names)
    parts = ", ".join(f"{name}: {first + place}" for place, name in enumerate(names))
    path.write_text(SPEC.format(name=path.stem, sources=sources, parts=parts, tokens=tokens))
    return path


def test_many_keys_of_one_part_are_shown_by_a_few_after_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = write(tmp_path / "one.yaml", "16K"), write(tmp_path / "other.yaml", "32K", first=5)
    diff(str(one), str(other))
    shown = capsys.readouterr().out
    assert "22 keys differ" in shown
    assert shown.index("train.proxies.nano.tokens") < shown.index("mixtures.m.shares.s00")
    assert "mixtures: 17 more keys, see --json" in shown and "s19" not in shown


def test_a_step_that_one_side_lacks_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write(tmp_path / "one.yaml", "16K")
    other = write(tmp_path / "other.yaml", "16K", steps=", steps: [{length: {min_chars: 5}}]")
    diff(str(one), str(other))
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(" sources")]
    assert rows == [
        ["sources.s03.steps.0.name", "absent", "length"],
        ["sources.s03.steps.0.options.min_chars", "absent", "5"],
    ]


def test_integers_beyond_64_bits_are_shown_exactly(capsys: pytest.CaptureFixture[str]) -> None:
    print_diff(Diff("run", "a", "b", (Difference("flops", 2**70, [2**70, "é"]),), ()))
    assert capsys.readouterr().out.split()[-7:-3] == ["flops", str(2**70), f'[{2**70},"é"]', "nothing"]
