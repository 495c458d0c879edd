"""Conversations, pairs and ratings for `mixproof demo --stage sft`, made from the standard library's docstrings.

| source   | content                                                             | written as                   |
|----------|---------------------------------------------------------------------|------------------------------|
| manual   | the language manual in `pydoc_data`                                 | jsonl.gz: `text`             |
| chat     | what a function or class does, answered by its docstring            | jsonl.gz: `messages`         |
| pairs    | the same questions; the docstring of another member is rejected     | jsonl.gz: `chosen`, `rejected` |
| ratings  | the same questions; right, wrong and unfinished answers             | jsonl.gz: `attributes`       |

Some questions are in several sources: the build keeps a prompt on one side of the held-out split in all of them. The
same installation gives the same files, byte for byte.
"""

from __future__ import annotations

import ast
import gzip
import shutil
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from .demo_corpus import NOT_THE_LIBRARY, manual

MIN_ANSWER_CHARS, MAX_ANSWER_CHARS = 40, 600
CONVERSATIONS, PAIRS, RATINGS = 2400, 800, 900
PAIRS_SHARE_QUESTIONS = 200
"""Questions of pairs and ratings that are also in conversations."""


class Member(NamedTuple):
    """A documented function or class."""

    name: str
    summary: str
    """First paragraph of its docstring."""


def gather_conversations(folder: Path) -> dict[str, int]:
    """Write the four sources to `folder`, replacing its content; return records by source."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    members = list(_members())
    later = members[CONVERSATIONS - PAIRS_SHARE_QUESTIONS :]
    sources: dict[str, list[dict[str, Any]]] = {
        "manual": [dict(record) for record in manual()],
        "chat": [{"id": member.name, "messages": _messages(member)} for member in members[:CONVERSATIONS]],
        "pairs": [_pair(member, _other(later, number)) for number, member in enumerate(later[:PAIRS])],
        "ratings": [_rating(later, number) for number in range(min(RATINGS, len(later)))],
    }
    for name, records in sources.items():
        data = b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(data, mtime=0))
    return {name: len(records) for name, records in sources.items()}


def _members() -> Iterator[Member]:
    """Yield members of the standard library whose docstrings begin with a paragraph of a suitable length."""
    library = Path(sysconfig.get_paths()["stdlib"])
    seen: set[str] = set()
    for path in sorted(library.rglob("*.py")):
        relative = path.relative_to(library)
        if not NOT_THE_LIBRARY.isdisjoint(relative.parts):
            continue
        module = ".".join(part for part in relative.with_suffix("").parts if part != "__init__")
        for node in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            summary = (ast.get_docstring(node) or "").partition("\n\n")[0]
            name = f"{module}.{node.name}"
            if MIN_ANSWER_CHARS <= len(summary) <= MAX_ANSWER_CHARS and not {name, summary} & seen:
                seen |= {name, summary}
                yield Member(name, summary)


def _other(members: Sequence[Member], number: int) -> Member:
    """Return another member, far enough away to document something else."""
    return members[(number + len(members) // 2) % len(members)]


def _question(member: Member) -> str:
    return f"What does {member.name} do?"


def _messages(member: Member) -> list[dict[str, str]]:
    return [{"role": "user", "content": _question(member)}, {"role": "assistant", "content": member.summary}]


def _pair(member: Member, other: Member) -> dict[str, Any]:
    return {"id": member.name, "prompt": _question(member), "chosen": member.summary, "rejected": other.summary}


def _rating(members: Sequence[Member], number: int) -> dict[str, Any]:
    """Rate the right answer, that of another member, or the first half of the right one, in turn."""
    member, kind = members[number], number % 3
    whole = _other(members, number).summary if kind == 1 else member.summary
    response = whole[: len(whole) // 2] if kind == 2 else whole
    attributes = {"right": int(kind != 1), "finished": int(kind != 2), "words": len(response.split()) / 10}
    return {"id": member.name, "prompt": _question(member), "response": response, "attributes": attributes}
