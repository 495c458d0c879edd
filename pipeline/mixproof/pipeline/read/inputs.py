"""The list of a source's raw files that the manifest refers to: `inputs.parquet`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.records.inputs import InputsRecord
from mixproof.ledger.store import Store
from mixproof.pipeline.columns import table_of
from mixproof.pipeline.inputs.files import InputFile

from .read_task import STAGE

INPUTS = "inputs.parquet"
INPUTS_VERSION = 2

_SCHEMA = pa.schema([("file", pa.string()), ("sha256", pa.string()), ("bytes", pa.int64()), ("records", pa.int64())])


def write_inputs(
    inputs: Iterable[InputFile], records_of: Mapping[str, int], sha256: Mapping[str, str], store: Store
) -> InputsRecord:
    """Write the list of a source's raw files unless the store has it.

    Args:
        inputs: the files, in order.
        records_of: raw records of each, by name.
        sha256: of each, by URL.
        store: where the list goes.
    """
    rows = [
        {"file": file.name, "sha256": sha256[file.url], "bytes": file.bytes, "records": records_of[file.name]}
        for file in inputs
    ]
    key = stage_key("inputs", INPUTS_VERSION, {}, rows)
    receipt = store.receipt(STAGE, key)
    if receipt is None:
        with store.attempt(STAGE, key) as attempt:
            listed = table_of([tuple(row.values()) for row in rows], _SCHEMA)
            pq.write_table(listed, attempt.path(INPUTS), compression="zstd", write_statistics=False)
            receipt = attempt.commit()
    return InputsRecord(
        path=f"{STAGE}/{key}/{INPUTS}",
        sha256=receipt.files[INPUTS].content_sha256,
        files=len(rows),
        records=sum(records_of.values()),
        bytes=sum(file.bytes for file in inputs),
    )
