"""Small inputs for the specs of the guides: text, conversations, pairs and ratings in the files that a spec names."""

from __future__ import annotations

import gzip
import inspect
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import fasttext  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import sentencepiece
import zstandard
from tokenizers import ByteLevelBPETokenizer

MODULES = ("argparse", "ast", "email.message", "inspect", "logging", "os", "pathlib", "shutil", "socket", "statistics")
GERMAN = (
    ("Der Bäcker", "Die Lehrerin", "Ein alter Fischer", "Das Kind", "Der Gärtner", "Die Ärztin", "Unser Nachbar"),
    ("sucht", "findet", "beschreibt", "verkauft", "vergisst", "zeichnet", "bewundert", "bringt", "erwartet"),
    ("den roten Apfel", "ein neues Buch", "die kleine Brücke", "das stille Dorf", "einen langen Brief", "die Uhr"),
    ("am frühen Morgen", "nach dem Regen", "vor dem Haus", "mit großer Freude", "ohne ein Wort", "im Winter"),
)
"""Parts of sentences for documents of a second language; the standard library is in English."""
SMALL = {"layers": 2, "hidden": 64, "ffn": 128, "heads": 2, "kv_heads": 1, "head_dim": 32}
Record = dict[str, Any]


def shrink(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the spec of a guide with small numbers: the same sources, steps and mixtures, proxies of 64 dimensions."""
    small: dict[str, Any] = json.loads(json.dumps(spec).replace('"/data/', '"data/'))
    if (heldout := small.get("heldout", {})) and heldout.get("create"):
        heldout["create"] = {"tokens": 800, "min_documents": 3}
    elif "heldout" not in small and "extends" not in small:
        small["heldout"] = {"create": {"tokens": 800, "min_documents": 3}}
    if "train" in small.get("tokenizer", {}):
        small["tokenizer"] = {"train": {"vocab_size": 1200, "bytes": "2MB"}}
    if "target" in small:
        small["target"]["tokens"] = "100K"
    train = small.get("train", {})
    if "sequence_length" in train or "extends" not in small:
        train["sequence_length"] = 128 if "stage" not in train else 512
    for proxy in train.get("proxies", {}).values():
        proxy |= {"tokens": 8192, "global_batch_size": 4, "architecture": SMALL}
    if "seeds" in train:
        train["seeds"] = train["seeds"][:2]
    return small


def write_inputs(spec: Mapping[str, Any], folder: Path) -> None:
    """Write what a shrunk spec reads, below its folder: files of its sources, evaluation sets, models of labels."""
    sources = {name: source for name, source in spec.get("sources", {}).items() if "files" in source}
    for number, source in enumerate(sources.values()):
        patterns = [source["files"]] if isinstance(source["files"], str) else source["files"]
        for pattern in patterns:
            records = [_record(source, text, name) for name, text in _texts()[number :: len(sources)]]
            _write(folder / pattern.removesuffix("*").replace("**", "sub").replace("*", "part"), records)
    for pattern in (spec.get("decontaminate") or {}).get("against", []):
        questions = [{"question": text[:200], "answer": text[200:300]} for _, text in _texts()[:20]]
        _write(folder / pattern.replace("*", "part"), questions)
    _write_tokenizer(spec.get("tokenizer", {}), folder)
    for label in spec.get("labels", {}).values():
        if isinstance(label, dict) and "fasttext" in label:
            _train_fasttext(folder / label["fasttext"]["model"])


def _record(source: Mapping[str, Any], text: str, name: str) -> Record:
    """One record in the form that a source reads."""
    question, answer = f"What does the manual say about {name}?", text[:600]
    match source.get("format"):
        case "chat":
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            return {"messages": turns}
        case "preferences":
            return {"prompt": question, "chosen": answer, "rejected": answer[::-1]}
        case "ratings":
            helpful = float(len(answer) % 5)
            return {"prompt": question, "response": answer, "attributes": {"helpfulness": helpful}}
        case _:
            return {source.get("text", "text"): text, source.get("id", "id"): name, "meta": {"topic": name[0]}}


def _write(path: Path, records: Sequence[Record]) -> None:
    """Write records in the format and packing that a path's suffixes name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(records)), path)
        return
    data = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(path.suffix, bytes)
    path.write_bytes(pack(data))


@cache
def _texts() -> list[tuple[str, str]]:
    """Paragraphs and long chapters of the language manual and of the standard library's documentation, with names."""
    parts = [(f"{name}-{number}", part) for name, text in _pages() for number, part in enumerate(_paragraphs(text))]
    return parts + [(f"{name}-whole", text) for name, text in _pages() if len(text) > 5000]


def _pages() -> Iterator[tuple[str, str]]:
    yield from sorted((name, str(text)) for name, text in topics.items())
    for number in range(40):
        dice = random.Random(number)  # noqa: S311  words of made-up sentences
        sentences = (" ".join(dice.choice(part) for part in GERMAN) for _ in range(4 + number % 9))
        yield f"ORT {number}", "".join(f"{sentence}. " for sentence in sentences)
    for module in MODULES:
        for name, member in sorted(vars(import_module(module)).items()):
            if len(text := inspect.getdoc(member) or "") > 200 and getattr(member, "__module__", "") == module:
                yield f"{module}.{name}", text


def _paragraphs(text: str) -> Iterator[str]:
    """Parts of at least 600 characters, cut at empty lines."""
    part = ""
    for paragraph in text.split("\n\n"):
        part = f"{part}\n\n{paragraph}".strip()
        if len(part) >= 600:
            yield part
            part = ""
    if part:
        yield part


def _write_tokenizer(tokenizer: Mapping[str, Any], folder: Path) -> None:
    """Write the tokenizer file that a spec names, with 1,200 tokens of the same texts."""
    texts = [text for _, text in _texts()]
    if "sentencepiece" in tokenizer:
        path = folder / tokenizer["sentencepiece"]
        with path.open("wb") as model:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts), model_writer=model, vocab_size=1200, byte_fallback=True, num_threads=1,
                minloglevel=2,
            )  # fmt: skip
    if "huggingface" in tokenizer:
        path = folder / tokenizer["huggingface"]
        path.parent.mkdir(parents=True, exist_ok=True)
        trained = ByteLevelBPETokenizer()
        eod = tokenizer.get("eod", "</s>")
        trained.train_from_iterator(texts, vocab_size=1200, special_tokens=[eod])
        trained.save(str(path))
        path.with_name("tokenizer_config.json").write_text(json.dumps({"eos_token": eod}))


def _train_fasttext(path: Path) -> None:
    """Train a classifier of two labels, `hq` for names in capitals, as the manual's chapters, and `other`."""
    labelled = [("hq" if name[0].isupper() else "other", text) for name, text in _texts()]
    examples = path.with_suffix(".txt")
    examples.write_text("\n".join(f"__label__{label} {' '.join(text.split())}" for label, text in labelled))
    # Each thread of fastText 0.9.2 sets a tenth of its input matrix (DenseMatrix::uniform). With fewer than 11 threads,
    # the remainder is uninitialized memory, which may be NaN.
    fasttext.train_supervised(str(examples), dim=8, epoch=5, thread=12, verbose=0).save_model(str(path))
