"""Turn the exceptions of object-store clients into actionable errors.

Clients already retry transient failures, so an exception that reaches this module has persisted. Exceptions are
recognized by class name, because each client defines its own classes and may not be installed.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from .errors import MixproofError, RequestError

_PACKAGES = {"s3": "mixproof[s3]", "s3a": "mixproof[s3]", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""The package to install, by protocol."""
_ADVICE = {
    "provide credentials, for S3 in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY": {
        "NoCredentialsError",
        "PartialCredentialsError",
        "DefaultCredentialsError",
    },
    "check the network and the endpoint (for S3 AWS_ENDPOINT_URL); finished outputs are kept": {
        "HTTPClientError",  # botocore: no connection, a lost connection, a timeout
        "ClientConnectionError",  # aiohttp
        "ClientPayloadError",
        "ConnectionError",
        "TimeoutError",
        "FSTimeoutError",
    },
    "check that the bucket exists and that you may use it": {"OSError", "ClientError"},
}
"""Exception class names by advice; the first match applies."""
_WRONG_CLOCK = ("RequestTimeTooSkewed", "difference between the request time and the", "Signature not yet current")
"""What S3 and services like it answer to a request that is signed with a time more than 15 minutes off."""


@contextmanager
def actionable_errors(url: str) -> Iterator[None]:
    """Turn client exceptions about the store at `url` into errors that say what to do; FileNotFoundError passes.

    Raises:
        RequestError: naming the URL, the cause and what to do.
    """
    try:
        yield
    except (MixproofError, FileNotFoundError, FileExistsError):
        raise
    except ImportError as error:
        package = _PACKAGES.get(url.partition("://")[0])
        remedy = f"`pip install '{package}'`" if package else "install the missing package"
        raise RequestError(f"{url}: {error}; {remedy}") from error
    except Exception as error:
        if any(sign in str(error) for sign in _WRONG_CLOCK):
            host = socket.gethostname()
            raise RequestError(f"{url}: the clock of {host} is wrong ({error}); set it, for example by NTP") from error
        _raise_with_advice(url, error)


def _raise_with_advice(url: str, error: Exception) -> NoReturn:
    if isinstance(error, PermissionError):
        raise RequestError(f"{url}: permission denied: {error}; check the credentials") from error
    classes = {cls.__name__ for cls in type(error).__mro__}
    advice = next((advice for advice, known in _ADVICE.items() if classes & known), None)
    if advice is None and str(error).startswith("Protocol not known"):
        advice = "a store is a folder or a URL such as s3://bucket/mixproof"
    if advice is None:
        raise error
    raise RequestError(f"{url}: {str(error) or type(error).__name__}; {advice}") from error
