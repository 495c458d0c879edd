"""Receipts of many outputs at once: a stage's driver looks up all of its shards in one call.

Sealed receipts are read first, file by file, then those beside their outputs. On an object store, file sizes come
from listings instead of one request per output: of the whole stage if that is one page, else by as many first digits of
the keys as take the fewest requests. How many objects a stage has is estimated from its first page, because keys are
hashes. Clients that cannot list one page list up to 256 keys one by one, and more by their first two digits.
Receipts are kept as bytes and parsed on access, because a million parsed ones would take gigabytes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.files import leads_out
from mixproof.ledger.objects.objects import LISTED_AT_ONCE

from .receipt import PACKS, RECEIPT, Pack, Receipt, read_receipt, unseal
from .sealed import read_sealed, sealed_files
from .store import Store

FEW = 256
"""Up to this many keys are listed one by one if the size of a stage is unknown."""
KEY_DIGITS = 64
READ_TOGETHER = 1000
THREADS = 16

NOT_A_RECEIPT = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading a receipt raises that no stage wrote, although its checksum matches."""
SizeOf = Callable[[str], int | None]
"""Bytes of a file by its path in the store; None when it does not exist."""


class Receipts(Mapping[str, Receipt]):
    """The receipts of a stage's finished outputs, by key."""

    def __init__(self, raw: dict[str, bytes], beside: Sequence[str]) -> None:
        self._raw = raw
        self.beside = beside
        """Keys of the outputs whose receipt is beside them, not sealed."""

    def __or__(self, others: Mapping[str, Receipt]) -> Receipts:
        """These and `others`, whose receipts are beside their outputs."""
        return Receipts(self._raw | {key: one.to_bytes() for key, one in others.items()}, [*self.beside, *others])

    def __getitem__(self, key: str) -> Receipt:
        try:
            return read_receipt(self._raw[key])
        except ValueError as error:
            reason = (
                f"no stage wrote it ({str(error).splitlines()[0]}); delete the folder of its output to make it again"
            )
            raise DamagedFileError(f"{key}/{RECEIPT}", "whole file", reason) from error

    def __contains__(self, key: object) -> bool:
        return key in self._raw

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)


def find_receipts(store: Store, stage: str, keys: Iterable[str]) -> Receipts:
    """The receipts of the finished outputs among `keys`, as `Store.receipt` finds each."""
    raw: dict[str, bytes] = {}
    beside: list[str] = []
    for key, found, is_sealed in iter_receipts(store, stage, keys):
        raw[key] = found
        if not is_sealed:
            beside.append(key)
    return Receipts(raw, beside)


def iter_receipts(store: Store, stage: str, keys: Iterable[str]) -> Iterator[tuple[str, bytes, bool]]:
    """Key, receipt bytes and whether the receipt is sealed: each finished output of `keys` once, in no order."""
    remaining = set(keys)
    if not remaining:
        return
    sealed = sealed_files(store, stage)
    pack_size = _pack_sizes(store)
    for group, size_of in _groups(store, stage, remaining.copy()):
        for key, raw in read_sealed(sealed, group):
            if key in remaining and _is_whole(raw, stage, key, size_of, pack_size):
                remaining.discard(key)
                yield key, raw, True
        beside = [key for key in group if key in remaining]
        for first in range(0, len(beside), READ_TOGETHER):
            names = {f"{stage}/{key}/{RECEIPT}": key for key in beside[first : first + READ_TOGETHER]}
            for name, raw in store.read([name for name in names if size_of(name) is not None]).items():
                if _is_whole(raw, stage, names[name], size_of, pack_size):
                    yield names[name], raw, False


def _groups(store: Store, stage: str, keys: set[str]) -> Iterator[tuple[set[str], SizeOf]]:
    """The keys in groups, each with a function that gives the sizes of its files."""
    if not store.is_remote:
        root = f"{store.root}{os.sep}"
        yield keys, lambda name: _size(root + name)
        return
    page = store.first_sizes(stage)
    if page is not None and page[1] == 1:
        yield keys, page[0].get
        return
    digits = (KEY_DIGITS if len(keys) <= FEW else 2) if page is None else cheapest_digits(keys, len(page[0]) / page[1])
    groups: dict[str, set[str]] = {}
    for key in keys:
        groups.setdefault(key[:digits], set()).add(key)
    with ThreadPoolExecutor(THREADS) as threads:
        for found, group in zip(
            threads.map(lambda prefix: store.sizes_by_prefix(stage, prefix), groups), groups.values(), strict=True
        ):
            yield group, found.get


def cheapest_digits(keys: Collection[str], objects: float) -> int:
    """The prefix length, in digits, that lists these keys with the fewest requests in a stage of this size."""

    def requests(digits: int) -> int:
        pages = max(1, math.ceil(objects / float(16**digits) / LISTED_AT_ONCE))
        return len({key[:digits] for key in keys}) * pages

    lengths = (1, 2, KEY_DIGITS)
    return min(lengths, key=requests)


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116  a Path per file would take as long as the call itself
    except FileNotFoundError:
        return None


def _pack_sizes(store: Store) -> SizeOf:
    """Gives the sizes of packs; each is looked up once, on an object store all with one listing."""
    if not store.is_remote:
        return lru_cache(None)(lambda name: _size(f"{store.root}{os.sep}{name}"))
    listed = lru_cache(1)(lambda: store.sizes(PACKS))
    return lambda name: listed().get(name.removeprefix(f"{PACKS}/"))


def _is_whole(raw: bytes, stage: str, key: str, size_of: SizeOf, pack_size: SizeOf) -> bool:
    """Whether a receipt's checksum matches, it belongs to this output, and the files have their recorded sizes."""
    try:
        fields = json.loads(unseal(raw))
        if (fields["stage"], fields["key"]) != (stage, key):
            return False
        if "pack" in fields:
            pack = Pack(**fields["pack"])
            return not leads_out(pack.path) and pack_size(pack.path) == pack.bytes
        sizes = [(name, file["bytes"]) for name, file in fields["files"].items()]
    except NOT_A_RECEIPT:
        return False
    return all(not leads_out(name) and size_of(f"{stage}/{key}/{name}") == size for name, size in sizes)
