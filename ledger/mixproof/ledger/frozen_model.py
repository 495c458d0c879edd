"""The base of every record: a frozen pydantic model that rejects unknown fields."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """A record as it is written to disk. Unknown fields are errors, so no version reads another one halfway."""

    model_config = ConfigDict(frozen=True, extra="forbid")
