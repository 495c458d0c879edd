"""Progress of reading: which shards of a spec a store has, without reading any.

A shard is identified by its key, which holds the checksums of its files. A file that no build has read in its present
state has no checksum, so its shards are unread. Receipts are streamed: a million shards need memory for their keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mixproof.ledger.store import Store
from mixproof.ledger.store.receipts import iter_receipts
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.inputs.files import InputFile

from .identify import recall
from .read_task import STAGE, read_keys
from .shards import SHARD_BYTES, ShardPlan, plan_shards
from .unpack import find_pieces, is_unpacked


@dataclass(frozen=True)
class ReadProgress:
    """How much of a spec has been read."""

    shards: int
    shards_read: int
    bytes_left: int
    """Raw bytes of the unread shards."""


def read_progress(
    spec: Spec, files: Mapping[str, Sequence[InputFile]], store: Store, *, shard_bytes: int = SHARD_BYTES
) -> ReadProgress:
    """Count the shards that a build of this spec would read, and those that it would reuse."""
    texts = {name: inputs for name, inputs in files.items() if spec.sources[name].megatron is None}
    sha256 = recall((file for inputs in texts.values() for file in inputs), store)
    shards = bytes_left = 0
    sizes_of: dict[str, list[int]] = {}
    for name, inputs in texts.items():
        for key, size in _shards_of(spec, name, inputs, sha256, store, shard_bytes):
            shards += 1
            bytes_left += size
            if key is not None:
                sizes_of.setdefault(key, []).append(size)  # files of equal content are read once
    read = 0
    for key, _, _ in iter_receipts(store, STAGE, sizes_of):
        read += len(sizes_of[key])
        bytes_left -= sum(sizes_of[key])
    return ReadProgress(shards, read, bytes_left)


def _shards_of(
    spec: Spec, name: str, inputs: Sequence[InputFile], sha256: Mapping[str, str], store: Store, shard_bytes: int
) -> Iterator[tuple[str | None, int]]:
    """Key and raw bytes of each shard of a source; no key where one of its files has no known checksum or pieces."""
    known: list[ShardPlan] = []
    limits = spec.limits
    pieces = find_pieces(inputs, sha256, store, limits=limits, shard_bytes=shard_bytes)
    for plan in plan_shards({name: inputs}, shard_bytes, pieces):
        is_whole = plan.piece is None and is_unpacked(plan.files[0], shard_bytes)
        if not is_whole and all(file.url in sha256 for file in plan.files):
            known.append(plan)
        else:
            yield None, plan.input_bytes
    keys = read_keys(known, spec.sources[name], sha256, limits, keep_prompts=spec.finds_similar_prompts)
    for plan, key in zip(known, keys, strict=True):
        yield key, plan.input_bytes
