"""What every part of a spec is: a frozen model that knows its keys, and names that may stand in file names."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Names become parts of file names."""
Name = Annotated[str, Field(pattern=NAME)]


class SpecPart(BaseModel):
    """Base of every part of a spec: frozen, and unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.rstrip("_"),
        populate_by_name=True,
        use_attribute_docstrings=True,
    )
