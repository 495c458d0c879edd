"""The parts of an HTML document: the environment of the templates, and files that are embedded as they are."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from importlib.resources import files

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from mixproof.ledger.shown_text import redacted, visible


def template(name: str, *packages: str) -> Template:
    """The template `name` of the first package; it may import from the others and from `parts.html.j2` here."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, ".") for package in (*packages, __package__ or "")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    return environment.get_template(name)


def _harmless(value: object) -> object:
    """A value of a template without credentials and without characters that hide or reorder text on the page."""
    return visible(redacted(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def source_of(script: str) -> str:
    """What a content security policy names a script by, so that the browser runs no other one."""
    return f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def asset(name: str, package: str = __package__ or "") -> Markup:
    """A script or style sheet of a package, to be embedded unescaped."""
    return Markup(files(package).joinpath(name).read_text(encoding="utf-8"))  # noqa: S704  our own file
