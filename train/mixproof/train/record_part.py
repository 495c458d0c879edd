"""What all parts of a run's record are: frozen, and without unknown keys."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class RecordPart(BaseModel):
    """A frozen part of a record or request; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SparseRecordPart(RecordPart):
    """A part that writes no key for a value that is None."""

    @model_serializer(mode="wrap")
    def _drop_none(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return {name: value for name, value in written.items() if value is not None}
