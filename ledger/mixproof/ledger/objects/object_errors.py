"""Turn the exceptions of object-store clients into actionable errors.

Clients already retry transient failures, so an exception that reaches this module has persisted. Exceptions are
recognized by class name, because each client defines its own classes and may not be installed.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

from mixproof.ledger.errors import ClockError, MixproofError, RequestError
from mixproof.ledger.shown_text import unsigned

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
    "the object arrived damaged, repeatedly; check the network and the endpoint": {"FlexibleChecksumError"},
    "correct the name of the bucket": {"ParamValidationError"},
    "check that the bucket exists and that you may use it": {"OSError", "ClientError"},
}
"""Exception class names by advice; the first match applies."""
_WRONG_CLOCK = ("RequestTimeTooSkewed", "difference between the request time and the", "Signature not yet current")
"""What S3 and services like it answer to a request that is signed with a time more than 15 minutes off."""

_TOLERANCE_SECONDS = 15 * 60
"""How far off the clock of a client may be for S3."""


@contextmanager
def actionable_errors(url: str) -> Iterator[None]:
    """Turn client exceptions about the store at `url` into errors that say what to do; FileNotFoundError passes.

    Raises:
        RequestError: naming the URL, the cause and what to do; a ClockError if this machine's clock is the cause.
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
        if (shown := clock_error(url, error)) is not None:
            raise shown from error
        _raise_with_advice(url, error)


def check_no_password(url: str) -> None:
    """Refuse a URL of a bucket with a user name and password, which clients take for a part of the bucket's name.

    Raises:
        RequestError: without the credentials.
    """
    plain = unsigned(url)
    if plain != url and url.partition("://")[0] in _PACKAGES:
        raise RequestError(
            f"{plain}: the URL of a store must not have credentials in it; put them into the environment, for S3 into "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )


def clock_error(url: str, error: Exception) -> ClockError | None:
    """The error to show instead of `error` when this machine's clock is why the server refused; None otherwise."""
    if any(sign in str(error) for sign in _WRONG_CLOCK) or _clock_error_seconds(error) > _TOLERANCE_SECONDS:
        return ClockError(f"{url}: the clock of {socket.gethostname()} is wrong ({error}); set it, for example by NTP")
    return None


def _clock_error_seconds(error: BaseException | None) -> float:
    """How far this machine's clock is from that of the server that refused a request; 0 if the error does not tell.

    The answer to a HEAD request has no body and so no reason, but every answer has the server's time.
    """
    for answer in _answers(error):
        if answer.get("HTTPStatusCode") == 403:
            with suppress(ValueError):
                return abs(
                    time.time() - parsedate_to_datetime(answer.get("HTTPHeaders", {}).get("date", "")).timestamp()
                )
    return 0.0


def _answers(error: BaseException | None) -> Iterator[dict[str, Any]]:
    """What botocore notes of the server's answers that led to an error: status and headers."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            yield response.get("ResponseMetadata", {})
        error = error.__cause__ or error.__context__


def _raise_with_advice(url: str, error: Exception) -> NoReturn:
    if isinstance(error, PermissionError):
        raise RequestError(f"{url}: permission denied: {str(error).rstrip('.')}; check the credentials") from error
    status = next((answer.get("HTTPStatusCode", 0) for answer in _answers(error)), 0)
    if status >= 500:
        reason = str(error).rstrip(".")
        raise RequestError(
            f"{url}: the object store answers with status {status}, repeatedly ({reason}); run the same command again "
            "when it works: finished outputs are kept"
        ) from error
    classes = {cls.__name__ for cls in type(error).__mro__}
    advice = next((advice for advice, known in _ADVICE.items() if classes & known), None)
    if advice is None and str(error).startswith("Protocol not known"):
        advice = "a store is a folder or a URL such as s3://bucket/mixproof"
    if advice is None:
        raise error
    raise RequestError(f"{url}: {str(error) or type(error).__name__}; {advice}") from error
