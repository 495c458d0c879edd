"""Write the text of an example: real text that every Python installation has, in the form that the case is about.

    python examples/prepare.py web-books-code            into examples/web-books-code/corpus
    python examples/prepare.py warc-crawl --into DIR     into DIR/corpus

No network, a few seconds, a few megabytes. The same installation gives the same files.
"""

from __future__ import annotations

import argparse
import gzip
import inspect
import io
import json
import pydoc
import re
import shutil
import struct
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module, metadata
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sentencepiece

EXAMPLES = Path(__file__).resolve().parent
SPAM = "Click here now!!! Best price !!! Click here now!!! Buy buy buy\n"
MODULES = (
    "argparse", "asyncio", "ast", "collections", "concurrent.futures", "configparser", "contextlib", "csv", "ctypes",
    "dataclasses", "datetime", "decimal", "difflib", "doctest", "email", "enum", "fractions", "ftplib", "functools",
    "heapq", "html", "http.client", "imaplib", "inspect", "io", "ipaddress", "itertools", "json", "logging", "lzma",
    "mailbox", "math", "multiprocessing", "optparse", "os", "pathlib", "pickle", "platform", "plistlib", "pprint",
    "queue", "random", "re", "sched", "selectors", "shelve", "shutil", "smtplib", "socket", "socketserver", "sqlite3",
    "ssl", "statistics", "string", "struct", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "timeit",
    "tokenize", "trace", "traceback", "types", "typing", "unittest", "urllib.parse", "urllib.request", "uuid",
    "warnings", "wave", "weakref", "xml.dom", "xml.etree.ElementTree", "xmlrpc.client", "zipfile", "zoneinfo",
)  # fmt: skip
"""Modules of the standard library whose documentation is used."""
Record = Mapping[str, object]


def chapters() -> Iterator[tuple[str, str]]:
    """Chapters of the language manual: names and texts."""
    yield from sorted((name, str(text)) for name, text in topics.items())


def readmes() -> Iterator[tuple[str, str]]:
    """Names and READMEs of the installed packages."""
    found = {}
    for package in metadata.distributions():
        text = package.metadata.json.get("description", "")
        if isinstance(text, str) and len(text) > 400:
            found[package.metadata["Name"]] = text
    yield from sorted(found.items())


def docstrings() -> Iterator[tuple[str, str]]:
    """Names and docstrings of the public members of the standard library's modules."""
    for module_name in MODULES:
        module = import_module(module_name)
        for name, member in sorted(vars(module).items()):
            text = inspect.getdoc(member) if inspect.isclass(member) or inspect.isroutine(member) else None
            if text and len(text) > 120 and getattr(member, "__module__", None) == module_name:
                yield f"{module_name}.{name}", text


