"""WARC and WET: pages of a crawl. Every WARC record is a record, and those that hold a page are documents.

In a WARC, responses with status 200 and HTML are pages; `html.py` extracts their text. In a WET, `conversion` records
already hold text. All other records are counted by reason and do not count towards `on_bad_record`, because they are a
normal part of a crawl. A document's fields are `id` (WARC-Record-ID without its brackets), `url`, `date`,
`content_type` and (WARC) `charset`; any of them may be the source's `id`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.source import Extractor, Limits
from mixproof.pipeline.record import POISON, Raw, Records, Reject, detail_of, text_fault

from .html import DEFAULT, check_extractor, decode_html, main_text
from .http import BodyError, body_of, parse_response
from .raw import NO_OTHER_LIMITS, local_copy, plain_blocks, unpacked_blocks
from .warc_records import MAX_BLOCK_BYTES, Malformed, WarcRecord, split_records

HTML_TYPES = ("text/html", "application/xhtml+xml")
OK = 200
WET_FIELDS = ("id", "url", "date", "content_type")
WARC_FIELDS = (*WET_FIELDS, "charset")


def read_warc(
    url: str,
    compression: str | None,
    *,
    id_: str,
    with_fields: bool,
    skip_reason: Callable[[int], str | None] = lambda _: None,
    limits: Limits = NO_OTHER_LIMITS,
    extractor: Extractor = DEFAULT,
    is_start: bool = True,
) -> Records:
    """Yield the pages of a WARC file, or of a piece of one, as text; those with a `skip_reason` are poison.

    Args:
        url: the file.
        compression: `gz`, `zst` or None.
        id_: name of the field that is the id.
        with_fields: whether records keep their fields.
        skip_reason: why a record, by its index, must not be processed; None: it may be.
        limits: on expansion.
        extractor: takes the text out of the HTML.
        is_start: False for a piece that starts inside a larger file.

    Raises:
        DamagedFileError: when the file is truncated or is not a WARC.
        RequestError: when the extractor is not installed, or `id_` is not a field.
    """
    _check_id(id_, WARC_FIELDS, url)
    check_extractor(extractor, url)
    for index, item in enumerate(_records(url, compression, limits, is_start=is_start)):
        reason = skip_reason(index)
        if reason is not None:
            yield Reject(index, None, POISON, detail_of(f"{reason}: {_location_of(item)}"))
            continue
        yield _page(index, item, id_, with_fields, extractor)


def read_wet(
    url: str,
    compression: str | None,
    *,
    id_: str,
    with_fields: bool,
    limits: Limits = NO_OTHER_LIMITS,
    is_start: bool = True,
) -> Records:
    """Yield the texts of a WET file, or of a piece of one; the arguments are those of `read_warc`.

    Raises:
        DamagedFileError: when the file is truncated or is not a WARC.
        RequestError: when `id_` is not a field.
    """
    _check_id(id_, WET_FIELDS, url)
    for index, item in enumerate(_records(url, compression, limits, is_start=is_start)):
        yield _converted(index, item, id_, with_fields)


def _check_id(id_: str, fields: Sequence[str], url: str) -> None:
    if id_ not in fields:
        raise RequestError(f"{url}: there is no field {id_!r} to use as the id; the fields are {', '.join(fields)}")


def _records(url: str, compression: str | None, limits: Limits, *, is_start: bool) -> Iterator[WarcRecord | Malformed]:
    with local_copy(url) as path, path.open("rb") as file:
        blocks = unpacked_blocks(file, compression, url, limits) if compression else plain_blocks(file)
        yield from split_records(blocks, url, is_start=is_start)


def _page(index: int, item: WarcRecord | Malformed, id_: str, with_fields: bool, extractor: Extractor) -> Raw | Reject:
    if isinstance(item, Malformed):
        return Reject(index, None, "malformed_record", item.detail)
    target = item.headers.get("warc-target-uri", "").strip("<>")
    if item.headers.get("warc-type", "").lower() != "response" or not target.startswith(("http://", "https://")):
        return Reject(index, None, "not_a_response", detail_of(f"{item.headers.get('warc-type')} {target}"))
    if item.block is None:
        return Reject(index, None, "record_too_large", detail_of(f"more than {MAX_BLOCK_BYTES} bytes: {target}"))
    response = parse_response(item.block)
    if response is None:
        return Reject(index, None, "malformed_http", detail_of(item.block))
    if response.status != OK:
        return Reject(index, None, "status_not_200", detail_of(f"{response.status} {target}"))
    kind = response.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() not in HTML_TYPES:
        return Reject(index, None, "not_html", detail_of(f"{kind or 'no Content-Type'} {target}"))
    try:
        decoded = decode_html(body_of(response), kind)
    except BodyError as error:
        return Reject(index, None, error.reason, detail_of(f"{error.detail} {target}"))
    if decoded is None:
        return Reject(index, None, "unknown_charset", detail_of(target))
    try:
        text = main_text(decoded[0], extractor)
    except Exception as error:  # noqa: BLE001 - the extractor may fail in any way on this one page
        return Reject(index, None, "extraction_failed", detail_of(f"{type(error).__name__}: {error} {target}"))
    if not text:
        return Reject(index, None, "no_main_text", detail_of(target))
    return _document(index, text, item.headers, {"content_type": kind, "charset": decoded[1]}, id_, with_fields)


def _converted(index: int, item: WarcRecord | Malformed, id_: str, with_fields: bool) -> Raw | Reject:
    if isinstance(item, Malformed):
        return Reject(index, None, "malformed_record", item.detail)
    kind, target = item.headers.get("warc-type", ""), item.headers.get("warc-target-uri", "")
    if kind.lower() != "conversion":
        return Reject(index, None, "not_a_conversion", detail_of(f"{kind} {target}"))
    if item.block is None:
        return Reject(index, None, "record_too_large", detail_of(f"more than {MAX_BLOCK_BYTES} bytes: {target}"))
    try:
        text = item.block.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Reject(index, None, "invalid_utf8", detail_of(item.block))
    found = {"content_type": item.headers.get("content-type", "")}
    return _document(index, text, item.headers, found, id_, with_fields)


def _document(
    index: int, text: str, headers: dict[str, str], found: dict[str, str], id_: str, with_fields: bool
) -> Raw | Reject:
    fault = text_fault(text)
    if fault is not None:
        return Reject(index, None, fault, detail_of(text))
    fields = {
        "id": headers.get("warc-record-id", "").strip("<>"),
        "url": headers.get("warc-target-uri", "").strip("<>"),
        "date": headers.get("warc-date", ""),
        **found,
    }
    return Raw(index, fields.get(id_) or None, text, dict(fields) if with_fields else None)


def _location_of(item: WarcRecord | Malformed) -> str:
    return item.detail if isinstance(item, Malformed) else item.headers.get("warc-target-uri", "")
