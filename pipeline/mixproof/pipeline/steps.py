"""Steps: the filters and formatters of a source, applied to one document at a time, in order.

A decision may depend on the document alone, never on those before it, or the split into shards would
change the result. datatrove's classes are used as they are under that rule: filters that draw from a running
random generator are refused, and formatters that cycle through replacements start anew at each document.
Reasons name what a step dropped; formatters count the UTF-8 bytes they added and removed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

import xxhash

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import NotBuiltYetError, RequestError
from mixproof.ledger.fingerprint import derive_seed
from mixproof.mixtures.quantities import parse_share
from mixproof.mixtures.spec import Step

from .readers.record import Raw

NOT_BUILT = (
    "ftfy", "pii", "language", "regex", "url",
    "gopher_quality", "gopher_repetition", "c4_quality", "fineweb_quality",
)  # fmt: skip


_PROBE = "This is a line of plain text that ends with a full stop. It has some words in it. " * 6


@dataclass(frozen=True)
class Drop:
    """A step's decision against a document."""

    reason: str


Apply = Callable[[Raw], str | Drop]
"""The text that goes on to the next step, or why none does."""


@dataclass
class Counted:
    """A step and what it has done so far."""

    name: str
    apply: Apply
    documents_in: int = 0
    bytes_in: int = 0
    documents_out: int = 0
    bytes_out: int = 0
    bytes_added: int = 0
    bytes_removed: int = 0
    dropped: dict[str, Count] = field(default_factory=dict)

    def row(self) -> StageRow:
        """The step's row of the account."""
        return StageRow(
            stage=self.name,
            documents_in=self.documents_in,
            documents_out=self.documents_out,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            bytes_added=self.bytes_added,
            bytes_removed=self.bytes_removed,
            dropped=dict(sorted(self.dropped.items())),
        )


def make_steps(steps: Sequence[Step], where: str = "steps") -> list[Counted]:
    """Make each step once; repeated names get `#2`, `#3`.

    Raises:
        RequestError: for an unknown step, datatrove class or option, or a decision that depends on order.
        NotBuiltYetError: for a step that the spec knows and this version does not execute.
    """
    made: list[Counted] = []
    for index, step in enumerate(steps):
        name, apply = _make(step, f"{where}[{index}]")
        times = sum(other.name.partition("#")[0] == name for other in made)
        made.append(Counted(f"{name}#{times + 1}" if times else name, apply))
    return made


def needs_fields(steps: Sequence[Step]) -> bool:
    """Whether a step may look at a record's other fields (datatrove's metadata)."""
    return any(step.name == "datatrove" for step in steps)


def steps_identity(steps: Sequence[Step]) -> list[dict[str, object]]:
    """What a fingerprint needs to know of the steps: names, exact options, datatrove's version."""
    version = {"version": importlib.metadata.version("datatrove")} if needs_fields(steps) else {}
    return [
        {"name": step.name, "options": _exact(step.options)} | (version if step.name == "datatrove" else {})
        for step in steps
    ]


def apply_steps(raw: Raw, data: bytes, steps: Iterable[Counted]) -> bytes | None:
    """Run a document (`data`: its text's UTF-8) through the steps; the text that is left, or None if dropped."""
    text = raw.text
    for step in steps:
        step.documents_in += 1
        step.bytes_in += len(data)
        result = step.apply(raw)
        if not isinstance(result, Drop) and result is not text and result != text:
            try:
                changed = result.encode()
            except UnicodeEncodeError:
                result = Drop("lone_surrogate")
            else:
                step.bytes_added += max(0, len(changed) - len(data))
                step.bytes_removed += max(0, len(data) - len(changed))
                raw, text, data = raw._replace(text=result), result, changed
        if isinstance(result, Drop):
            gone = Count(documents=1, bytes=len(data))
            known = step.dropped.get(result.reason)
            step.dropped[result.reason] = gone if known is None else known + gone
            return None
        step.documents_out += 1
        step.bytes_out += len(data)
    return data


def _make(step: Step, where: str) -> tuple[str, Apply]:
    if step.name == "datatrove":
        return _datatrove(step.options, where)
    if step.name == "length":
        return "length", _length(step.options, where)
    if step.name == "sampler":
        return "sampler", _sampler(step.options, where)
    if step.name in NOT_BUILT:
        raise NotBuiltYetError(f"the step {step.name!r}", where)
    raise RequestError(f"{where}: there is no step {step.name!r}; there are length, sampler and datatrove")


