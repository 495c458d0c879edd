"""tiktoken encodings: ids as tiktoken gives them, special tokens are text, engines and audit agree, errors say why."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.tokenize.audit import audit_build, replay_build
from mixproof.tokenize.audit.ids.tiktoken_ids import TiktokenIds
from mixproof.tokenize.build import build, find_build
from mixproof.tokenize.tokenizer.admission import FAST_EXCEPT_NEW, TIKTOKEN_REFERENCE
from mixproof.tokenize.tokenizer.engine import choose_engine, load_engine, split_rows
from mixproof.tokenize.tokenizer.tiktoken import ENCODING, TiktokenReference, compose_encoding, join_by_rank
from mixproof.train.export.huggingface_tokenizer import differences, write_tokenizer

LONGER = [
    *("  ", "aa", "aaa", "th", "the", " the", "in", "ing", "\n\n", " \n", "12", "123", "'s", "é", "/\n", "Th"),
    *(" \n ", "\n/"),
]
TOKENS = [*(bytes([byte]) for byte in range(256)), *(token.encode() for token in LONGER)]
SPECIAL = {"<|endoftext|>": 300}
TEXTS = ["The thing's in the 12345\n\n", "aaaaa <|endoftext|> é", " \n ", "!\n/"]
LITERAL = [257, 258, 32, *b"<|endoftext|>", 32, 269]
IDS = {
    "cl100k": [[271, 101, 32, 259, 263, 268, 32, 262, 261, 32, 267, 52, 53, 264], LITERAL, [272], [33, 10, 47]],
    "llama3": [[271, 101, 32, 259, 263, 268, 32, 262, 261, 32, 267, 52, 53, 264], LITERAL, [265, 32], [33, 10, 47]],
    "o200k": [[271, 101, 32, 259, 263, 268, 32, 262, 261, 32, 267, 52, 53, 264], LITERAL, [265, 32], [33, 273]],
    "qwen2": [[271, 101, 32, 259, 263, 268, 32, 262, 261, 32, *b"12345", 264], LITERAL, [265, 32], [33, 10, 47]],
}
"""What tiktoken 0.12's `encode_ordinary` gives for `TEXTS` with these ranks and the published patterns."""
SPEC = """\
schema: 1
name: ranks
sources:
  manual: {files: manual.jsonl}
heldout: {create: {min_documents: 2, tokens: 200}}
decontaminate: false
tokenizer:
  tiktoken: small.tiktoken
  pattern: %s
  special_tokens: {<|endoftext|>: 300}
  eod: <|endoftext|>
mixtures:
  all: {manual: 100%%}
train:
  proxies:
    nano: {tokens: 64K, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}
"""


def write_ranks(path: Path, tokens: Sequence[bytes] = TOKENS) -> Path:
    path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)))
    return path


def write_encoding(folder: Path, pattern: str, tokens: Sequence[bytes] = TOKENS) -> Path:
    encoding = folder / ENCODING
    encoding.write_bytes(compose_encoding(write_ranks(folder / "small.tiktoken", tokens), pattern, SPECIAL))
    return encoding


@pytest.mark.parametrize("pattern", IDS)
def test_ids_are_those_of_tiktoken_by_reference_audit_and_engine(tmp_path: Path, pattern: str) -> None:
    path = write_encoding(tmp_path, pattern)
    reference = TiktokenReference(str(path))
    assert [ids.tolist() for ids in split_rows(reference.encode(TEXTS))] == IDS[pattern]
    assert TiktokenIds(path).encode(TEXTS) == IDS[pattern]
    assert choose_engine(str(path)) == FAST_EXCEPT_NEW
    encoded = load_engine(FAST_EXCEPT_NEW, str(path)).encode([text.encode() for text in TEXTS])
    assert [ids.tolist() for ids in split_rows(encoded)] == IDS[pattern]
    assert reference.decode(IDS[pattern]) == TiktokenIds(path).decode(IDS[pattern]) == TEXTS
    assert (reference.vocab_size, reference.find_eod("<|endoftext|>", path)) == (301, 300)


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=2, max_size=4).map("".join), st.data())
@settings(max_examples=60, deadline=None)
def test_neighbors_are_joined_by_rank_from_left_to_right(longest: str, data: st.DataObject) -> None:
    letters = st.text("abc", min_size=2, max_size=4)
    longer = list(dict.fromkeys([longest, *data.draw(st.lists(letters, max_size=12))]))
    ranks = {token.encode(): rank for rank, token in enumerate(["a", "b", "c", *data.draw(st.permutations(longer))])}
    piece = data.draw(st.text("abc", max_size=30)).encode()
    parts = [bytes([byte]) for byte in piece]
    while joins := [(ranks[a + b], at) for at, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]:
        at = min(joins)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    assert join_by_rank(piece, ranks) == [ranks[part] for part in parts]


def test_a_piece_of_50000_letters_is_encoded(tmp_path: Path) -> None:
    path = write_encoding(tmp_path, "llama3")
    texts, expected = ["a" * 50_000], [[257] * 25_000]
    assert [ids.tolist() for ids in split_rows(TiktokenReference(str(path)).encode(texts))] == expected
    assert TiktokenIds(path).encode(texts) == expected


