"""Whether a source's columns are in its Parquet files, known before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mixproof.mixtures.key_positions import KeyPath, dotted
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.inputs.named_fields import label_fields, named_fields
from mixproof.pipeline.readers.parquet import check_parquet
from mixproof.pipeline.readers.remote import is_remote


def check_columns(spec: Spec, files: Mapping[str, Sequence[InputFile]]) -> None:
    """Look for each source's columns in the first of its local Parquet files; other files are checked when read.

    Raises:
        RequestError: for a column that is missing, or a text column of another type.
        DamagedFileError: when the file is not Parquet.
    """
    for name, inputs in files.items():
        source = spec.sources[name]
        first = next((file for file in inputs if file.format == "parquet" and not is_remote(file.url)), None)
        if first is not None and Path(first.url).is_file():
            check_parquet(
                first.url,
                text=source.text if source.kind is None else None,
                id_=source.id,
                fields={dotted(key): field for key, field in (named_fields(source) | _axes(spec, name)).items()},
            )


def _axes(spec: Spec, name: str) -> dict[KeyPath, str]:
    """The fields by which a source is divided; other formats show only when they are read whether they lack one."""
    return {key: field for key, (field, _) in label_fields(spec, name).items() if key[0] == "split_by"}
