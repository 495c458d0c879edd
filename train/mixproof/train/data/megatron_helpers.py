"""Megatron's compiled index functions without the rest of Megatron.

`import megatron.core.datasets.helpers_cpp` imports `megatron.core` first, which brings torch and its compiler: about
ten seconds of a processor for functions over numpy arrays. Who audits or compares needs nothing else of it, so the
extension is loaded from its file.
"""

from __future__ import annotations

from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from mixproof.ledger.errors import RequestError

NAME = "helpers_cpp"


@cache
def megatron_helpers() -> ModuleType:
    """The module `helpers_cpp`, of the installed megatron-core.

    Raises:
        RequestError: when megatron-core, or its compiled part, is not installed.
    """
    package = find_spec("megatron")  # a namespace: finding it runs nothing
    places = [] if package is None else [Path(place) for place in package.submodule_search_locations or ()]
    for path in (place / "core" / "datasets" / f"{NAME}{end}" for place in places for end in EXTENSION_SUFFIXES):
        if path.is_file():
            loader = ExtensionFileLoader(NAME, str(path))
            spec = spec_from_file_location(NAME, path, loader=loader)
            assert spec is not None  # with a loader given, there is one
            module = module_from_spec(spec)
            loader.exec_module(module)
            return module
    raise RequestError("Megatron's index functions are not installed; pip install 'mixproof[train]'")
