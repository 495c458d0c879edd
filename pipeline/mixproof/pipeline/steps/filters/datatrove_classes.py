"""`{datatrove: CLASS, ...}`: datatrove's filters and formatters whose decisions depend on the document alone.

If a decision depended on other documents, the division into shards would change the result. Filters that draw from a
running random generator are therefore refused, and formatters that cycle through replacements restart at each document.
No step uses the network, so classes that download something are refused, with the name of a step that does not.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from mixproof.ledger.errors import RequestError
from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.step import Apply, Drop

from .fasttext_model import FASTTEXT, use_local_model
from .url import offline_url_filter

_PROBE = "This is a line of plain text that ends with a full stop. It has some words in it. " * 6
_DOWNLOADS = {
    "LanguageFilter": "use the step `language`, whose model comes in a package",
    "UnigramLogProbFilter": "there is no offline alternative",
    "C4BadWordsFilter": "use the step `regex` with your own list",
}


def make_datatrove(options: Mapping[str, Any], where: str) -> tuple[str, Apply]:
    """Make a datatrove class from its options; return its name, which becomes the step's, and the step.

    Raises:
        RequestError: for an unknown class or option, decisions that depend on order, and use of the network.
    """
    name = str(options.get("class"))
    arguments = {key: _plain_option(value) for key, value in options.items() if key != "class"}
    filters, formatters = _modules(where)
    kind = getattr(filters, name, None) or getattr(formatters, name, None)
    if not inspect.isclass(kind):
        if hasattr(importlib.import_module("datatrove.pipeline.dedup"), name):
            raise RequestError(
                f"{where}: {name} compares documents, and a step sees one at a time; `dedup` drops duplicate "
                "documents, and `dedup: {paragraphs: true}` cuts repeated paragraphs"
            )
        known = sorted(n for m in (filters, formatters) for n in dir(m) if n.endswith(("Filter", "Formatter")))
        raise RequestError(f"{where}: datatrove has no filter or formatter {name!r}; it has {', '.join(known)}")
    _refuse(name, arguments, where)
    try:
        inspect.signature(kind).bind(**arguments)
        made: Any = offline_url_filter(**arguments) if name == "URLFilter" else kind(**arguments)
        if name == FASTTEXT:
            use_local_model(made, str(arguments["model_url"]))
        if name == FASTTEXT or isinstance(getattr(made, "language", None), str):
            # word and sentence splitters load at the first document: load them before any work
            made.filter(importlib.import_module("datatrove.data").Document(text=_PROBE, id=""))
    except RequestError as error:
        raise RequestError(f"{where}: {error}") from error
    except Exception as error:
        raise RequestError(f"{where}: datatrove's {name} does not accept these options: {error}") from error
    if hasattr(made, "uniform"):
        raise RequestError(
            f"{where}: {name} draws from a running random generator, so its decisions depend on the order of "
            "documents and workers; `sampler: {rate: ...}` keeps a share by text hash"
        )
    return name, _filter(made) if hasattr(made, "filter") else _formatter(made)


def _refuse(name: str, arguments: Mapping[str, Any], where: str) -> None:
    if "exclusion_writer" in arguments:
        raise RequestError(
            f"{where}: exclusion_writer writes outside the store; to keep dropped documents, set "
            "`keep_dropped: true` on the source"
        )
    random = name == "C4BadWordsFilter" and arguments.get("keep_fraction")
    if name in _DOWNLOADS and not random:
        raise RequestError(f"{where}: {name} downloads data, and steps must not use the network; {_DOWNLOADS[name]}")
    if name == "URLFilter" and arguments.get("use_integrated_lists", True):
        raise RequestError(
            f"{where}: URLFilter unpacks its lists outside the store; set `use_integrated_lists: false` and give your "
            "own lists, here or to the step `url`"
        )
    if name == "LambdaFilter":
        raise RequestError(f"{where}: {name} takes a function, which a spec cannot hold; use `regex` or `score`")


def _modules(where: str) -> tuple[Any, Any]:
    try:
        filters = importlib.import_module("datatrove.pipeline.filters")
        formatters = importlib.import_module("datatrove.pipeline.formatters")
    except ImportError as error:
        raise RequestError(
            f"{where}: datatrove is not installed ({error}): pip install 'mixproof[documents]'"
        ) from error
    return filters, formatters


def _filter(made: Any) -> Apply:  # noqa: ANN401 - datatrove is optional
    document_of = importlib.import_module("datatrove.data").Document
    needs_url = type(made).__name__ == "URLFilter"

    def apply(document: Document) -> str | Drop:
        url = document.fields.get("url") if needs_url else None
        if needs_url and (not isinstance(url, str) or not url):
            return Drop("no_url")  # like the step `url`; datatrove raises an error on such a document
        metadata = dict(document.fields)
        if document.language is not None:
            metadata["language"] = document.language
        candidate = document_of(text=document.text, id=document.id or "", metadata=metadata)
        decision = made.filter(candidate)
        keep, reason = decision if isinstance(decision, tuple) else (decision, None)
        return str(candidate.text) if keep else Drop(str(reason or "filtered"))

    return apply


def _formatter(made: Any) -> Apply:  # noqa: ANN401 - as above
    cycles = [value for value in vars(made).values() if hasattr(value, "_replace_i")]

    def apply(document: Document) -> str | Drop:
        for cycle in cycles:
            cycle._replace_i = 0
        return str(made.format(document.text))

    return apply


def _plain_option(value: object) -> object:
    """An option in datatrove's form: exact numbers of the spec become floats."""
    if isinstance(value, Decimal | Fraction):
        return float(value)
    if isinstance(value, Mapping):
        return {key: _plain_option(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_option(item) for item in value]
    return value
