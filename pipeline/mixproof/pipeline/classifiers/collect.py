"""Collect the examples of a classifier: find its sources, choose texts, write them once under a key of their content.

A receipt without files remembers which shards gave which examples, so an unchanged corpus is not searched again.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.blocks.labels import Classifier
from mixproof.mixtures.blocks.source import Source
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.cluster.stage import make_missing, run_missing
from mixproof.pipeline.heldout.decontaminate import index_questions
from mixproof.pipeline.heldout.import_heldout import imported_sets
from mixproof.pipeline.heldout.overlap_index import INDEX, index_key, load_index, load_questions, make_index
from mixproof.pipeline.heldout.split import identity
from mixproof.pipeline.read.documents import SourceDocuments, read_sources
from mixproof.pipeline.read.selection import Selection

from .examples import Protected, Side, SideAccount, choose_examples, protection_of
from .inputs import ClassifierInputs
from .model import STAGE

VERSION = 1
EXAMPLES = "examples.parquet"
MIN_SIDE = 10
"""Fewest texts of a side that a classifier is trained on."""


def collect_examples(selection: Selection, inputs: ClassifierInputs) -> Receipt:
    """Choose the examples, unless the store has them.

    Returns:
        A receipt whose facts are the `key` of the examples and the `accounts` of their sources.

    Raises:
        RequestError: when a side has too few texts.
        DamagedFileError: when a file cannot be read to its end.
    """
    store, classifier = selection.store, inputs.classifier
    sides = _sides(selection, inputs)
    spec = selection.spec
    sets = [] if spec.heldout.from_ is None else imported_sets(spec, inputs.base, store)
    against = (*inputs.against, *inputs.labelled)
    options = protection_of(spec)
    index, questions = index_key(options.ngram, sets, against), index_questions(options, inputs.against, selection)
    config = {
        "documents": classifier.documents,
        "chars": classifier.chars,
        "reserve": classifier.reserve,
        "overlap": options.overlap,
        "protected": index if sets or against else None,
        **({} if questions is None else {"questions": list(questions)}),
    }
    shards = [
        [side.entry, side.is_positive, [identity(*each) for each in zip(side.documents, side.keep, strict=True)]]
        for side in sides
    ]
    key = stage_key(STAGE, VERSION, config, shards)

    def make() -> Receipt:
        protected = Protected(None, None, options.overlap)
        if sets or against:
            calls = [(store, index, options.ngram, sets, list(against))]
            run_missing(store, INDEX, {index: None}, lambda _: calls, make_index, selection.cluster, "classifiers")
            second = None if questions is None else (load_questions(store, questions[0])[0], Fraction(questions[1]))
            protected = Protected(*load_index(store, index), options.overlap, second)
        table, accounts = choose_examples(selection, classifier, sides, protected)
        _refuse_few(table, accounts, inputs.where)
        facts = {"key": _write(store, table, classifier), "accounts": [_plain(each) for each in accounts]}
        with store.attempt(STAGE, key) as attempt:
            return attempt.commit(facts=facts)

    def is_complete(found: Receipt) -> bool:
        return store.receipt(STAGE, str(found.facts["key"])) is not None

    return make_missing(store, STAGE, key, make, selection.cluster, is_complete=is_complete)


def _write(store: Store, table: pa.Table, classifier: Classifier) -> str:
    """Write the examples under a key that depends on their content, not on their shards; returns the key."""
    rows = [list(row) for row in zip(*(table[name].to_pylist() for name in table.schema.names[:3]), strict=True)]
    key = stage_key(STAGE, VERSION, {"examples": classifier.chars}, rows)
    if store.receipt(STAGE, key) is None:
        with store.attempt(STAGE, key) as attempt:
            pq.write_table(table, attempt.path(EXAMPLES), compression="zstd")
            attempt.commit()
    return key


def _plain(account: SideAccount) -> dict[str, object]:
    """The account of an entry as the manifest states it."""
    return {
        "entry": account.side.entry,
        "side": "positive" if account.side.is_positive else "negative",
        "total": account.total.model_dump(),
        "trained": account.trained.model_dump(),
        "left_out": {reason: count.model_dump() for reason, count in account.left_out.items()},
        "inputs_sha256": account.side.inputs_sha256,
    }


def _refuse_few(table: pa.Table, accounts: Sequence[SideAccount], where: str) -> None:
    """Refuse a side with too few texts.

    Raises:
        RequestError: naming the side and what it lost.
    """
    for is_positive, side in ((True, "positive"), (False, "negative")):
        number = table["is_positive"].to_pylist().count(is_positive)
        if number < MIN_SIDE:
            lost: dict[str, int] = {}
            for each in accounts:
                if each.side.is_positive == is_positive:
                    for reason, count in each.left_out.items():
                        lost[reason] = lost.get(reason, 0) + count.documents
            reasons = ", ".join(f"{reason} {documents}" for reason, documents in lost.items())
            raise RequestError(
                f"{where}: the {side} side has {number} texts to train on, fewer than {MIN_SIDE}; left out: "
                f"{reasons or 'none'}; add sources or files to `{side}`, or lower `reserve`"
            )


def _sides(selection: Selection, inputs: ClassifierInputs) -> list[Side]:
    """The documents of every entry: sources of the build, or files that are read here."""
    spec, classifier = selection.spec, inputs.classifier
    given = {name: Source(files=(name,), text=classifier.text) for name in inputs.files}
    read: dict[str, SourceDocuments] = {}
    if given:
        others = spec.model_copy(update={"sources": given}).with_positions(spec.positions)
        read = read_sources(others, inputs.files, selection.store, selection.cluster)
    sides = []
    for side, entries in (("positive", classifier.positive or ()), ("negative", classifier.negative or ())):
        for index, entry in enumerate(entries):
            keep: tuple[tuple[Bitmap | None, ...], ...]
            documents: tuple[SourceDocuments, ...]
            if entry in read:
                name, documents = f"{side}[{index}]", (read[entry],)
                keep = ((None,) * len(read[entry].shards),)
            else:
                names = [each for each in selection.sources if each == entry or each.startswith(f"{entry}/")]
                name, documents = entry, tuple(selection.sources[each] for each in names)
                keep = tuple(selection.keep[each] for each in names)
            if not documents:
                raise RequestError(f"{inputs.where}: there is no part {entry!r}; check the name")
            inputs_sha256 = read[entry].inputs.sha256 if entry in read else None
            sides.append(Side(name, side == "positive", documents, keep, inputs_sha256))
    return sides
