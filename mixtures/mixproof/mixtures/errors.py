"""Errors in what is wanted. Each says what is wrong, where, and what would be right.

The ground rooms import no other room, so this one has its own base; the roof prints both alike, without
a traceback, and ends with the error's exit code.
"""

from __future__ import annotations


class SpecError(Exception):
    """The spec is wrong, or asks for what its sources cannot supply; nothing was written for it."""

    exit_code = 2
