"""Everything that `import mixproof` offers, in one place; type checkers read it from the stubs of the source roots."""

from __future__ import annotations

from mixproof.ledger.errors import MixproofError
from mixproof.ledger.version import VERSION
from mixproof.mixtures.errors import SpecError

from .opened_store import OpenedStore, open_store
from .work import build, load_spec, train

__version__ = VERSION
open = open_store  # the name of the public function, as in `zarr.open` and `h5py`'s readers
__all__ = ["MixproofError", "OpenedStore", "SpecError", "__version__", "build", "load_spec", "open", "train"]
