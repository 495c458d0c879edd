"""Audit of a build: every statement of its manifest is derived again, without the code that wrote it."""

from .build import audit_build
from .copies import copy_build, copy_run, in_store
from .replay.replay import replay_build
from .report import AuditReport, Depth, Failure

__all__ = ["AuditReport", "Depth", "Failure", "audit_build", "copy_build", "copy_run", "in_store", "replay_build"]
