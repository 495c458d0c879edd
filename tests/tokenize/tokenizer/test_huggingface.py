"""Hugging Face tokenizers: a literal special token is text, EOD is theirs, and engines agree with the package."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.tokenize.audit import audit_build
from mixproof.tokenize.audit.ids.reference_ids import _Tokenizers, is_lossless
from mixproof.tokenize.audit.parts.reencode import reencode_sample
from mixproof.tokenize.audit.report import Checks, Reencoded
from mixproof.tokenize.build import build
from mixproof.tokenize.tokenizer.admission import (
    FAST,
    FAST_EXCEPT,
    HUGGINGFACE_REFERENCE,
    admit_huggingface,
)
from mixproof.tokenize.tokenizer.engine import choose_engine, load_engine, split_rows
from mixproof.tokenize.tokenizer.hard_texts import hard_texts
from mixproof.tokenize.tokenizer.huggingface import HuggingFaceReference
from mixproof.tokenize.tokenizer.patterns import EXPRESSIONS

SPECIAL = ["<|endoftext|>", "<pad>"]
UNKNOWN = "[UNK]"
KINDS = ["byte_bpe", "unigram", "word_level", "word_piece"]


def make(kind: str, texts: Sequence[str]) -> Tokenizer:
    """Train one small tokenizer of a kind; its special tokens are entries of the vocabulary as well."""
    special = [*SPECIAL, UNKNOWN]
    trainer: Any
    if kind == "byte_bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
    elif kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=400, special_tokens=special, unk_token=UNKNOWN, show_progress=False
        )
    elif kind == "word_level":
        tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.WordLevelTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, topics: list[str]) -> dict[str, Path]:
    """One folder a kind, as Hugging Face keeps them."""
    made = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        tokenizer = make(kind, topics[:20])
        tokenizer.add_tokens([AddedToken("<|im|>", special=False)])
        tokenizer.enable_truncation(5)
        tokenizer.enable_padding()
        tokenizer.save(str(folder / "tokenizer.json"))
        eos = {"content": SPECIAL[0]} if kind == "unigram" else SPECIAL[0]
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": eos}))
        made[kind] = folder
    return made


def special_ids(folder: Path) -> set[int]:
    tokens = json.loads((folder / "tokenizer.json").read_bytes())["added_tokens"]
    return {token["id"] for token in tokens if token["content"] in SPECIAL}


@pytest.mark.parametrize("kind", KINDS)
def test_a_literal_special_token_never_becomes_its_id(folders: dict[str, Path], kind: str) -> None:
    reference = HuggingFaceReference(str(folders[kind] / "tokenizer.json"))
    plain = Tokenizer.from_file(str(folders[kind] / "tokenizer.json"))
    assert special_ids(folders[kind]) & set(plain.encode(f"a {SPECIAL[0]} b").ids)  # what is to be prevented
    for text in hard_texts([*SPECIAL, "<|im|>"], mixtures=30):
        assert not special_ids(folders[kind]) & set(reference.encode([text]).ids.tolist()), text


@pytest.mark.parametrize("kind", KINDS)
def test_without_literal_tokens_ids_are_those_of_the_package(
    folders: dict[str, Path], topics: list[str], kind: str
) -> None:
    plain = Tokenizer.from_file(str(folders[kind] / "tokenizer.json"))
    plain.no_truncation()
    plain.no_padding()
    hard = [text for text in hard_texts([], mixtures=10) if not any(token in text for token in [*SPECIAL, UNKNOWN])]
    texts = [*topics, "a <|im|> b", *hard]
    found = HuggingFaceReference(str(folders[kind] / "tokenizer.json")).encode(texts)
    expected = [plain.encode(text, add_special_tokens=False).ids for text in texts]
    assert found.lengths.tolist() == [len(ids) for ids in expected]
    assert found.ids.tolist() == [token for ids in expected for token in ids]


@pytest.mark.parametrize("kind", KINDS)
def test_the_vocabulary_counts_added_tokens_and_eod_is_the_configs(folders: dict[str, Path], kind: str) -> None:
    reference = HuggingFaceReference(str(folders[kind] / "tokenizer.json"))
    plain = Tokenizer.from_file(str(folders[kind] / "tokenizer.json"))
    assert reference.vocab_size == plain.get_vocab_size(with_added_tokens=True)
    assert plain.token_to_id("<|im|>") == reference.vocab_size - 1
    assert reference.find_eod(None, folders[kind] / "tokenizer.json") == plain.token_to_id(SPECIAL[0])
    assert reference.find_eod("<pad>", folders[kind] / "tokenizer.json") == plain.token_to_id("<pad>")


def test_an_end_of_document_that_is_none_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes((folders["byte_bpe"] / "tokenizer.json").read_bytes())
    reference = HuggingFaceReference(str(path))
    with pytest.raises(RequestError, match=r"no eos_token in tokenizer_config\.json .* special tokens: '<\|endoftext"):
        reference.find_eod(None, path)
    with pytest.raises(RequestError, match="no token '<eos>'"):
        reference.find_eod("<eos>", path)
    with pytest.raises(
        RequestError, match=r"'<\|im\|>' is not a special token, so a text that contains it would end there"
    ):
        reference.find_eod("<|im|>", path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no file"),
        ("{", "is not JSON"),
        ("[]", "has no `model`"),
        ('{"model": {}}', "tokenizers package cannot read"),
        ("[" * 100_000, "is not JSON: maximum recursion depth exceeded"),
    ],
)
def test_what_is_no_tokenizer_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RequestError, match=said):
        HuggingFaceReference(str(path))


def test_a_text_on_which_an_expression_backtracks_without_end_is_an_error(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    reference = HuggingFaceReference(str(tmp_path / "tokenizer.json"))
    assert reference.encode(["aab"]).ids.tolist() == [0, 0, 1]
    with pytest.raises(RequestError, match=r"cannot encode one of 1 texts, .* begins with 'a+b': .*retry-limit"):
        reference.encode(["a" * 28 + "b"])


def test_gigatoken_stands_in_for_byte_level_bpe_and_nothing_else(folders: dict[str, Path]) -> None:
    engines = {kind: choose_engine(str(folders[kind] / "tokenizer.json")) for kind in KINDS}
    assert engines.pop("byte_bpe") == FAST
    assert set(engines.values()) == {HUGGINGFACE_REFERENCE}


@settings(max_examples=100)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=200) | st.text("<|endoftx>p d/", max_size=60))
def test_the_fast_engine_gives_the_references_ids(folders: dict[str, Path], text: str) -> None:
    path = str(folders["byte_bpe"] / "tokenizer.json")
    expected, found = (load_engine(name, path).encode([text.encode()]) for name in (HUGGINGFACE_REFERENCE, FAST))
    assert np.array_equal(expected.ids, found.ids)


RIVER = AddedToken("river", single_word=True, normalized=False)


def changed(folder: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """The path of a copy of a folder's tokenizer, changed."""
    form = json.loads((folder / "tokenizer.json").read_bytes())
    change(form)
    target.write_text(json.dumps(form))
    return str(target)


