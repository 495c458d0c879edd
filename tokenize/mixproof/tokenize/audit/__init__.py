"""Audit of a build: what its manifest says, re-derived from the files alone, with no code of their writers."""

from .build import audit_build
from .copies import copy_build, copy_run, in_store
from .replay import replay_build
from .report import AuditReport, Depth, Failure

__all__ = ["AuditReport", "Depth", "Failure", "audit_build", "copy_build", "copy_run", "in_store", "replay_build"]
