"""Errors in a spec. Each says what is wrong, where, and what would be right.

This room imports no other room, so it has its own base class. The command line prints it like a `MixproofError`:
without a traceback, with the error's exit code.
"""

from __future__ import annotations


class SpecError(Exception):
    """The spec is wrong, or requests more than its sources can supply; usually known before any work."""

    exit_code = 2
