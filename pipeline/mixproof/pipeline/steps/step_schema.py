"""The JSON Schema of a step, for editors: every name with its options, generated from the options' models."""

from __future__ import annotations

from typing import Any

from .registry import KINDS

Schema = dict[str, Any]
DATATROVE = "datatrove"


def step_schema() -> Schema:
    """Return the schema of one entry of `steps`; what several options share is in `$defs`.

    A step is its name, if no option is required, or a map of its name to its options, or a class of datatrove with its
    arguments, which are datatrove's own.
    """
    definitions: dict[str, Schema] = {}
    named: dict[str, Schema] = {}
    without_options: list[str] = []
    for name, kind in KINDS.items():
        options = kind.options.model_json_schema(ref_template=f"#/$defs/step_{name}_{{model}}")
        definitions |= {f"step_{name}_{model}": part for model, part in options.pop("$defs", {}).items()}
        definitions[f"step_{name}"] = options
        reference = {"$ref": f"#/$defs/step_{name}"}
        if "required" in options:
            named[name] = reference
        else:
            named[name] = {"anyOf": [reference, {"type": "null"}]}
            without_options.append(name)
    step = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "properties": named,
        "additionalProperties": False,
    }
    of_datatrove = {"type": "object", "required": [DATATROVE], "properties": {DATATROVE: {"type": "string"}}}
    return {
        "description": "A step: its name, its name with options, or a datatrove class with arguments.",
        "anyOf": [{"type": "string", "enum": without_options}, step, of_datatrove],
        "$defs": definitions,
    }
