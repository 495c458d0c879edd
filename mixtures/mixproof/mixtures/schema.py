"""The JSON Schema of a spec file, for editors, including all YAML shorthands.

It is generated from the models, so it cannot lag behind them; the shorthands that `forms.py` and
`mixture_forms.py` read are added here. Sums, names and files are checked only when a spec is loaded.
"""

from __future__ import annotations

from typing import Any

from .forms import SWITCHED
from .spec import Spec
from .values.quantities import MAX_INT32, SHARE_FORMS

Schema = dict[str, Any]
NUMBER: Schema = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]"}]}
"""A number, or a string of one: `2`, `0.7`, `70%`, `1/3`."""

SHARE: Schema = {"anyOf": SHARE_FORMS}
"""A share: `0.7`, `70%`, `7/10`, and not `70`."""

NULL: Schema = {"type": "null"}
MODELS = (
    *("Source", "OnBadRecord", "Limits", "Dedup", "HeldoutSpec", "HeldoutCreate", "Decontaminate", "Tokenizer"),
    *("TargetRun", "Train", "InitFrom", "Schedule", "Wsd", "Optimizer", "Proxy", "Objective"),
)
"""Models whose keys may be null, which removes the value of a parent file. Lists are replaced whole, so not theirs."""


def json_schema(step: Schema | None = None) -> Schema:
    """Return the JSON Schema (2020-12) of a spec file as written in YAML.

    Args:
        step: the schema of a step, with its own `$defs`: this room does not know which steps there are. None: any name.
    """
    schema = Spec.model_json_schema(by_alias=True)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "mixproof spec"}
    parts: dict[str, Schema] = schema["$defs"]
    schema["properties"]["extends"] = {
        "type": "string",
        "description": "A parent spec file. Maps are merged, lists and values are replaced, null removes a key.",
    }
    _allow_lists_of_one(parts)
    _allow_short_labels(parts)
    parts |= {} if step is None else step.get("$defs", {})
    parts["Step"] = _step() if step is None else {key: value for key, value in step.items() if key != "$defs"}
    parts["Parts"] = _parts()
    parts["Shares"] = _shares()
    parts["Mixture"] = _any_of(_ref("Shares"), _blend_model(parts["Mixture"], "phases"))
    parts["Phase"] = _blend_model(parts["Phase"], "until")
    parts["FixedPart"]["properties"]["of"] = _ref("Parts")
    parts["FixedPart"] = _any_of(SHARE, parts["FixedPart"])
    _allow(schema, "dedup", {"type": "boolean"})
    _allow(schema, "decontaminate", {"type": "boolean"})
    _allow(parts["Decontaminate"], "questions", {"type": "boolean"})
    for key in SWITCHED:
        _allow(parts["Dedup"], key, {"type": "boolean"})
    _allow(parts["TargetRun"], "max_epochs", NUMBER)
    _allow(parts["Phase"], "min_tokens", {"type": "integer", "minimum": 1, "maximum": MAX_INT32})
    _allow(parts["Train"], "init_from", {"type": "string"})
    budget = {key: value for key, value in parts["Proxy"]["properties"]["tokens"].items() if key != "description"}
    _allow(parts["Proxy"], "tokens", {"type": "array", "minItems": 1, "items": budget})
    schema["if"], schema["then"], schema["else"] = {"required": ["extends"]}, {}, _complete(schema)
    for model in (schema, *(parts[name] for name in MODELS)):
        _allow_nulls(model)
    return schema


def _complete(schema: Schema) -> Schema:
    """Move required keys out of the models: a file that extends another need not have them."""
    parts = schema["$defs"]
    proxies = {"additionalProperties": {"required": parts["Proxy"].pop("required")}}
    train = {"required": parts["Train"].pop("required"), "properties": {"proxies": proxies}}
    target = {"required": parts["TargetRun"].pop("required")}
    return {"required": schema.pop("required"), "properties": {"train": train, "target": target}}