def sources_of(package: str) -> Iterator[tuple[str, str]]:
    """Paths and source code of a package of the standard library."""
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted((library / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if text.strip():
            yield str(path.relative_to(library)), text


def html_pages() -> Iterator[tuple[str, str]]:
    """URLs and HTML pages of the documentation of modules, as `pydoc` serves it."""
    for name in MODULES[::5]:
        module = import_module(name)
        yield f"https://docs.test/{name}.html", pydoc.html.page(name, pydoc.html.document(module, name))


def web_books_code(folder: Path) -> None:
    """READMEs as a web crawl, the manual as books in Parquet, source code as files; some pages occur twice."""
    pages = [{"url": f"https://pages.test/{name}", "text": text} for name, text in readmes()]
    pages += [{"url": f"https://mirror.test/{name}", "text": text} for name, text in list(readmes())[:20]]
    _jsonl(folder / "web" / "pages-00000.jsonl.gz", pages)
    books = [{"isbn": name, "body": text} for name, text in chapters()]
    pq.write_table(pa.Table.from_pylist(books), _made(folder / "books" / "books.parquet"))
    for package in ("json", "email", "asyncio", "http", "xml"):
        for path, text in sources_of(package):
            _made(folder / "code" / path).write_text(text)


def warc_crawl(folder: Path) -> None:
    """HTML pages in a WARC file, including responses that are not pages."""
    records = [("https://docs.test/robots.txt", b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n\r\nno")]
    for url, page in html_pages():
        records.append((url, b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + page.encode()))
    records.append(("https://docs.test/logo.png", b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n\x89PNG"))
    with _made(folder / "crawl-00000.warc.gz").open("wb") as file:
        for number, (url, body) in enumerate(records):
            file.write(gzip.compress(_warc_record(number, url, body), mtime=0))


def quality_ablation(folder: Path) -> None:
    """Docstrings and READMEs as a web corpus that is partly spam, and the manual as a clean reference."""
    texts = [text for _, text in (*readmes(), *docstrings()) if len(text) > 800]
    pages = [{"text": SPAM * (20 + number % 30) if number % 4 == 0 else text} for number, text in enumerate(texts)]
    _jsonl(folder / "web" / "pages.jsonl.gz", pages)
    _jsonl(folder / "reference" / "manual.jsonl.gz", [{"text": text} for _, text in chapters()])
    _tokenizer(folder / "tok.model", [text for _, text in chapters()])


def search(folder: Path) -> None:
    """Three sources of different kinds."""
    _jsonl(folder / "manual.jsonl.gz", [{"text": text} for _, text in chapters()])
    _jsonl(folder / "docstrings.jsonl.gz", [{"text": text} for _, text in docstrings()])
    sources = (text for package in ("json", "email") for _, text in sources_of(package))
    _jsonl(folder / "code.jsonl.gz", [{"text": text} for text in sources])


def climb(folder: Path) -> None:
    """One corpus of four kinds of text in one file."""
    sources = (text for package in ("json", "email") for _, text in sources_of(package))
    kinds = [text for kind in (chapters(), docstrings(), readmes()) for _, text in kind]
    _jsonl(folder / "all.jsonl.gz", [{"text": text} for text in (*kinds, *sources)])


def existing_tokens(folder: Path) -> None:
    """A tokenizer, `.bin/.idx` of the manual as Megatron-LM's preprocess_data.py writes them, and new text."""
    texts = [text for _, text in chapters()]
    model = _tokenizer(folder / "tok.model", texts)
    _megatron(folder / "tokens" / "manual_text_document", [[*model.encode(text), model.eos_id()] for text in texts])
    _jsonl(folder / "docstrings.jsonl.gz", [{"text": text} for _, text in docstrings()])


def sft(folder: Path) -> None:
    """Conversations about members of modules, with their docstrings as answers, and the manual as plain text."""
    records: list[Record] = []
    for name, text in docstrings():
        messages = [{"role": "user", "content": f"What does {name} do?"}, {"role": "assistant", "content": text}]
        if len(records) % 3 == 0:
            messages.insert(0, {"role": "system", "content": "You know Python's standard library."})
        records.append({"id": name, "messages": messages})
    _jsonl(folder / "conversations.jsonl.gz", records)
    _jsonl(folder / "manual.jsonl.gz", [{"text": text} for _, text in chapters()])


CASES: dict[str, Callable[[Path], None]] = {
    "web-books-code": web_books_code,
    "warc-crawl": warc_crawl,
    "quality-ablation": quality_ablation,
    "search": search,
    "climb": climb,
    "sft": sft,
    "existing-tokens": existing_tokens,
}


def prepare(case: str, into: Path) -> Path:
    """Write the text of a case to `into`/corpus, replacing what is there, and return that folder."""
    folder = into / "corpus"
    shutil.rmtree(folder, ignore_errors=True)
    CASES[case](folder)
    return folder


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _jsonl(path: Path, records: Iterable[Record]) -> None:
    data = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    _made(path).write_bytes(gzip.compress(data.encode(errors="replace"), mtime=0))


def _warc_record(number: int, url: str, body: bytes) -> bytes:
    """A record of type `response` (WARC 1.0, ISO 28500)."""
    head = (
        "WARC/1.0\r\nWARC-Type: response\r\n"
        f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{number:012}>\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        f"WARC-Target-URI: {url}\r\nContent-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


def _tokenizer(path: Path, texts: list[str]) -> sentencepiece.SentencePieceProcessor:
    """Train a SentencePiece model of 2,000 pieces on lines of texts, and load it."""
    lines = sorted({line for text in texts for line in re.split(r"\n+", text) if line.strip()})
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=2_000, model_type="bpe", byte_fallback=True,
        character_coverage=1.0, normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=False, num_threads=1, minloglevel=2,
    )  # fmt: skip
    _made(path).write_bytes(model.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def _megatron(prefix: Path, documents: list[list[int]]) -> None:
    """Write ids as Megatron's indexed dataset: uint16 ids, lengths, byte offsets, document boundaries."""
    lengths = np.array([len(ids) for ids in documents], dtype=np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths[:-1], dtype=np.int64)]) * 2
    np.concatenate([np.array(ids, dtype=np.uint16) for ids in documents]).tofile(_made(prefix.with_suffix(".bin")))
    with prefix.with_suffix(".idx").open("wb") as file:
        file.write(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, len(lengths), len(lengths) + 1))
        for array in (lengths, starts.astype(np.int64), np.arange(len(lengths) + 1, dtype=np.int64)):
            file.write(array.tobytes())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the text of an example.")
    parser.add_argument("case", choices=sorted(CASES))
    parser.add_argument("--into", type=Path, help="Folder of the example; default: the one beside this script.")
    given = parser.parse_args()
    print(prepare(given.case, given.into or EXAMPLES / given.case))
