"""Files by URL through fsspec: their size and version tag, and their bytes in large blocks.

A URL may be a chain, `zip://inside.jsonl::s3://bucket/a.zip`. One request for megabytes to an object store is many
times faster than many small ones, so bytes are fetched in blocks of 16 MB. A file's tag is what its store offers to
distinguish contents (ETag, blob id, checksum, else the modification time); in a chain, the tags of all links.

Errors of a store's client become errors that name the URL and the missing package or credentials.
"""

from __future__ import annotations

import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from mixproof.ledger.errors import DamagedFileError, MixproofError, RequestError
from mixproof.ledger.objects.object_errors import clock_error
from mixproof.ledger.objects.transfer import is_damaged, repeat_damaged

REMOTE_BLOCK_BYTES = 16 * 1000 * 1000

_PACKAGES = {"s3": "'mixproof[s3]'", "s3a": "'mixproof[s3]'", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub"}
"""What to install for a protocol."""
_CREDENTIALS = {
    "'mixproof[s3]'": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role of this "
    "machine; AWS_ENDPOINT_URL for stores other than Amazon's",
    "gcsfs": "GOOGLE_APPLICATION_CREDENTIALS, or `gcloud auth application-default login`",
    "huggingface_hub": "HF_TOKEN, or `hf auth login`",
}
"""By package."""
_CLIENTS = frozenset({"aiobotocore", "aiohttp", "botocore", "gcsfs", "google", "httpx", "huggingface_hub", "requests"})
"""Packages whose exceptions are about the store rather than a bug here."""
_WEB = re.compile(r"\bhttps?://")
_COLON = "%3A"
_TAGS = ("ETag", "etag", "blob_id", "md5Hash", "CRC")
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "created", "date_time")


def is_remote(url: str) -> bool:
    """Whether fsspec opens it rather than the local file system."""
    return "://" in url


def is_chain(url: str) -> bool:
    """Whether the file is inside another one, so that reading a range costs as much as reading the whole."""
    return "::" in url


def is_of_this_process(url: str) -> bool:
    """Whether no other process can see the file: fsspec's `memory://`."""
    return url.rpartition("::")[2].startswith("memory://")


@contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Turn the errors of a store's client into errors that name the URL and what to do.

    Raises:
        RequestError: not found, permission denied, cannot be reached, or a package is missing; a ClockError if this
            machine's clock is the cause.
        DamagedFileError: a broken archive, or a file that is not an archive.
    """
    protocols = re.findall(r"(\w+)://", url)
    package = next((_PACKAGES[name] for name in protocols if name in _PACKAGES), "")
    try:
        yield
    except MixproofError:
        raise
    except ImportError as error:
        fix = f"pip install {package or 'the package that fsspec names'}"
        raise RequestError(
            f"{url}: {protocols[0]}:// needs a package that is not installed ({error}); {fix}"
        ) from error
    except zipfile.BadZipFile as error:
        raise DamagedFileError(url, "directory of the archive", f"not a complete zip file: {error}") from error
    except (zlib.error, lzma.LZMAError, EOFError) as error:
        raise DamagedFileError(url, "in the archive", f"cannot be decompressed: {error}") from error
    except FileNotFoundError as error:
        raise RequestError(f"{url}: no such bucket, folder or file ({_short(error)})") from error
    except Exception as error:
        if (shown := clock_error(url, error)) is not None:
            raise shown from error
        refused = isinstance(error, PermissionError) or "Credentials" in type(error).__name__
        if refused:
            fix = f"; set {_CREDENTIALS[package]}" if package else ""
            raise RequestError(f"{url}: permission denied: {_short(error)}{fix}") from error
        if is_chain(url) and isinstance(
            error, RuntimeError
        ):  # encrypted, or a compression that Python does not support
            raise RequestError(
                f"{url}: cannot be decompressed: {_short(error)}; extract the archive and list its files"
            ) from error
        if is_damaged(error):
            raise RequestError(
                f"{url}: arrived damaged, repeatedly ({_short(error)}); check the network and the endpoint"
            ) from error
        if isinstance(error, OSError | ValueError) or type(error).__module__.partition(".")[0] in _CLIENTS:
            raise RequestError(f"{url}: cannot be reached: {_short(error)}") from error
        raise


def opened_filesystem(url: str) -> tuple[Any, str]:
    """The file system of a URL, without cached listings, and the path in it.

    Raises:
        RequestError: an unknown protocol, or its package is missing.
    """
    import fsspec  # imported only here, because most files are local

    link, chained, outer = url.partition("::")
    with store_errors(url):
        if _WEB.search(url):
            from .web import register  # here, because it imports a client

            register()
        if _COLON in link:
            opened = f"{link.partition('://')[0]}://{chained}{outer}" if chained else link.partition(_COLON)[0]
            filesystem, _ = fsspec.core.url_to_fs(opened)
            path = filesystem._strip_protocol(link.replace(_COLON, ":"))
        else:
            filesystem, path = fsspec.core.url_to_fs(url)
        filesystem.invalidate_cache()
    return filesystem, path


def quoted(url: str) -> str:
    """The URL of one file with `::` in its name written as `:%3A`, because `::` separates the links of a chain.

    Raises:
        RequestError: for a name that contains `%3A` after a colon, because the two could not be distinguished.
    """
    if f":{_COLON}" in url:
        raise RequestError(f"{url}: a file's name must not contain ':{_COLON}'; rename it")
    return re.sub(r"(?<=:):", _COLON, url)


def can_be_chained(url: str) -> bool:
    """Whether fsspec can open an archive at this URL or path: its own name holds no `::`."""
    return _COLON not in url and ("::" not in url or is_remote(url))


def stat_of(url: str) -> tuple[int, str]:
    """(bytes, tag) of a file as it is now; the tag is "" if its store gives none."""
    if not is_remote(url):
        status = Path(url).stat()
        return status.st_size, f"{status.st_mtime_ns} {status.st_ctime_ns}"
    filesystem, path = opened_filesystem(url)
    with store_errors(url):
        info = filesystem.info(path)
    outer = url.partition("::")[2]
    return size_of(info, url), tag_of(info, stat_of(outer) if outer else None)


def size_of(info: Mapping[str, Any], url: str) -> int:
    """Bytes of a file according to its store.

    Raises:
        RequestError: when the store does not say.
    """
    if info.get("size") is None:
        raise RequestError(f"{url}: its server does not report the size; copy the file to a disk or an object store")
    return int(info["size"])


def tag_of(info: Mapping[str, Any], outer: tuple[int, str] | None = None) -> str:
    """The tag of a file's content, combined with size and tag of `outer`, the archive that holds it."""
    own = next((_spelled(info[name]) for name in (*_TAGS, *_TIMES) if info.get(name)), "")
    if outer is None:
        return own
    return f"{own} in {outer[0]} {outer[1]}" if own and outer[1] else ""


