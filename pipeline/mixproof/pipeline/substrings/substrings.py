"""Substring deduplication: of a repeated run of bytes the first copy stays, in any document of any source.

It runs after the deduplication of documents and paragraphs, on what these kept. Every stretch of at least the stated
number of bytes that occurs earlier is found and cut (Lee et al., 2022, "Deduplicating Training Data Makes Language
Models Better"). Which bytes go does not depend on the split into shards, the number of workers or the order of work.
Windows are compared by hash in ranges, after anchors have shown which windows can be repeated at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.ledger.store.receipts import Receipts
from mixproof.mixtures.blocks.dedup import SubstringDedup
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import Call, run_missing
from mixproof.pipeline.cuts.rewritten import CutSources, Part, documents_dropped, not_cut, parts_of_source, with_cuts
from mixproof.pipeline.dedup.duplicates import DuplicateList, GroupDuplicates
from mixproof.pipeline.dedup.scope import dedup_groups
from mixproof.pipeline.group import GroupShard
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, in_batches, share_shards, text_bytes_of
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.read.shards import Shard
from mixproof.pipeline.shuffle.shuffle import Shuffle, Table

from .anchor_tables import STAGE, VERSION, hash_anchors
from .cutting import LISTS, ShardCut, cut_shards, twin_paths
from .earlier_copies import RANGE_WINDOWS, WINDOW_TABLE, Section, find_earlier
from .matches import MATCHES, find_matches
from .repeated_anchors import ANCHOR_TABLE, KEYS, RANGE_ANCHORS, find_repeated, gather_keys, range_count
from .windows import ShardWindows, hash_windows, section_name


def deduplicate_substrings(selection: Selection) -> CutSources:
    """Cut every repeated stretch of bytes, as `dedup.substrings` of the spec says.

    Raises:
        AccountError: when E2 or E3 does not close.
    """
    spec, sources = selection.spec, selection.sources
    if spec.dedup is None or spec.dedup.substrings is None:
        return not_cut(selection)
    rule = spec.dedup.substrings
    rewritten: dict[str, list[Receipt | None]] = {name: [None] * len(each.shards) for name, each in sources.items()}
    duplicates = []
    for group in dedup_groups(spec.dedup, list(sources)):
        members = [name for name in group if rule.sources is None or name in rule.sources]
        parts = [part for name in members for part in parts_of_source(selection, name)]
        found = _Search(parts, rule, selection.store, selection.cluster).cut() if parts else []
        duplicates.append(GroupDuplicates(tuple(part.shard for part in parts), tuple(_dropped(found))))
        receipts = iter(found)
        for name in members:
            rewritten[name] = [next(receipts) for _ in sources[name].shards]
    return with_cuts(selection, LISTS, rewritten, duplicates)


def _dropped(rewritten: Sequence[Receipt | None]) -> Iterator[DuplicateList]:
    """Say, for each shard that lost whole documents, where these are named."""
    for index, receipt in enumerate(rewritten):
        if receipt is not None and (lost := documents_dropped(receipt)):
            yield DuplicateList("substrings", index, lost, twin_paths(receipt.key))


@dataclass(frozen=True)
class _Search:
    """The search in one group of shards, in order of priority."""

    parts: Sequence[Part]
    rule: SubstringDedup
    store: Store
    cluster: Cluster

    def cut(self) -> list[Receipt | None]:
        """Rewrite the shards that lose something; returns their receipts, None for the others, in order."""
        anchors = self._anchors()
        keys = self._repeated_keys(anchors)
        windows = self._windows(anchors, keys)
        return self._rewritten(self._matches(windows))

    def _run(
        self, work: Mapping[str, object], calls: Callable[..., Sequence[Call]], task: Callable[..., None], label: str
    ) -> Receipts:
        return run_missing(self.store, STAGE, work, calls, task, self.cluster, label)

    def _by_range(
        self,
        identity: str,
        table: Table,
        shards: Sequence[object],
        records: Sequence[int],
        numbers: Mapping[str, int],
        task: Callable[..., None],
        label: str,
    ) -> Receipts:
        """Run a task over each range of hashes of all shards; `numbers`: of the ranges, by key of the output."""

        def calls(missing: Mapping[str, int]) -> list[Call]:
            shuffle = Shuffle(STAGE, label, self.store, self.cluster)
            found = shuffle.by_range(identity, table, shards, records, len(numbers))
            return [(self.store, key, found, number) for key, number in missing.items()]

        return self._run(numbers, calls, task, label)

    def _key(self, about: str, number: object, identity: Sequence[object]) -> str:
        return stage_key(STAGE, VERSION, {about: number}, identity)

    def _anchors(self) -> list[Receipt]:
        window = self.rule.bytes
        keys = [self._key("anchors", window, [part.shard.documents_sha256]) for part in self.parts]

        def calls(missing: Mapping[str, Shard]) -> list[Call]:
            batches = share_shards(missing, self.cluster)
            return [(self.store, window, [(key, shard.folder) for key, shard in batch]) for batch in batches]

        shards = {key: part.shard for key, part in zip(keys, self.parts, strict=True)}  # equal contents share a key
        label, sizes = "anchors of substrings", text_bytes_of(shards)
        found = run_missing(self.store, STAGE, shards, calls, hash_anchors, self.cluster, label, call_bytes=sizes)
        return [found[key] for key in keys]

    def _repeated_keys(self, anchors: Sequence[Receipt]) -> dict[int, Receipt]:
        """Find the repeated keys of each shard that has any, by the shard's index."""
        identity = [
            [receipt.key, part.bitmap and part.bitmap.sha256] for part, receipt in zip(self.parts, anchors, strict=True)
        ]
        group = self._key("group", True, identity)
        members = [
            GroupShard(f"{STAGE}/{receipt.key}", 0, part.bitmap_path, part.shard.source)
            for part, receipt in zip(self.parts, anchors, strict=True)
        ]
        ranges = range_count(sum(int(receipt.facts["anchors"]) for receipt in anchors), RANGE_ANCHORS)
        numbers = {self._key("repeated", [n, ranges], [group]): n for n in range(ranges)}
        counts = [int(receipt.facts["anchors"]) for receipt in anchors]
        found = self._by_range(
            group, ANCHOR_TABLE, list(enumerate(members)), counts, numbers, find_repeated, "repeated anchors"
        )
        ranges_of = _ranges_by(numbers, found, "shards")
        keys = {index: self._key("keys", [index, ranges], [group]) for index in ranges_of}
        work = {keys[index]: (index, in_ranges) for index, in_ranges in ranges_of.items()}
        receipts = self._run(
            work,
            lambda missing: [(self.store, batch) for batch in in_batches(missing.items(), SHARDS_PER_TASK)],
            gather_keys,
            "repeated anchors",
        )
        return {index: receipts[key] for index, key in keys.items()}

    def _windows(self, anchors: Sequence[Receipt], keys: Mapping[int, Receipt]) -> dict[int, Receipt]:
        """Hash the windows with repeated keys of each shard, by the shard's index."""
        of_index: dict[int, str] = {}
        work: dict[str, tuple[ShardWindows, Shard]] = {}
        for index, found in keys.items():
            shard, bitmap = self.parts[index].shard, self.parts[index].bitmap
            identity = [shard.documents_sha256, bitmap and bitmap.sha256, found.files[KEYS].sha256]
            key = of_index[index] = self._key("windows", self.rule.bytes, identity)
            path = self.parts[index].bitmap_path
            work[key] = (ShardWindows(key, shard.folder, anchors[index].key, found.key, path), shard)

        def calls(missing: Mapping[str, tuple[ShardWindows, Shard]]) -> list[Call]:
            batches = share_shards({key: shard for key, (_, shard) in missing.items()}, self.cluster)
            return [(self.store, self.rule.bytes, [missing[key][0] for key, _ in batch]) for batch in batches]

        receipts = self._run(work, calls, hash_windows, "windows of substrings")
        return {index: receipts[key] for index, key in of_index.items()}

    def _matches(self, windows: Mapping[int, Receipt]) -> dict[int, Receipt]:
        """Find the matches of each shard that has any, by the shard's index."""
        sections: list[Section] = []
        firsts: dict[int, int] = {}
        for index, receipt in windows.items():
            firsts[index] = len(sections)
            names = (section_name(number) for number in range(len(receipt.facts["windows"])))
            sections += [
                Section(f"{STAGE}/{receipt.key}/{name}", index, len(sections) + number)
                for number, name in enumerate(names)
            ]
        group = self._key("sections", self.rule.bytes, [[index, receipt.key] for index, receipt in windows.items()])
        counts = [int(count) for receipt in windows.values() for count in receipt.facts["windows"]]
        ranges = range_count(sum(counts), RANGE_WINDOWS)
        numbers = {self._key("copies", [n, ranges], [group]): n for n in range(ranges)} if sections else {}
        found = self._by_range(group, WINDOW_TABLE, sections, counts, numbers, find_earlier, "copies of windows")
        ranges_of = _ranges_by(numbers, found, "sections")
        keys = {index: self._key("matches", [index, ranges], [group]) for index in windows}
        work = {
            keys[index]: (
                index,
                receipt.key,
                [
                    (section, ranges_of.get(section, []))
                    for section in range(firsts[index], firsts[index] + len(receipt.facts["windows"]))
                ],
            )
            for index, receipt in windows.items()
        }
        receipts = self._run(
            work,
            lambda missing: [(self.store, self.rule.bytes, [one]) for one in missing.items()],
            find_matches,
            "matches of substrings",
        )
        return {index: receipts[key] for index, key in keys.items() if receipts[key].facts["matches"]}

    def _rewritten(self, matches: Mapping[int, Receipt]) -> list[Receipt | None]:
        of_index: dict[int, str] = {}
        work: dict[str, tuple[ShardCut, Shard]] = {}
        for index, found in matches.items():
            part, shard = self.parts[index], self.parts[index].shard
            keepers = {int(each): self.parts[each].shard for each in found.facts["shards"]}
            identity = [
                [index, shard.documents_sha256, part.bitmap and part.bitmap.sha256, found.files[MATCHES].sha256],
                [[number, *astuple(each)] for number, each in keepers.items()],
            ]
            config = {"min_doc_words": self.rule.min_doc_words, "file": shard.file}
            key = of_index[index] = self._key("cut", config, identity)
            cut = ShardCut(
                key,
                index,
                shard.folder,
                shard.file,
                part.bitmap_path,
                found.key,
                keepers,
                self.rule.min_doc_words,
            )
            work[key] = (cut, shard)

        def calls(missing: Mapping[str, tuple[ShardCut, Shard]]) -> list[Call]:
            batches = share_shards({key: shard for key, (_, shard) in missing.items()}, self.cluster)
            return [(self.store, [missing[key][0] for key, _ in batch]) for batch in batches]

        receipts = self._run(work, calls, cut_shards, "cut substrings")
        return [receipts[of_index[index]] if index in of_index else None for index in range(len(self.parts))]


def _ranges_by(numbers: Mapping[str, int], found: Mapping[str, Receipt], fact: str) -> dict[int, list[str]]:
    """Return the keys of the ranges that have something of each shard or section, in the order of their hashes."""
    ranges: dict[int, list[str]] = {}
    for key in numbers:
        for index in found[key].facts[fact]:
            ranges.setdefault(int(index), []).append(key)
    return dict(sorted(ranges.items()))
