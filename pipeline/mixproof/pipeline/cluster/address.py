"""Addresses of Ray clusters, checked before they are written or used; imports no Ray."""

from __future__ import annotations

from mixproof.ledger.errors import RequestError


def check_address(address: str | None) -> str | None:
    """Return the address.

    Ray's addresses have no credentials. One that seems to have some is refused without being shown: without a scheme
    it is no URL, so it would not be recognized in messages and logs.

    Raises:
        RequestError: when it has a user, a query, or the scheme of a web server.
    """
    if address is None or not any(part in address for part in ("@", "?", "http://", "https://")):
        return address
    raise RequestError(
        "--address or RAY_ADDRESS: not the address of a Ray cluster, such as 10.0.0.1:6379. It has no user, password "
        "or query: a cluster's token belongs in RAY_AUTH_TOKEN or ~/.ray/auth_token. A job server, http://..., takes "
        "commands by `ray job submit`"
    )
