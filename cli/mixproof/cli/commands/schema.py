"""`mixproof schema`: the JSON Schema of a spec, with which editors complete and check specs."""

from __future__ import annotations

from mixproof.cli.options import VerboseOption
from mixproof.cli.output import emit_json
from mixproof.cli.spec_schema import spec_schema


def schema(verbose: VerboseOption = 0) -> None:
    """Print the JSON Schema of a spec."""
    emit_json(spec_schema())
