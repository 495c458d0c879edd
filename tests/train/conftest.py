"""A small build in a store, made from lists of ids, so that every token of a test is known."""

from __future__ import annotations

import hashlib
import pydoc_data.topics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from mixproof.ledger.content import content_sha256
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.ledger.manifest import Manifest, Totals, write_manifest
from mixproof.ledger.records.datasets import DatasetRecord, HeldoutRecord, HeldoutTexts, SplitRecord
from mixproof.ledger.records.inputs import InputsRecord
from mixproof.ledger.records.source import SourceKind, SourceRecord
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.ledger.store import Store, publish_bytes
from mixproof.ledger.store.receipt import RECEIPT, Receipt, StoredFile
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.arithmetic.phase_budget import PhaseBudget
from mixproof.tokenize.dataset.indexed import append_eods, token_dtype, write_index
from mixproof.tokenize.dataset.provenance import SCHEMA, TableWriter, regroup
from mixproof.tokenize.tokenizer.sentencepiece import load_processor
from mixproof.tokenize.tokenizer.train_tokenizer import train_model
from mixproof.train.data.draw import DrawSize, make_draw
from mixproof.train.record import ArchitectureRecord, MasksRecord
from mixproof.train.request import Recipe, RunRequest

if TYPE_CHECKING:
    from mixproof.train.distributed import Ranks

EOD = 2
VOCAB_SIZE = 1000

Columns = Mapping[str, Sequence[float | None]] | None
Documents = Sequence[Sequence[int]]
"""Ids of each document, without EODs."""


@dataclass(frozen=True)
class Corpus:
    """A build in a store."""

    store: Store
    manifest: Manifest


MakeCorpus = Callable[..., Corpus]


def text_of(ids: Sequence[int]) -> str:
    """The text that a test's document stands for."""
    return " ".join(map(str, ids))


def hash_of(ids: Sequence[int]) -> str:
    """The text's hash, as provenance has it."""
    return xxhash.xxh3_128_hexdigest(text_of(ids).encode())


