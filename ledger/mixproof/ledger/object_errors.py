"""What the client of an object store raises, told as an error that says what to do about it.

Clients retry by themselves what may pass; what comes through here has lasted. Kinds are known by their names, because
each client has classes of its own and none of them need be installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import MixproofError, RequestError

_PACKAGES = {"s3": "mixproof[s3]", "s3a": "mixproof[s3]", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""What to install for a protocol."""
_ADVICE = {
    "give credentials as its tools take them, for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY": {
        "NoCredentialsError",
        "PartialCredentialsError",
        "DefaultCredentialsError",
    },
    "check the network and the endpoint, for S3 AWS_ENDPOINT_URL; what is finished is kept": {
        "HTTPClientError",  # botocore's: no connection, a lost one, a timeout
        "ClientConnectionError",  # aiohttp's
        "ClientPayloadError",
        "ConnectionError",
        "TimeoutError",
        "FSTimeoutError",
    },
    "check that the bucket is there and may be used": {"OSError", "ClientError"},
}
"""Names of kinds of errors, by what to do about them; the first that fits."""


@contextmanager
def told(url: str) -> Iterator[None]:
    """Tell what goes wrong with the store at `url`; what is not there remains a FileNotFoundError.

    Raises:
        RequestError: what is wrong and the way out.
    """
    try:
        yield
    except (MixproofError, FileNotFoundError, FileExistsError):
        raise
    except ImportError as error:
        package = _PACKAGES.get(url.partition("://")[0])
        way = f"`pip install '{package}'`" if package else "install what it asks for"
        raise RequestError(f"{url}: {error}; {way}") from error
    except PermissionError as error:
        raise RequestError(f"{url}: no right to use it: {error}; check the credentials") from error
    except Exception as error:
        kinds = {kind.__name__ for kind in type(error).__mro__}
        advice = next((advice for advice, known in _ADVICE.items() if kinds & known), None)
        if advice is None and str(error).startswith("Protocol not known"):
            advice = "a store is a folder, or a URL such as s3://bucket/mixproof"
        if advice is None:
            raise
        raise RequestError(f"{url}: {str(error) or type(error).__name__}; {advice}") from error