def _length(options: Mapping[str, Any], where: str) -> Apply:
    _only(options, ("min_chars", "max_chars"), where)
    least, most = options.get("min_chars", 0), options.get("max_chars")
    for value in (least, most):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise RequestError(f"{where}.length: {value!r} is not a number of characters")

    def apply(raw: Raw) -> str | Drop:
        if len(raw.text) < least:
            return Drop("too_short")
        return Drop("too_long") if most is not None and len(raw.text) > most else raw.text

    return apply


def _sampler(options: Mapping[str, Any], where: str) -> Apply:
    """Keep a share of the texts by their own hash, salted so that it says nothing about other uses of hashes."""
    _only(options, ("rate",), where)
    try:
        rate = parse_share(options["rate"])
    except (KeyError, ValueError) as error:
        raise RequestError(f"{where}.sampler: give the share to keep, such as `rate: 10%` ({error})") from None
    bound, seed = rate.numerator * 2**64, derive_seed("sampler")

    def apply(raw: Raw) -> str | Drop:
        digest = xxhash.xxh3_64_intdigest(raw.text.encode(), seed)
        return raw.text if digest * rate.denominator < bound else Drop("not_sampled")

    return apply


def _only(options: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise RequestError(f"{where}: unknown option {unknown[0]!r}; known are {', '.join(known)}")


def _datatrove(options: Mapping[str, Any], where: str) -> tuple[str, Apply]:
    name = options.get("class")
    arguments = {key: _plain_option(value) for key, value in options.items() if key != "class"}
    filters, formatters = _datatrove_modules(where)
    kind = getattr(filters, str(name), None) or getattr(formatters, str(name), None)
    if not inspect.isclass(kind):
        known = sorted(n for m in (filters, formatters) for n in dir(m) if n.endswith(("Filter", "Formatter")))
        raise RequestError(f"{where}: datatrove has no filter or formatter {name!r}; it has {', '.join(known)}")
    if "exclusion_writer" in arguments:
        raise RequestError(f"{where}: exclusion_writer writes outside the store; dropped documents are counted")
    try:
        inspect.signature(kind).bind(**arguments)
        made: Any = kind(**arguments)
        if isinstance(getattr(made, "language", None), str):
            # word and sentence splitters load at the first document: ask for them before any work
            made.filter(importlib.import_module("datatrove.data").Document(text=_PROBE, id=""))
    except (TypeError, ValueError, ImportError) as error:
        raise RequestError(f"{where}: datatrove's {name} cannot be made of these options: {error}") from error
    if hasattr(made, "uniform") and getattr(made, "keep_fraction", True):
        raise RequestError(
            f"{where}: {name} draws from a running random generator, so its decisions depend on the order of "
            "documents and workers; `sampler: {rate: ...}` keeps a share by the text's hash"
        )
    return str(name), _filter(made) if hasattr(made, "filter") else _formatter(made)


def _datatrove_modules(where: str) -> tuple[Any, Any]:
    try:
        filters = importlib.import_module("datatrove.pipeline.filters")
        formatters = importlib.import_module("datatrove.pipeline.formatters")
    except ImportError as error:
        raise RequestError(f"{where}: datatrove is not installed ({error}): pip install 'mixproof[filters]'") from error
    return filters, formatters


def _filter(made: Any) -> Apply:  # noqa: ANN401 - datatrove is optional
    document = importlib.import_module("datatrove.data").Document

    def apply(raw: Raw) -> str | Drop:
        candidate = document(text=raw.text, id=raw.id or "", metadata=dict(raw.fields or {}))
        decision = made.filter(candidate)
        keep, reason = decision if isinstance(decision, tuple) else (decision, None)
        return str(candidate.text) if keep else Drop(str(reason or "filtered"))

    return apply


def _formatter(made: Any) -> Apply:  # noqa: ANN401 - as above
    cycles = [value for value in vars(made).values() if hasattr(value, "_replace_i")]

    def apply(raw: Raw) -> str | Drop:
        for cycle in cycles:
            cycle._replace_i = 0
        return str(made.format(raw.text))

    return apply


def _plain_option(value: object) -> object:
    """An option as datatrove takes it: exact numbers of the spec become floats."""
    if isinstance(value, Decimal | Fraction):
        return float(value)
    if isinstance(value, Mapping):
        return {key: _plain_option(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_option(item) for item in value]
    return value


def _exact(value: object) -> object:
    """An option as a fingerprint takes it: every number exact."""
    if isinstance(value, float | Decimal):
        return Fraction(str(value))
    if isinstance(value, Mapping):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(item) for item in value]
    return value
