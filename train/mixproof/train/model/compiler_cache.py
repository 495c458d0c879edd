"""Where torch keeps what it compiled: a folder that no other user of the machine can write to.

torch's default is the folder `torchinductor_<user>` among the temporary files. It loads code and pickles from there
without checking them, so whoever creates that folder first can run code in a run of somebody else.
"""

from __future__ import annotations

import getpass
import os
import tempfile

from mixproof.ledger.private_folder import private_folder

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
"""Environment variable that torch reads, and also sets to its default."""


def use_private_cache() -> None:
    """Make torch use a private folder, unless the environment names another one than torch's default."""
    default = f"{tempfile.gettempdir()}/torchinductor_{getpass.getuser()}"
    if os.environ.get(VARIABLE, default) == default:
        os.environ[VARIABLE] = private_folder("compiled")