def _allow_nulls(model: Schema) -> None:
    """Allow null for every key and name: it removes the value of a parent file."""
    for key, value in model["properties"].items():
        for pattern, named in value.get("patternProperties", {}).items():
            value["patternProperties"][pattern] = _any_of(named, NULL)
        if key not in ("schema", "name"):
            _allow(model, key, NULL)


def _allow_lists_of_one(parts: dict[str, Schema]) -> None:
    one = {"type": "string"}
    _allow(parts["Source"], "files", one)
    _allow(parts["Source"], "attributes", one)
    _allow(parts["EvaluationFiles"], "files", one)
    _allow(parts["EvaluationFiles"], "fields", one)
    parts["Decontaminate"]["properties"]["against"]["items"] = _any_of(one, _ref("EvaluationFiles"))
    for form in (one, _ref("EvaluationFiles")):
        _allow(parts["Decontaminate"], "against", form)


def _allow_short_labels(parts: dict[str, Schema]) -> None:
    """A label by its kind's name, a field or a model by its name alone, and an axis that is not in a list."""
    text: Schema = {"type": "string"}
    parts["Label"] = _any_of({"type": "string", "enum": ["language"]}, dict(parts["Label"]))
    for kind in ("field", "fasttext"):
        _allow(parts["Label"]["anyOf"][1], kind, text)
    _allow(parts["Source"], "keep", _ref("KeepRule"))
    values = parts["KeepRule"]["properties"]["is"]["anyOf"]
    for form in values:
        if form.get("type") == "array":
            form["items"] = _any_of(text, {"type": "boolean"})
    values += [text, {"type": "boolean"}]
    axis = _any_of(text, _ref("SplitAxis"))
    _allow(parts["Source"], "split_by", _ref("SplitAxis"))
    for form in parts["Source"]["properties"]["split_by"]["anyOf"]:
        if form.get("type") == "array":
            form["items"] = axis


def _allow(part: Schema, key: str, form: Schema) -> None:
    """Allow one more form for a key; its description and default stay."""
    old = part["properties"][key]
    about = {name: old[name] for name in ("description", "default", "title") if name in old}
    forms = old["anyOf"] if "anyOf" in old else [{name: old[name] for name in old if name not in about}]
    part["properties"][key] = {**about, "anyOf": [*forms, *([] if form in forms else [form])]}


def _blend_model(part: Schema, needs: str) -> Schema:
    """A phase, or a mixture with a rule or phases. Its shares may be a mixture's name, a map or parts."""
    properties = {**part["properties"], "shares": _any_of({"type": "string"}, _ref("Shares"))}
    forms = [{"required": [needs]}, {"required": ["rule"]}, {"required": ["shares"]}]
    allowed = forms if needs == "phases" else forms[:1]
    return {**part, "properties": properties, "anyOf": allowed}


def _step() -> Schema:
    options = {"anyOf": [{"type": "object"}, {"type": "null"}]}
    one = {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": options}
    datatrove = {"type": "object", "required": ["datatrove"], "properties": {"datatrove": {"type": "string"}}}
    return {
        "description": "A step: its name, its name with options, or a datatrove class with arguments.",
        **_any_of({"type": "string"}, one, datatrove),
    }


def _parts() -> Schema:
    group = {
        "type": "object",
        "properties": {"parts": NUMBER, "of": _ref("Parts")},
        "required": ["parts", "of"],
        "additionalProperties": False,
    }
    return {
        "description": "Parts by source, such as {high: 2, low: 1}.",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": _any_of(NUMBER, group),
    }


def _shares() -> Schema:
    group = {
        "type": "object",
        "properties": {"share": SHARE, "of": _ref("Parts")},
        "required": ["share", "of"],
        "additionalProperties": False,
    }
    by_name = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"not": {"enum": ["parts", "phases", "rule", "shares", "default"]}},
        "additionalProperties": _any_of(SHARE, group),
    }
    by_parts = {
        "type": "object",
        "properties": {"parts": _ref("Parts")},
        "required": ["parts"],
        "additionalProperties": False,
    }
    return {"description": "Shares by source, which sum to 100%, or parts.", **_any_of(by_name, by_parts)}


def _any_of(*forms: Schema) -> Schema:
    return {"anyOf": list(forms)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}
