"""Records whose text is a page of HTML: the main text takes its place."""

from __future__ import annotations

from collections.abc import Callable

from mixproof.mixtures.blocks.source import Extractor
from mixproof.pipeline.record import POISON, Raw, Records, Reject, detail_of, text_fault

from .html import check_extractor, main_text


def extracted(items: Records, extractor: Extractor, url: str, skip_reason: Callable[[int], str | None]) -> Records:
    """The records with the main text of their pages; those without one are rejected, as pages of a WARC file are.

    Raises:
        RequestError: when the extractor is not installed.
    """
    check_extractor(extractor, url)
    for item in items:
        if isinstance(item, Reject):
            yield item
        elif (reason := skip_reason(item.record)) is not None:
            yield Reject(item.record, None, POISON, detail_of(f"{reason}: {item.text}"))
        else:
            yield _main(item, extractor)


def _main(item: Raw, extractor: Extractor) -> Raw | Reject:
    try:
        text = main_text(item.text, extractor)
    except Exception as error:  # noqa: BLE001 - the extractor may fail in any way on this one page
        detail = f"{type(error).__name__}: {error} {item.text}"
        return Reject(item.record, None, "extraction_failed", detail_of(detail))
    if not text:
        return Reject(item.record, None, "no_main_text", detail_of(item.text))
    fault = text_fault(text)
    if fault is not None:
        return Reject(item.record, None, fault, detail_of(text))
    return Raw(item.record, item.id, text, item.fields)
