"""The base of every part of a spec (a frozen model that rejects unknown keys), and the form of names."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NAME_RULE = "use letters, digits, dots, dashes and underscores, and start with a letter or digit"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Names are used in file names."""
MAX_NAME_CHARS = 150
"""With an ending, a name must be a valid file name."""
Name = Annotated[str, Field(pattern=NAME, max_length=MAX_NAME_CHARS)]


class SpecPart(BaseModel):
    """Base of every part of a spec: frozen; unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.rstrip("_"),
        populate_by_name=True,
        use_attribute_docstrings=True,
    )