def write_split(
    store: Store,
    name: str,
    documents: Documents,
    parts: int,
    vocab_size: int,
    masks: Documents | None = None,
    columns: Mapping[str, Sequence[float | None]] | None = None,
) -> SplitRecord:
    """Write documents as dataset parts `encode/test/<name>-00000` and so on, in order.

    `masks` are those of conversations: 1 for each supervised token, that of the EOD included. `columns` are further
    ones of the provenance, such as `rating`.
    """
    records = []
    for number, chunk in enumerate(np.array_split(np.arange(len(documents)), parts) if documents else []):
        prefix = f"encode/test/{name}-{number:05d}"
        path = store.path(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        chosen = [documents[i] for i in chunk]
        lengths = np.array([len(ids) for ids in chosen], np.int64)
        dtype = token_dtype(vocab_size)
        tokens = append_eods(np.concatenate([np.asarray(ids, np.int64) for ids in chosen]), lengths, EOD, dtype)
        path.with_name(f"{path.name}.bin").write_bytes(tokens.tobytes())
        write_index(path.with_name(f"{path.name}.idx"), (lengths + 1).astype(np.int32), dtype)
        rows = {
            "document": np.arange(len(chosen)),
            "file": [f"{name}.jsonl"] * len(chosen),
            "record": chunk,
            "id": [f"{name}#{i}" for i in chunk],
            "text_xxh128": [hash_of(ids) for ids in chosen],
            "text_bytes": [len(text_of(ids)) for ids in chosen],
            "tokens": lengths + 1,
        }
        schema, mask_sha256 = SCHEMA, None
        if masks is not None:
            of_part = [masks[i] for i in chunk]
            assert [len(mask) for mask in of_part] == (lengths + 1).tolist()
            path.with_name(f"{path.name}.mask").write_bytes(np.concatenate(of_part).astype(np.uint8).tobytes())
            mask_sha256 = sha256_of_file(path.with_name(f"{path.name}.mask"))
            schema = SCHEMA.append(pa.field("supervised_tokens", pa.int64()))
            schema = schema.append(pa.field("prompt_xxh128", pa.string()))
            rows["supervised_tokens"] = [sum(mask) for mask in of_part]
            rows["prompt_xxh128"] = [hash_of(ids[:1]) for ids in chosen]
            for column, values in (columns or {}).items():
                schema = schema.append(pa.field(column, pa.float64()))
                rows[column] = [values[i] for i in chunk]
        with TableWriter(store.path(f"{prefix}.parquet"), schema) as writer:
            for group in regroup([pa.table(rows, schema=schema)]):
                writer.write(group)
        records.append(
            DatasetRecord(
                prefix=prefix,
                documents=len(chosen),
                tokens=len(tokens),
                bin_sha256=sha256_of_file(store.path(f"{prefix}.bin")),
                idx_sha256=sha256_of_file(store.path(f"{prefix}.idx")),
                provenance=f"{prefix}.parquet",
                provenance_sha256=content_sha256(store.path(f"{prefix}.parquet")),
                mask_sha256=mask_sha256,
            )
        )
    return SplitRecord(
        supervised_tokens=None if masks is None else sum(map(sum, masks)),
        documents=len(documents),
        tokens=sum(record.tokens for record in records),
        eod_tokens=len(documents),
        bytes=sum(len(text_of(ids)) for ids in documents),
        datasets=tuple(records),
    )


def build_corpus(
    root: Path,
    train: Mapping[str, Documents],
    heldout: Mapping[str, Documents] | None = None,
    *,
    parts: int = 1,
    vocab_size: int = VOCAB_SIZE,
    model: bytes | None = None,
    masks: Mapping[str, tuple[Documents, Documents]] | None = None,
    kinds: Mapping[str, SourceKind] | None = None,
    columns: Mapping[str, tuple[Columns, Columns]] | None = None,
    attributes: Mapping[str, tuple[str, ...]] | None = None,
) -> Corpus:
    """Make a build of training and held-out documents by source, in a store at `root`.

    `masks` are those of the conversations of a source's training and held-out side, `columns` those of its provenance.
    """
    store = Store(root)
    sources = {}
    for name, documents in train.items():
        of_train, of_heldout = (masks or {}).get(name, (None, None))
        more_train, more_heldout = (columns or {}).get(name, (None, None))
        held = write_split(
            store, f"{name}-heldout", (heldout or {}).get(name, []), 1, vocab_size, of_heldout, more_heldout
        )
        texts = HeldoutTexts(path=f"heldout/test/{name}.parquet", sha256="0" * 64) if held.documents else None
        sources[name] = SourceRecord(
            inputs=InputsRecord(path="read/test/inputs.parquet", sha256="0" * 64, files=0, records=0, bytes=0),
            train=write_split(store, f"{name}-train", documents, parts, vocab_size, of_train, more_train),
            kind=None if of_train is None else (kinds or {}).get(name, "chat"),
            attributes=(attributes or {}).get(name, ()),
            heldout=HeldoutRecord(**held.model_dump(), texts=texts),
            ledger=(),
        )
    tokenizer = TokenizerRecord(
        kind="sentencepiece",
        path="tokenizer/test/tok.model",
        sha256="0" * 64 if model is None else hashlib.sha256(model).hexdigest(),
        vocab_size=vocab_size,
        eod_id=EOD,
    )
    if model is not None:
        publish_bytes(model, store.path(tokenizer.path))
    manifest = Manifest(
        schema_=1,
        mixproof="0",
        spec={},
        spec_sha256="0" * 64,
        tokenizer=tokenizer,
        sources=sources,
        dedup_matrix=(),
        totals=Totals(documents=0, tokens=0, bytes=0),
    )
    write_manifest(store, manifest)
    for stage in ("encode", "tokenizer"):
        write_receipt(store, stage)
    return Corpus(store, manifest)


def write_receipt(store: Store, stage: str) -> None:
    """Write the receipt of the output `<stage>/test`, for its files as they are; none where there is no such output."""
    files = [path for path in store.path(f"{stage}/test").glob("*") if path.name != RECEIPT]
    if files:
        stored = {
            path.name: StoredFile(
                sha256=sha256_of_file(path),
                bytes=path.stat().st_size,
                rows_sha256=content_sha256(path) if path.suffix == ".parquet" else None,
            )
            for path in files
        }
        receipt = Receipt(stage=stage, key="test", files=stored)
        publish_bytes(receipt.to_bytes(), store.path(f"{stage}/test/{RECEIPT}"))


@pytest.fixture(scope="session")
def make_corpus_at() -> MakeCorpus:
    """Make a build in a store at a given place."""
    return build_corpus


@pytest.fixture
def make_corpus(tmp_path: Path) -> MakeCorpus:
    """Make a build in a store of the test's own."""

    def make(*arguments: Any, place: str = "store", **options: Any) -> Corpus:  # noqa: ANN401  as `build_corpus`
        return build_corpus(tmp_path / place, *arguments, **options)

    return make


def random_documents(seed: int, count: int, longest: int, vocab_size: int = VOCAB_SIZE) -> list[list[int]]:
    """Documents of 1 to `longest` random ids, none of them EOD."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, count).tolist()
    return [rng.integers(EOD + 1, vocab_size, length).tolist() for length in lengths]


@pytest.fixture(scope="session")
def documents() -> Callable[..., list[list[int]]]:
    """Random documents by seed, count and longest length."""
    return random_documents


@pytest.fixture(scope="session")
def make_budget() -> Callable[..., RunBudget]:
    """A budget of one sample a step from the samples of each source in each phase."""

    def make(sequence_length: int, *phases: dict[str, int], global_batch_size: int = 1) -> RunBudget:
        made, first, counts = [], 0, Counter[str]()
        for samples_of in phases:
            counts.update(samples_of)
            made.append(PhaseBudget(first, sum(samples_of.values()), samples_of))
            first += sum(samples_of.values())
        return RunBudget(
            tokens_declared=first * sequence_length,
            steps=first // global_batch_size,
            global_batch_size=global_batch_size,
            sequence_length=sequence_length,
            samples=first,
            tokens_planned=first * sequence_length,
            warmup_steps=0,
            decay_steps=0,
            checkpoint_steps=None,
            phases=tuple(made),
            declared={name: Fraction(counts[name], first) for name in sorted(counts)},
        )

    return make


TOPICS: list[str] = [str(text) for text in pydoc_data.topics.topics.values()]
PIECES = 600
"""Size of the SentencePiece vocabulary of runs that really train."""


@pytest.fixture(scope="session")
def model_bytes() -> bytes:
    """A SentencePiece model of 600 pieces."""
    return train_model(TOPICS, PIECES)


@pytest.fixture
def ranks() -> Iterator[Ranks]:
    """A process group of one rank on the CPU, one thread as in a worker."""
    import torch  # takes seconds to load, and only some tests of this room need it

    from mixproof.train.distributed import process_group

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with process_group("cpu") as ranks:
        yield ranks
    torch.set_num_threads(threads)


@pytest.fixture
def types_as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Megatron's matrices go backward under the autocast of their forward pass on a CPU too, as on CUDA alone."""
    import torch
    from megatron.core.tensor_parallel.layers import LinearWithGradAccumulationAndAsyncCommunication

    matrix = LinearWithGradAccumulationAndAsyncCommunication
    forward = torch.amp.custom_fwd(matrix.forward.__wrapped__, device_type="cpu")
    backward = torch.amp.custom_bwd(matrix.backward.__wrapped__, device_type="cpu")
    monkeypatch.setattr(matrix, "forward", staticmethod(forward))
    monkeypatch.setattr(matrix, "backward", staticmethod(backward))


@pytest.fixture
def make_encoded(make_corpus: Callable[..., Any], model_bytes: bytes, tmp_path: Path) -> Callable[..., Any]:
    """Make a build of two sources, `manual` and `guide`, at a place, with its tokenizer."""
    path = tmp_path / "tok.model"
    path.write_bytes(model_bytes)
    encoded: list[list[int]] = load_processor(str(path)).encode(TOPICS)
    train = {"manual": encoded[0:24], "guide": encoded[24:48]}
    heldout = {"manual": encoded[48:52], "guide": encoded[52:56]}

    def make(place: str = "store") -> Any:  # noqa: ANN401  the Corpus of the room's conftest
        corpus = make_corpus(train, heldout, vocab_size=PIECES, place=place)
        tokenizer = corpus.store.path(corpus.manifest.tokenizer.path)
        tokenizer.parent.mkdir(parents=True, exist_ok=True)
        tokenizer.write_bytes(model_bytes)
        return corpus

    return make


def conversation_mask(ids: Sequence[int], number: int) -> list[int]:
    """Mask of a document with its EOD: questions and answers of `number` % 3 + 2 tokens in turn, the EOD an answer."""
    turn = number % 3 + 2
    return [int(at // turn % 2) for at in range(len(ids))] + [1]


@pytest.fixture(scope="session")
def make_chat(model_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> MakeCorpus:
    """Make a build of conversations, `qa` and `talk`, and plain texts, `notes`, at a place, with its tokenizer."""
    path = tmp_path_factory.mktemp("chat") / "tok.model"
    path.write_bytes(model_bytes)
    encoded: list[list[int]] = load_processor(str(path)).encode(TOPICS)
    talk = [ids[5 : 15 + 2 * number] for number, ids in enumerate(encoded[:40])]
    short = {"qa": [ids[:20] for ids in encoded[:60]], "talk": talk}
    train = {**short, "notes": encoded[60:64]}
    heldout = {"qa": [ids[30:60] for ids in encoded[:6]], "notes": encoded[64:66]}

    def masks(side: Mapping[str, Documents], name: str) -> Documents:
        return [conversation_mask(ids, number) for number, ids in enumerate(side.get(name, []))]

    def make(root: Path) -> Corpus:
        of_sides = {name: (masks(train, name), masks(heldout, name)) for name in short}
        return build_corpus(root, train, heldout, vocab_size=PIECES, model=model_bytes, masks=of_sides)

    return make


@pytest.fixture(scope="session")
def make_pairs(model_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> MakeCorpus:
    """Make a build of pairs of answers, `pairs`, conversations, `chat`, and plain texts, `notes`, with its tokenizer.

    A prompt has 3 to 8 tokens, an answer 2 to 11; the chosen one is text in order, the rejected one reversed. The last
    pair is too long for a window of 64 tokens. The rating of chosen answers is 3 or 4, that of rejected ones 1. Half
    of the pairs have a margin of 0.5. Two of the four held-out conversations share a prompt, and one takes two windows.
    """
    path = tmp_path_factory.mktemp("pairs") / "tok.model"
    path.write_bytes(model_bytes)
    encoded: list[list[int]] = load_processor(str(path)).encode(TOPICS)
    documents, masks = [], []
    for number, ids in enumerate(encoded[:40]):
        prompt = 3 + number % 6
        chosen = prompt + 2 + number % 10 if number < 39 else 50
        for answer in (ids[prompt:chosen], ids[chosen - 1 : prompt - 1 : -1]):
            documents.append([*ids[:prompt], *answer])
            masks.append([0] * prompt + [1] * (len(answer) + 1))
    margins = [0.5 if number % 8 < 4 else None for number in range(len(documents))]
    ratings = [3.0 + number // 2 % 2 if number % 2 == 0 else 1.0 for number in range(len(documents))]
    held = slice(0, 12)
    chats = [encoded[50][:30], encoded[50][:1] + encoded[51][:20], encoded[52][:12], (encoded[53] + encoded[54])[:100]]
    of_chats = [[0] * 4 + [1] * (len(ids) - 3) for ids in chats]
    train = {"pairs": documents[12:], "chat": chats[:1], "notes": encoded[60:64]}

    def make(root: Path) -> Corpus:
        return build_corpus(
            root,
            train,
            {"pairs": documents[held], "chat": chats, "notes": encoded[64:66]},
            vocab_size=PIECES,
            model=model_bytes,
            masks={"pairs": (masks[12:], masks[held]), "chat": (of_chats[:1], of_chats)},
            kinds={"pairs": "preferences"},
            columns={
                "pairs": (
                    {"rating": ratings[12:], "margin": margins[12:]},
                    {"rating": ratings[held], "margin": margins[held]},
                )
            },
        )

    return make


@pytest.fixture(scope="session")
def make_ratings(model_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> MakeCorpus:
    """Make a build of rated answers, `rated`, by the attributes `steps` and `tone`, and plain texts, `notes`.

    `steps` is the number of tokens of the answer over 4; `tone` is 1 for every second answer, absent for every third.
    """
    path = tmp_path_factory.mktemp("ratings") / "tok.model"
    path.write_bytes(model_bytes)
    encoded: list[list[int]] = load_processor(str(path)).encode(TOPICS)
    answers = [4 + 3 * (number % 7) for number in range(60)]
    documents = [ids[: 5 + answer] for ids, answer in zip(encoded, answers, strict=False)]
    masks = [[0] * 5 + [1] * (len(ids) - 4) for ids in documents]
    ratings: dict[str, list[float | None]] = {
        "attribute.steps": [answer / 4 for answer in answers],
        "attribute.tone": [None if number % 3 == 2 else float(number % 2) for number in range(60)],
    }
    sides = [{name: values[part] for name, values in ratings.items()} for part in (slice(12, None), slice(12))]

    def make(root: Path) -> Corpus:
        return build_corpus(
            root,
            {"rated": documents[12:], "notes": encoded[60:64]},
            {"rated": documents[:12], "notes": encoded[64:66]},
            vocab_size=PIECES,
            model=model_bytes,
            masks={"rated": (masks[12:], masks[:12])},
            kinds={"rated": "ratings"},
            columns={"rated": (sides[0], sides[1])},
            attributes={"rated": ("steps", "tone")},
        )

    return make


@pytest.fixture(scope="session")
def make_answers(model_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> MakeCorpus:
    """Make a build of questions with their own answers, `right`, and with those of other questions, `shuffled`.

    There are 12 kinds of questions of 3 tokens, and one answer of 4 tokens to each. Only `right` has held-out ones.
    """
    path = tmp_path_factory.mktemp("answers") / "tok.model"
    path.write_bytes(model_bytes)
    ids = sorted({token for text in load_processor(str(path)).encode(TOPICS[:20]) for token in text})[-72:]
    questions = [[ids[60], ids[kind], ids[61]] for kind in range(12)]
    answers = [ids[12 + 4 * kind : 16 + 4 * kind] for kind in range(12)]
    order = [number % 12 for number in range(480)]
    right = [questions[kind] + answers[kind] for kind in order]
    shuffled = [questions[kind] + answers[(kind + 1 + number // 12) % 12] for number, kind in enumerate(order)]
    mask = [0, 0, 0, 1, 1, 1, 1, 1]

    def make(root: Path) -> Corpus:
        return build_corpus(
            root,
            {"right": right, "shuffled": shuffled},
            {"right": right[:48]},
            vocab_size=PIECES,
            model=model_bytes,
            masks={"right": ([mask] * 480, [mask] * 48), "shuffled": ([mask] * 480, [])},
        )

    return make


@pytest.fixture
def encoded_corpus(make_encoded: Callable[..., Any]) -> Any:  # noqa: ANN401  the Corpus of the room's conftest
    """A build of two sources, `manual` and `guide`."""
    return make_encoded()


@pytest.fixture
def make_request(make_encoded: Callable[..., Any], make_budget: Callable[..., RunBudget]) -> Callable[..., RunRequest]:
    """Ask for a run of two layers on two sources, three samples of `manual` for each of `guide`."""

    def make(
        *,
        steps: int = 8,
        lr: str = "0.003",
        seed: int = 1,
        checkpoint_steps: int | None = None,
        global_batch_size: int = 4,
        place: str = "store",
        **execution: Any,  # noqa: ANN401  fields of a request
    ) -> RunRequest:
        corpus = make_encoded(place)
        samples = steps * global_batch_size
        budget = make_budget(
            32, {"guide": samples // 4, "manual": samples - samples // 4}, global_batch_size=global_batch_size
        )
        changes = {"warmup_steps": 2, "decay_steps": 3, "checkpoint_steps": checkpoint_steps}
        declared = {"guide": Fraction(1, 4), "manual": Fraction(3, 4)}
        return RunRequest(
            store=str(corpus.store),
            build=corpus.manifest.build,
            spec_name="test",
            mixture="half",
            proxy="tiny",
            seed=seed,
            architecture=ArchitectureRecord(layers=2, hidden=32, ffn=64, heads=4, kv_heads=2, head_dim=8),
            recipe=Recipe(
                lr=lr, min_lr="0.0003", shape="minus_sqrt", weight_decay="0.1", clip="1", betas=("0.9", "0.95")
            ),
            masks=MasksRecord(document_mask=False, eod_mask_loss=False, reset_position_ids=False),
            rope_base=10000,
            budget=RunBudget(**{**vars(budget), **changes, "declared": declared}),
            tokenizer=corpus.manifest.tokenizer,
            draws={
                name: make_draw(corpus.store, corpus.manifest, DrawSize(name, 1 << 20))
                for name in corpus.manifest.sources
            },
            heldout={name: source.heldout for name, source in corpus.manifest.sources.items()},
            device="cpu",
            **{"micro_batch_size": None, **execution},
        )

    return make
