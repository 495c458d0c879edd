"""Find what texts are embedded with: the default token table, or a folder with a table or an encoder."""

from __future__ import annotations

from pathlib import Path

from mixproof.ledger.errors import RequestError

from .encoder import check_encoder
from .encoder_files import EncoderFiles, find_encoder, is_encoder
from .token_table import TableFiles, find_table


def find_embedding(folder: Path | None) -> TableFiles:
    """Find a token table or a transformer encoder; None is the default table.

    Raises:
        RequestError: when a file or a package is missing, or the folder holds neither.
    """
    return find_encoder(folder) if folder is not None and is_encoder(folder) else find_table(folder)


def find_static(folder: Path | None) -> TableFiles:
    """Find a token table, where an encoder would be too slow.

    Raises:
        RequestError: when the folder holds an encoder, or a file is missing.
    """
    if folder is not None and is_encoder(folder):
        raise RequestError(
            f"{folder}: has a transformer encoder; a classifier embeds its examples many times and takes a static "
            "token table, as model2vec writes"
        )
    return find_table(folder)


def check_embedding(files: TableFiles) -> None:
    """Load an encoder, so that one that cannot be used is refused before any work.

    Raises:
        RequestError: saying why it cannot be used.
    """
    if isinstance(files, EncoderFiles):
        check_encoder(files)
