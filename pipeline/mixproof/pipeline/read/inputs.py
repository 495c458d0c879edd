"""The lists of the sources' raw files that the manifest refers to: `inputs.parquet`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.records.inputs import InputsRecord
from mixproof.ledger.store import Receipt, Store
from mixproof.ledger.store.batch import Outputs, open_batch
from mixproof.ledger.store.receipts import find_receipts
from mixproof.pipeline.columns import table_of
from mixproof.pipeline.inputs.files import InputFile

from .batches import SHARDS_PER_TASK, in_batches
from .read_task import STAGE

INPUTS = "inputs.parquet"
INPUTS_VERSION = 2

_SCHEMA = pa.schema([("file", pa.string()), ("sha256", pa.string()), ("bytes", pa.int64()), ("records", pa.int64())])


def write_inputs(
    files: Mapping[str, Sequence[InputFile]],
    records_of: Mapping[str, Mapping[str, int]],
    sha256: Mapping[str, str],
    store: Store,
) -> dict[str, InputsRecord]:
    """Write the list of each source's raw files unless the store has it.

    Args:
        files: the files of each source, in order.
        records_of: raw records of each, by source and name.
        sha256: of each, by URL.
        store: where the lists go.
    """
    rows = {
        name: [(file.name, sha256[file.url], file.bytes, records_of[name][file.name]) for file in inputs]
        for name, inputs in files.items()
    }
    keys = {
        name: stage_key("inputs", INPUTS_VERSION, {}, [dict(zip(_SCHEMA.names, row, strict=True)) for row in own])
        for name, own in rows.items()
    }
    lists = {key: rows[name] for name, key in keys.items()}
    found: dict[str, Receipt] = dict(find_receipts(store, STAGE, lists))
    for some in in_batches([key for key in lists if key not in found], SHARDS_PER_TASK):
        with open_batch(store, STAGE, some) as outputs:
            for key in some:
                found[key] = _write(lists[key], key, outputs)
    return {
        name: InputsRecord(
            path=f"{STAGE}/{keys[name]}/{INPUTS}",
            sha256=found[keys[name]].files[INPUTS].content_sha256,
            files=len(own),
            records=sum(records for *_, records in own),
            bytes=sum(size for _, _, size, _ in own),
        )
        for name, own in rows.items()
    }


def _write(rows: Sequence[tuple[str, str, int, int]], key: str, outputs: Outputs) -> Receipt:
    with outputs.attempt(STAGE, key) as attempt:
        listed = table_of(rows, _SCHEMA)
        pq.write_table(listed, attempt.path(INPUTS), compression="zstd", write_statistics=False)
        return attempt.commit()
