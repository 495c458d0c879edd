"""Whether the first records of a source of conversations are conversations, known before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.source import Conversations
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.stage_checks import shared_sources
from mixproof.pipeline.chat.conversations import FORMS, ConversationRule, conversation, rule_of
from mixproof.pipeline.chat.marks import Marks
from mixproof.pipeline.chat.messages import FaultError, reasoning_fields
from mixproof.pipeline.record import PASSED_OVER, Raw

from .files import InputFile
from .first_rows import Row, not_objects
from .named_fields import shown_fields

FIELDS: Mapping[str, str] = {
    "chat": "`messages` (or `conversations`), or `prompt` (or `instruction`) and `response` (or `output`)",
    "preferences": "`prompt`, `chosen` and `rejected`, or two answers with a verdict",
    "ratings": "`prompt`, `response` and `attributes` (or `label`)",
}


def check_conversations(spec: Spec, name: str, rows: Mapping[InputFile, Sequence[Row]]) -> None:
    """Refuse a source if the files without a usable first record have more bytes than `on_bad_record` allows.

    Raises:
        RequestError: with the reason for which the first record cannot be used, and the fields that it has.
    """
    rule = rule_of(spec.sources[name])
    assert rule is not None, "the caller checked that these are conversations"
    usable = {file: [marks for row in found if (marks := _marks(row, rule))] for file, found in rows.items()}
    unusable = [
        file
        for file, found in usable.items()
        if not found and rows[file] and not any(_is_passed_over(row, rule) for row in rows[file])
    ]
    seen, lost = sum(file.bytes for file in rows), sum(file.bytes for file in unusable)
    if unusable and lost > spec.on_bad_record.reject * seen:
        others = f" (so it is in {len(unusable)} of the {len(rows)} files looked at)" if len(rows) > 1 else ""
        problem = _problem(rows[unusable[0]], rule)
        raise RequestError(f"{spec.where('sources', name)}: {unusable[0].url}: {problem}{others}")
    if spec.train.stage == "rpo" and rule.kind == "preferences" and name in shared_sources(spec):
        _check_rated(spec, name, [marks for found in usable.values() for marks in found])


def ignored_reasoning(spec: Spec, name: str, rows: Mapping[InputFile, Sequence[Row]]) -> list[str]:
    """A warning if messages of the first records have reasoning beside their contents, which no template writes."""
    for file, found in rows.items():
        fields = {field for row in found if not isinstance(row, bytes) for field in reasoning_fields(row)}
        if fields:
            return [
                f"{spec.where('sources', name)}: {file.url}: messages have {' and '.join(sorted(fields))}, which is "
                "left out: no model is trained on it; to include it, write it into `content`, for example between "
                "<think> and </think>"
            ]
    return []


def _marks(row: Row, rule: ConversationRule) -> Marks | None:
    """The marks of a record; None if it cannot be used."""
    if not isinstance(row, Mapping) or _reason(row, rule):
        return None
    marks = conversation(Raw(0, None, "", dict(row)), rule).marks
    return None if marks is None else Marks.from_json(marks)


def _is_passed_over(row: Row, rule: ConversationRule) -> bool:
    """Whether nothing is wrong with a record that is left out, such as a tie."""
    return isinstance(row, Mapping) and _reason(row, rule).partition(":")[0] in PASSED_OVER


def _reason(row: Mapping[str, Any], rule: ConversationRule) -> str:
    """Why a record cannot be used; empty if it can."""
    try:
        conversation(Raw(0, None, "", dict(row)), rule)
    except FaultError as error:
        return str(error)
    return ""


def _check_rated(spec: Spec, name: str, found: Sequence[Marks]) -> None:
    if found and not any(len(marks.ratings) == 2 and None not in marks.ratings for marks in found):
        raise RequestError(
            f"{spec.where('sources', name)}: stage rpo needs the ratings of both answers, and none of the first pairs "
            "has `chosen_rating` and `rejected_rating` (or `score_chosen` and `score_rejected`); use stage dpo"
        )


def _problem(rows: Sequence[Row], rule: ConversationRule) -> str:
    """Why the first record of a file cannot be used, what it needs, and what it has."""
    row = next((row for row in rows if isinstance(row, Mapping)), rows[0])
    if isinstance(row, bytes):
        return not_objects(row)
    kinds: tuple[Conversations, ...] = (
        "preferences",
        "ratings",
        "chat",
    )  # the fields of a rated answer are also a chat
    fits = next((kind for kind in kinds if kind != rule.kind and _fits(row, kind)), None)
    other = "" if fits is None else f"; set `format: {fits}`, which they fit"
    return (
        f"none of its first records is usable as `format: {rule.kind}`: the first is rejected as {_reason(row, rule)}. "
        f"It has {shown_fields(row)}; needed are {FIELDS[rule.kind]}{other}"
    )


def _fits(row: Mapping[str, Any], kind: Conversations) -> bool:
    try:
        FORMS[kind](row)
    except FaultError:
        return False
    return True
