"""Load Megatron's compiled index functions without importing the rest of Megatron.

`import megatron.core.datasets.helpers_cpp` first imports `megatron.core`, and with it torch and its compiler: about ten
CPU seconds for functions over numpy arrays. Audit and comparison need nothing else of Megatron, so the extension is
loaded from its file.
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
    """Return the module `helpers_cpp` of the installed megatron-core.

    Raises:
        RequestError: when megatron-core or its compiled part is not installed.
    """
    package = find_spec("megatron")  # a namespace package: finding it runs no code
    roots = [] if package is None else [Path(root) for root in package.submodule_search_locations or ()]
    for path in (root / "core" / "datasets" / f"{NAME}{end}" for root in roots for end in EXTENSION_SUFFIXES):
        if path.is_file():
            loader = ExtensionFileLoader(NAME, str(path))
            spec = spec_from_file_location(NAME, path, loader=loader)
            assert spec is not None  # there is one if a loader is given
            module = module_from_spec(spec)
            loader.exec_module(module)
            return module
    raise RequestError("Megatron's index functions are not installed; run: pip install 'mixproof[train]'")
