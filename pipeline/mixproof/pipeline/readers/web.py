"""Files on web servers: fsspec's client, with limits on what a server may send.

The client keeps any body whole. Here an answer holds at most the range that was requested, or `MOST_BYTES` without one:
a body without an end, or one that decompresses to gigabytes, is refused before it fills the memory. The client's
expression for the links of a page takes minutes on a tag with 4,000 spaces; this one takes linear time.
"""

from __future__ import annotations

import re
from typing import Any

import aiohttp
import fsspec
from fsspec.implementations import http as client

MOST_BYTES = 64 * 1000 * 1000
"""Of an answer to a request without a range: a file of one block, or a page that lists files."""
MOST_PAGES = 100_000
"""That are read for links: a server can make up folders without end."""
LINK = re.compile(r"""<(a|A)\s(?:[^<>]*?\s)?(href|HREF)=["'](?P<url>[^"'<>]+)""")
"""Groups as in the client's expression."""
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class LimitedResponse(aiohttp.ClientResponse):
    """A response that is read up to the size that was requested, and one byte more, which shows that there is more."""

    async def read(self) -> bytes:
        """The body.

        Raises:
            OSError: when it is longer than `MOST_BYTES`, without a range.
        """
        if self._body is None:
            asked = _RANGE.fullmatch(self.request_info.headers.get("Range", ""))
            most = int(asked[2]) - int(asked[1]) + 1 if asked else MOST_BYTES
            body = bytearray()
            async for piece in self.content.iter_any():
                body += piece
                if len(body) > most:
                    self.close()
                    if asked is None:
                        raise OSError(f"its server sent more than {most:,} bytes")
                    break
            self._body = bytes(body[: most + 1])
        return self._body


class WebFileSystem(client.HTTPFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """fsspec's file system of web servers, with limits."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  as fsspec declares them
        options["client_kwargs"] = {**(options.get("client_kwargs") or {}), "response_class": LimitedResponse}
        super().__init__(*arguments, **options)
        self._pages = 0

    async def _ls_real(self, url: str, detail: bool = True, **options: Any) -> Any:  # noqa: ANN401  as above
        self._pages += 1
        if self._pages > MOST_PAGES:
            raise OSError(f"its server lists more than {MOST_PAGES:,} folders")
        return await super()._ls_real(url, detail, **options)


def register() -> None:
    """Have fsspec open URLs of web servers with this client."""
    client.ex = LINK
    for protocol in ("http", "https"):
        fsspec.register_implementation(protocol, WebFileSystem, clobber=True)
