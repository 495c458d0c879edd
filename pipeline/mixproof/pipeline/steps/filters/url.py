"""`url`: drops documents by their URL, with datatrove's URLFilter and the lists in the spec, without network.

Differences from datatrove: its integrated lists (4 million adult domains, 500 MB of memory) are not used; public
suffixes come from tldextract's package and are never fetched; a record without a URL is dropped as `no_url`, where
datatrove raises an error.
"""

from __future__ import annotations

import importlib
from typing import Any

from mixproof.ledger.errors import RequestError
from mixproof.pipeline.record import field_of
from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.step import Apply, Drop, Options, Strings, Whole

VERSION = 1


class UrlOptions(Options):
    """The options of datatrove's URLFilter, and the field that holds the URL."""

    field: str = "url"
    soft_word_threshold: Whole = 2
    """A URL with this many of the `soft_banned_words` is dropped."""
    extra_domains: Strings = ()
    extra_urls: Strings = ()
    banned_words: Strings = ()
    banned_subwords: Strings = ()
    soft_banned_words: Strings = ()


def make_url(options: UrlOptions) -> Apply:
    """Drop with datatrove's reasons: `domain`, `subdomain`, `url`, `hard_blacklisted` and so on; and `no_url`."""
    arguments = options.model_dump(exclude={"field"})
    if not any(value for key, value in arguments.items() if key != "soft_word_threshold"):
        raise RequestError("the step has no list; set extra_domains, extra_urls, banned_words or another")
    made = offline_url_filter(use_integrated_lists=False, **arguments)
    document_of = importlib.import_module("datatrove.data").Document

    def apply(document: Document) -> str | Drop:
        url = field_of(document.fields, options.field)
        if not isinstance(url, str) or not url:
            return Drop("no_url")
        decision = made.filter(document_of(text="", id="", metadata={"url": url}))
        return document.text if decision is True else Drop(str(decision[1]))

    return apply


def offline_url_filter(**arguments: Any) -> Any:  # noqa: ANN401 - datatrove ships no types
    """Make datatrove's URLFilter with the public suffixes of tldextract's package."""
    made = importlib.import_module("datatrove.pipeline.filters").URLFilter(**arguments)
    extract = importlib.import_module("tldextract").TLDExtract
    made.tldextractor = extract(suffix_list_urls=(), cache_dir=None)
    return made
