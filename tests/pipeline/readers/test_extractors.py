"""Extractors: pages of WARC files, and HTML in a field of records, become texts with the same account."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixproof.cli.machine.extras import Extra
from mixproof.cli.machine.needed_extras import check_extras
from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.source import Extractor, Source
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.read_task import read_keys, read_task
from mixproof.pipeline.read.records import records_of
from mixproof.pipeline.read.shards import plan_shards
from mixproof.pipeline.readers.html import EXTRAS
from mixproof.pipeline.record import Raw

PARAGRAPH = "The court of appeal decided that the statute applies to every ship in the harbor, and gave its reasons. "
MAIN = f"<article><h1>On ships</h1><p>{PARAGRAPH * 4}</p><p>{PARAGRAPH * 3}</p></article>"
PAGE = f"<html><head><title>t</title></head><body><nav><a href='/'>home</a></nav><main>{MAIN}</main></body></html>"
SPEC = """\
schema: 1
name: pages
sources: {web: {files: "web.jsonl", text: html, extractor: resiliparse}}
tokenizer: {train: {vocab_size: 300, bytes: 1MB}}
mixtures: {all: {web: 100%}}
train: {sequence_length: 16, proxies: {nano: {tokens: 512, global_batch_size: 4, lr: 1e-3}}}
"""


def write(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = [{"id": "a", "html": PAGE}, {"id": "b", "html": "<p></p>"}, {"id": "c", "html": ""}]
    (folder / "web.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), folder / "web.parquet")
    return rows


def outcomes(folder: Path, source: Source, spec: str, skipped: int = -1) -> list[Raw | str]:
    (folder / "spec.yaml").write_text(spec)
    loaded = load_spec(folder / "spec.yaml").spec
    (file,) = find_files(loaded.model_copy(update={"sources": {"web": source}}), folder)["web"]
    (plan,) = plan_shards({"web": (file,)})
    task = read_task(plan, source, {file.url: "0" * 64})
    found = records_of(file, task, lambda record: "it hung" if record == skipped else None)
    return [item if isinstance(item, Raw) else item.reason for item in found]


@pytest.mark.parametrize("extractor", sorted(EXTRAS))
@pytest.mark.parametrize("name", ["web.jsonl", "web.parquet"])
def test_the_main_text_of_a_page_in_a_field_takes_its_place(tmp_path: Path, name: str, extractor: Extractor) -> None:
    write(tmp_path)
    source = Source(files=(name,), text="html", extractor=extractor)
    page, *others = outcomes(tmp_path, source, SPEC)
    assert isinstance(page, Raw) and page.id == "a"
    assert page.text.count(PARAGRAPH.strip()) == 7 and "home" not in page.text and "<" not in page.text
    assert others == ["no_main_text", "empty_text"]
    assert outcomes(tmp_path, source, SPEC, skipped=0) == ["poison", *others]
    plain, *_ = outcomes(tmp_path, source.model_copy(update={"extractor": None}), SPEC)
    assert isinstance(plain, Raw) and plain.text == PAGE


@pytest.mark.parametrize("extractor", sorted(EXTRAS))
def test_the_extractor_is_in_the_key_of_what_is_read_and_a_spec_without_one_keeps_its_key(
    tmp_path: Path, extractor: Extractor
) -> None:
    write(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC.replace(", extractor: resiliparse", ""))
    spec = load_spec(tmp_path / "spec.yaml").spec
    files = find_files(spec, tmp_path)
    plans = list(plan_shards(files))
    sha256 = {file.url: "0" * 64 for file in files["web"]}
    plain, other = (
        next(iter(read_keys(plans, Source(files=("web.jsonl",), text="html", **given), sha256)))
        for given in ({}, {"extractor": extractor})
    )
    assert plain != other


def test_what_cannot_be_extracted_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)
    spec = load_spec(tmp_path / "spec.yaml").spec
    missing = {name: Extra(name, {name: None}) for name in ("html", "documents", "sources", "s3", "train", "lm-eval")}
    with pytest.raises(RequestError, match=r"sources\.web\.extractor: resiliparse needs html\. Install .*html"):
        check_extras(spec, "store", "build", missing)
    (tmp_path / "web.txt").write_text("plain")
    text = spec.model_copy(update={"sources": {"web": Source(files=("web.txt",), extractor="resiliparse")}})
    with pytest.raises(RequestError, match="text has no HTML to extract a text from; remove `extractor`"):
        find_files(text, tmp_path)