def test_added_tokens_with_flags_are_matched_as_the_package_does(folders: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folders["byte_bpe"] / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken(f"<|reserved_{number}|>", special=True) for number in range(62)])
    tokenizer.add_tokens([RIVER])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    path = str(tmp_path / "tokenizer.json")
    assert choose_engine(path) == FAST_EXCEPT
    texts = [b" rivers", b"upriver", b"a river b", b"no match", "river\u0301".encode()]
    expected, found = (load_engine(name, path).encode(texts) for name in (HUGGINGFACE_REFERENCE, FAST_EXCEPT))
    assert np.array_equal(expected.ids, found.ids)
    number = tokenizer.token_to_id("river")
    assert [number in ids for ids in split_rows(found)] == [False, False, True, False, False]


def test_added_tokens_that_normalization_could_make_are_left_to_the_package(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    tokenizer = Tokenizer.from_file(str(folders["byte_bpe"] / "tokenizer.json"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken("CAFÉ")])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert choose_engine(str(tmp_path / "tokenizer.json")) == HUGGINGFACE_REFERENCE


@pytest.mark.parametrize(
    "change",
    [
        lambda form: form["model"].update(end_of_word_suffix="</w>"),
        lambda form: form["model"].update(continuing_subword_prefix="##"),
        lambda form: form.update(normalizer={"type": "Lowercase"}),
        lambda form: form.update(pre_tokenizer={"type": "Whitespace"}),
        lambda form: form.update(
            pre_tokenizer={
                "type": "Sequence",
                "pretokenizers": [
                    {
                        "type": "Split",
                        "pattern": {"Regex": EXPRESSIONS["llama 3"]},
                        "behavior": "Removed",
                        "invert": False,
                    },
                    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
                ],
            }
        ),
    ],
)
def test_what_the_fast_engine_is_not_known_to_do_exactly_is_refused(
    folders: dict[str, Path], tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    form = json.loads((folders["byte_bpe"] / "tokenizer.json").read_bytes())
    assert admit_huggingface(form) == FAST
    assert admit_huggingface(json.loads(Path(changed(folders["byte_bpe"], tmp_path / "t", change)).read_bytes())) == (
        HUGGINGFACE_REFERENCE
    )


def test_dropout_of_training_is_off(folders: dict[str, Path], topics: list[str], tmp_path: Path) -> None:
    source = folders["byte_bpe"]
    path = changed(source, tmp_path / "tokenizer.json", lambda form: form["model"].update(dropout=0.5))
    plain, found = (HuggingFaceReference(each) for each in (str(source / "tokenizer.json"), path))
    assert np.array_equal(plain.encode(topics[:5]).ids, found.encode(topics[:5]).ids)
    assert choose_engine(path) == FAST
    assert np.array_equal(load_engine(FAST, path).encode([topics[0].encode()]).ids, plain.encode(topics[:1]).ids)


SPEC = """\
schema: 1
name: hf
sources:
  manual: {files: manual.jsonl}
heldout: {create: {min_documents: 2, tokens: 200}}
decontaminate: false
tokenizer: {huggingface: %s}
mixtures:
  all: {manual: 100%%}
train:
  proxies:
    nano: {tokens: 64K, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}
"""


@pytest.mark.parametrize("kind", ["byte_bpe", "unigram"])
def test_a_build_with_one_passes_its_audit(
    folders: dict[str, Path], topics: list[str], tmp_path: Path, store: Store, inline: Cluster, kind: str
) -> None:
    texts = [*topics[:30], f"literal {SPECIAL[0]} here", f"{SPECIAL[0]}{SPECIAL[1]}"]
    (tmp_path / "manual.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "spec.yaml").write_text(SPEC % folders[kind])
    result = build(load_spec(tmp_path / "spec.yaml"), store, inline)
    record = result.manifest.tokenizer
    assert (record.kind, record.path.rpartition("/")[2]) == ("huggingface", "tokenizer.json")
    report = audit_build(result.manifest_path, "bytes")
    assert report.ok, report.failures


@pytest.mark.parametrize("kind", ["byte_bpe", "unigram"])
def test_the_audit_knows_whether_a_tokenizer_restores_every_text(folders: dict[str, Path], kind: str) -> None:
    form = json.loads((folders[kind] / "tokenizer.json").read_bytes())
    assert is_lossless(form) == (kind == "byte_bpe")
    if kind == "byte_bpe":
        texts = hard_texts(SPECIAL)
        reference = _Tokenizers(folders[kind] / "tokenizer.json")
        assert reference.restores_every_text
        assert reference.decode(reference.encode(texts)) == texts
        assert not is_lossless(form | {"normalizer": {"type": "NFC"}})
        assert not is_lossless(form | {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}})
        assert not is_lossless(form | {"added_tokens": [{"content": "x", "lstrip": True}]})
        assert not is_lossless(form | {"model": form["model"] | {"vocab": {"a": 0}}})


def test_ids_of_another_text_fail_where_every_text_is_restored(folders: dict[str, Path], tmp_path: Path) -> None:
    reference = _Tokenizers(folders["byte_bpe"] / "tokenizer.json")
    texts = ["the first text of two", "and another one"]
    builder = IndexedDatasetBuilder(str(tmp_path / "part.bin"), dtype=np.int32)
    for text in reversed(texts):  # in the wrong order
        builder.add_item(torch.tensor([*reference.encode([text])[0], 0]))
        builder.end_document()
    builder.finalize(str(tmp_path / "part.idx"))
    rows = {"document": [0, 1], "file": ["a.jsonl"] * 2, "record": [4, 5]}
    rows["text_xxh128"] = [xxhash.xxh3_128_hexdigest(text.encode()) for text in texts]
    pq.write_table(pa.table(rows), tmp_path / "part.parquet")
    checks = Checks()
    found = reencode_sample(reference, IndexedDataset(str(tmp_path / "part")), tmp_path / "part.parquet", checks)
    assert found == Reencoded(train=0, not_restored=2)
    (failure,) = checks.failures
    assert failure.expected == "the ids of the reference tokenizer in document 0 (a.jsonl record 4)"
    assert failure.found.endswith("ids of another text; 2 of 2 re-encoded documents of the part differ")
    one, other = (set(reference.encode([text])[0]) for text in texts)
    control = frozenset(one - other)  # as if a template had written them in one of the two
    part = IndexedDataset(str(tmp_path / "part"))
    found = reencode_sample(reference, part, tmp_path / "part.parquet", Checks(), control=control)
    assert found == Reencoded(train=0, not_restored=1, with_control_tokens=1)
