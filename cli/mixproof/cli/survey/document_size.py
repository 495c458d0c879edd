"""The mean size of a source's documents, from the first records of some of its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mixproof.mixtures.blocks.source import Source
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.inputs.formats import TREES
from mixproof.pipeline.readers.remote import is_remote

from .fields import Fields
from .sample import sample_file

SAMPLED_FILES = 3


def mean_document_bytes(source: Source, files: Sequence[InputFile]) -> float | None:
    """Mean UTF-8 bytes of a source's documents: exact where each file is a document.

    Otherwise that of the first records of the first file, the last and one between. None if these are not local, or
    have no such texts.
    """
    if not files or files[0].format == "megatron":
        return None
    if all(file.format in TREES for file in files):
        return sum(file.bytes for file in files) / len(files)
    chosen = dict.fromkeys(files[at * (len(files) - 1) // (SAMPLED_FILES - 1)] for at in range(SAMPLED_FILES))
    sizes = [len(text.encode(errors="replace")) for file in chosen for text in _texts(source, file)]
    return sum(sizes) / len(sizes) if sizes else None


def _texts(source: Source, file: InputFile) -> Iterator[str]:
    if is_remote(file.url) or file.format in ("warc", "wet"):
        return
    fields = Fields(source.text, None, kind=source.kind)
    for record in sample_file(Path(file.url), file.format).records:
        text = fields.text_of(record)
        if text:
            yield text