def test_ranks_that_no_training_gives_and_patterns_of_ones_own_are_encoded_by_the_reference(tmp_path: Path) -> None:
    odd = [*TOKENS, b"xyzxyz"]
    assert choose_engine(str(write_encoding(tmp_path, "cl100k", odd))) == TIKTOKEN_REFERENCE
    (tmp_path / "own").mkdir()
    own = write_encoding(tmp_path / "own", r"\w+|[^\w]")
    assert choose_engine(str(own)) == TIKTOKEN_REFERENCE
    assert TiktokenReference(str(own)).encode(["the 12!"]).ids.tolist() == [260, 32, 266, 33]


def test_a_pattern_that_backtracks_without_end_is_an_error_that_names_the_text(tmp_path: Path) -> None:
    reference = TiktokenReference(str(write_encoding(tmp_path, r"(?:a|a)*c|.")), patience_seconds=0.2)
    assert reference.encode(["ac"]).lengths.tolist() == [2]
    with pytest.raises(RequestError, match=r"tokenizer.pattern: did not finish within 0.2 s on the text .*'aaa"):
        reference.encode(["a" * 3000 + "!"])


def test_text_that_a_pattern_leaves_out_is_never_lost(tmp_path: Path) -> None:
    reference = TiktokenReference(str(write_encoding(tmp_path, r"[a-z]+")))
    with pytest.raises(RequestError, match=r"tokenizer.pattern: does not match ' the' in a text"):
        reference.encode(["in the"])


@pytest.mark.parametrize(
    ("ranks", "pattern", "special", "message"),
    [
        ("IQ== 0\nIg==\n", "cl100k", {}, "small.tiktoken line 2: not a base64 token and its rank"),
        ("IQ== 0\nIg== 1\n", "cl100k", {}, "254 of the 256 single bytes have no rank, the first is 0x00"),
        ("IQ== 0\nIQ== 1\n", "cl100k", {}, "a token or a rank occurs twice"),
        (None, None, {}, "set it to one of cl100k, llama3, o200k, qwen2, or to a regular expression"),
        (None, "cl100", {}, "'cl100' is not a known pattern; known are cl100k, llama3, o200k, qwen2"),
        (None, "(", {}, "'\\(' is not a regular expression"),
        (None, "o200k", {"<s>": 5}, "id 5 of '<s>' already belongs to another token"),
        (None, "o200k", {"<s>": 300, "<t>": 300}, "id 300 of '<t>' already belongs to another token"),
    ],
)
def test_an_encoding_that_is_not_complete_is_refused(
    tmp_path: Path, ranks: str | None, pattern: str | None, special: dict[str, int], message: str
) -> None:
    file = write_ranks(tmp_path / "small.tiktoken")
    if ranks is not None:
        file.write_text(ranks)
    with pytest.raises(RequestError, match=message):
        compose_encoding(file, pattern, special)


def test_a_spec_needs_an_eod_among_the_special_tokens(tmp_path: Path, store: Store, inline: Cluster) -> None:
    write_ranks(tmp_path / "small.tiktoken")
    (tmp_path / "manual.jsonl").write_text(json.dumps({"text": "the thing"}) + "\n")
    text = SPEC % "cl100k"
    for eod, message in (("", "set it with `eod: TOKEN`"), ("  eod: <|x|>\n", "'<|x|>' is not one of special_tokens")):
        (tmp_path / "spec.yaml").write_text(text.replace("  eod: <|endoftext|>\n", eod))
        with pytest.raises(RequestError, match=re.escape(message)):
            build(load_spec(tmp_path / "spec.yaml"), store, inline)
    assert not store.root.exists()


def test_a_build_is_replayed_and_its_pattern_is_part_of_its_identity(
    tmp_path: Path, topics: list[str], store: Store, inline: Cluster
) -> None:
    texts = [*topics[:12], "literal <|endoftext|> here", "\ufdd5 new \U000323b0 letters"]
    (tmp_path / "manual.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    write_ranks(tmp_path / "small.tiktoken")
    (tmp_path / "spec.yaml").write_text(SPEC % "llama3")
    loaded = load_spec(tmp_path / "spec.yaml")
    result = build(loaded, store, inline)
    record = result.manifest.tokenizer
    assert (record.kind, record.vocab_size, record.eod_id) == ("tiktoken", 301, 300)
    assert record.path == f"tokenizer/{record.path.split('/')[1]}/{ENCODING}"
    report = audit_build(result.manifest_path, "bytes")
    assert report.ok, report.failures
    files = find_files(loaded.spec, loaded.base)
    report = replay_build(loaded.spec, files, store, result.manifest_path, inline)
    assert report.ok, report.failures
    assert find_build(loaded, store) == result.manifest_path
    (tmp_path / "spec.yaml").write_text(SPEC % "qwen2")
    other = load_spec(tmp_path / "spec.yaml")
    assert find_build(other, store) is None
    assert build(other, store, inline).manifest.tokenizer.sha256 != record.sha256


def test_the_hugging_face_form_has_the_same_ids(tmp_path: Path, topics: list[str]) -> None:
    path = write_encoding(tmp_path, "cl100k")
    (tmp_path / "out").mkdir()
    write_tokenizer(path, 300, tmp_path / "out")
    check = differences(tmp_path / "out", TiktokenReference(str(path)), [*TEXTS, *topics[:5]])
    assert check.exact, check.example
