"""mixproof from Python: what a store holds, as records and tables, and the work of its commands.

    import mixproof

    store = mixproof.open(".mixproof")  # a folder or an object store's URL
    store.runs.to_pandas()  # a row a run
    store.losses(store.runs[0]).to_arrow()  # a row a step
    store.account(store.builds[0].build)  # where every record of a build went
    store.compare("spec.yaml").verdict  # which mixture is better

    build = mixproof.build("spec.yaml")  # as `mixproof build`
    runs = mixproof.train("spec.yaml")  # as `mixproof train`

`import mixproof` reads no other module; what is named above is loaded when it is first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pkgutil import extend_path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixproof.api.face import *
    from mixproof.api.face import __version__ as __version__

# A checkout keeps this package in seven folders, and six of them are a namespace package without this one.
__path__ = extend_path(__path__, __name__)
if len(__path__) > 1 and __spec__ is not None:
    __spec__.has_location = False  # import-linter lets a part be a root only where the whole has no single place


class _Package(ModuleType):
    """The package; `mixproof.train` is a room and a function, and importing the room must not hide the function."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "train" and isinstance(value, ModuleType):
            value.__class__ = _TrainRoom
        super().__setattr__(name, value)


class _TrainRoom(ModuleType):
    """`mixproof.train`: calling it trains."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  those of the function
        """Train the proxies of a spec; see `mixproof.api.work.train`."""
        return import_module("mixproof.api.work").train(*args, **kwargs)


if not TYPE_CHECKING:
    sys.modules[__name__].__class__ = _Package

    def __getattr__(name: str) -> object:
        if name == "__version__":
            return import_module("mixproof.ledger.version").VERSION
        if name == "train":
            return import_module("mixproof.train")
        if not name.startswith("_") and name in (face := import_module("mixproof.api.face")).__all__:
            return getattr(face, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *import_module("mixproof.api.face").__all__})
