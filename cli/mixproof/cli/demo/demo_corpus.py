"""The demo's corpus: text that every Python installation has, as four sources in four formats.

| source     | content                                           | written as       |
|------------|---------------------------------------------------|------------------|
| stdlib     | the standard library's own modules                | a tree of `.py`  |
| manual     | the language manual in `pydoc_data`               | jsonl.gz         |
| docstrings | docstrings of installed packages                  | jsonl.zst        |
| readmes    | the READMEs in those packages' metadata           | Parquet          |

About 18 MB, without network access. The same installation gives the same files, byte for byte.
"""

from __future__ import annotations

import ast
import gzip
import re
import shutil
import sysconfig
from collections.abc import Iterator, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

DOCSTRING_PACKAGES = ("numpy", "pyarrow", "scipy")
DOCSTRING_BYTES = 6_000_000
MIN_DOCSTRING_CHARS = 200
NOT_THE_LIBRARY = frozenset({"site-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "pydoc_data"})

Record = dict[str, str]


def gather(folder: Path) -> dict[str, int]:
    """Write the four sources to `folder`, replacing its content; return UTF-8 text bytes by source."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    chapters, docstrings, readmes = list(manual()), list(_docstrings()), list(_readmes())
    sizes = {"stdlib": _copy_standard_library(folder / "stdlib")}
    (folder / "manual.jsonl.gz").write_bytes(gzip.compress(_jsonl(chapters), mtime=0))
    (folder / "docstrings.jsonl.zst").write_bytes(zstandard.ZstdCompressor(level=3).compress(_jsonl(docstrings)))
    pq.write_table(pa.Table.from_pylist(readmes), folder / "readmes.parquet")
    for name, records in (("manual", chapters), ("docstrings", docstrings), ("readmes", readmes)):
        sizes[name] = sum(len(record["text"].encode()) for record in records)
    return sizes


def _jsonl(records: Sequence[Record]) -> bytes:
    return b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)


def _copy_standard_library(folder: Path) -> int:
    library = Path(sysconfig.get_paths()["stdlib"])
    text_bytes = 0
    for path in sorted(library.rglob("*.py")):
        relative = path.relative_to(library)
        if NOT_THE_LIBRARY.isdisjoint(relative.parts):
            target = folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            text_bytes += target.write_bytes(path.read_bytes())
    return text_bytes


def manual() -> Iterator[Record]:
    """Yield the sections of the language manual."""
    from pydoc_data.topics import topics

    for topic, text in sorted(topics.items()):
        for number, section in enumerate(re.split(r"\n(?=[^\n]+\n[=*]{4,}\n)", text)):
            if len(section) >= MIN_DOCSTRING_CHARS:
                yield {"id": f"{topic}/{number}", "text": section.strip("\n")}


def _docstrings() -> Iterator[Record]:
    text_bytes = 0
    for package in DOCSTRING_PACKAGES:
        packages = _folder_of(package)
        for path in sorted((packages / package).rglob("*.py")):
            if text_bytes >= DOCSTRING_BYTES:
                return
            if not NOT_THE_LIBRARY.isdisjoint(path.parts[len(packages.parts) :]):
                continue
            for name, text in _docstrings_of(path.read_text(encoding="utf-8")):
                text_bytes += len(text.encode())
                yield {"id": f"{path.relative_to(packages).as_posix()}:{name}", "text": text}


def _folder_of(package: str) -> Path:
    """The folder in which a package is installed, which may be that of another environment on the path."""
    found = find_spec(package)
    assert found is not None and found.origin is not None, package  # a dependency of mixproof's
    return Path(found.origin).parents[1]


def _docstrings_of(code: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None and len(text) >= MIN_DOCSTRING_CHARS:
                yield getattr(node, "name", "module"), text


def _readmes() -> Iterator[Record]:
    described = {}
    for distribution in metadata.distributions():
        text = distribution.read_text("METADATA") or ""
        _, _, readme = text.partition("\n\n")
        if len(readme) >= MIN_DOCSTRING_CHARS:
            described[distribution.metadata["Name"]] = readme
    for name, readme in sorted(described.items()):
        yield {"id": name, "text": readme}