def _spelled(value: object) -> str:
    """A tag as text; a time reads the same whether it comes from a listing or from the file itself."""
    return repr(value.timestamp()) if isinstance(value, datetime) else str(value)


def remote_blocks(url: str, start: int, end: int | None = None) -> Iterator[bytes]:
    """Bytes [start, end) of a file, one request per block; to the end of the file if `end` is None."""
    filesystem, path = opened_filesystem(url)
    with store_errors(url):
        size = size_of(filesystem.info(path), url) if end is None else None
    end = size if end is None else end
    assert end is not None
    if is_chain(url):
        yield from _blocks_in_archive(filesystem, path, url, start, end)
        return
    for first in range(start, end, REMOTE_BLOCK_BYTES):
        last = min(first + REMOTE_BLOCK_BYTES, end)
        yield _block(filesystem, path, url, first, last, is_file=last - first == size)


def _block(filesystem: Any, path: str, url: str, start: int, end: int, *, is_file: bool) -> bytes:  # noqa: ANN401
    """Bytes [start, end) of a file; `is_file`: they are all of it, which S3 sends with a checksum.

    Raises:
        RequestError: when another number of bytes arrives, repeatedly, as from a server without byte ranges.
    """
    byte_range = {} if is_file else {"start": start, "end": end}
    with store_errors(url):
        block: bytes = repeat_damaged(
            lambda: filesystem.cat_file(path, **byte_range), lambda block: len(block) == end - start
        )
    if len(block) > end - start:
        raise RequestError(
            f"{url}: its server sent more than the {end - start:,} bytes of a range, so it does not support byte "
            "ranges; copy the file to a disk or an object store"
        )
    if len(block) != end - start:
        raise RequestError(
            f"{url}: {len(block):,} bytes arrived instead of the {end - start:,} from byte {start:,} on; make sure "
            "that nothing writes to it, and check the network and the endpoint"
        )
    return block


def _blocks_in_archive(filesystem: Any, path: str, url: str, start: int, end: int) -> Iterator[bytes]:  # noqa: ANN401
    with store_errors(url), filesystem.open(path, "rb") as file:
        file.seek(start)
        while start < end and (block := file.read(min(REMOTE_BLOCK_BYTES, end - start))):
            yield block
            start += len(block)


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]
