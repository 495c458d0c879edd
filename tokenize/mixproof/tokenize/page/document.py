"""The parts of an HTML document: the environment of the templates, and files that are embedded as they are."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable
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


def policy(scripts: Iterable[str], styles: Iterable[str]) -> str:
    """The content security policy of a page: the browser runs these scripts and applies these styles alone.

    Nothing is loaded, and neither handlers nor styles in attributes count, so text that got into the page as HTML would
    do nothing. The empty style is that of elements to which plotly.js adds its rules.
    """
    run, applied = (" ".join(dict.fromkeys(map(_hash, texts))) for texts in (scripts, ("", *styles)))
    return (
        f"default-src 'none'; script-src {run}; style-src {applied}; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def asset(name: str, package: str = __package__ or "") -> Markup:
    """A script or style sheet of a package, to be embedded unescaped."""
    return Markup(files(package).joinpath(name).read_text(encoding="utf-8"))  # noqa: S704  our own file
