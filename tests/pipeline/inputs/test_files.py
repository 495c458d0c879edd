"""Files: which are found, what they are called, and what is refused."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.source import Source
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.readers.raw import blocks_from
from mixproof.pipeline.readers.unchanged import hash_file


@pytest.fixture
def touch(tmp_path: Path) -> Callable[..., None]:
    def make(*names: str) -> None:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}\n")

    return make


@pytest.fixture
def names(tmp_path: Path, make_spec: Callable[..., Spec]) -> Callable[..., list[str]]:
    def find(*patterns: str, code: bool = False) -> list[str]:
        source = Source(files=patterns, format="code" if code else None)
        return [file.name for file in find_files(make_spec({"a": source}), tmp_path)["a"]]

    return find


def test_a_glob_gives_names_below_its_fixed_prefix_in_order(
    touch: Callable[..., None], names: Callable[..., list[str]]
) -> None:
    touch("d/b.jsonl", "d/a.jsonl", "d/deep/er/c.jsonl", "d/.hidden.jsonl", "d/.git/x.jsonl", "d/a.txt")
    assert names("d/*.jsonl") == ["a.jsonl", "b.jsonl"]
    assert names("d/**/*.jsonl") == ["a.jsonl", "b.jsonl", "deep/er/c.jsonl"]
    assert names("d/*/er/*.jsonl") == ["deep/er/c.jsonl"]
    assert names("d/**/er/*.jsonl") == ["deep/er/c.jsonl"]
    assert names("d/.h*") == [".hidden.jsonl"]
    assert names("d/[ab].jsonl") == ["a.jsonl", "b.jsonl"]
    assert names("d/?.jsonl") == ["a.jsonl", "b.jsonl"]


def test_a_plain_path_is_named_below_its_folder_and_taken_as_it_is_spelled(
    touch: Callable[..., None], names: Callable[..., list[str]], tmp_path: Path
) -> None:
    odd = ["a b.jsonl", "a#b.jsonl", "a%20b.jsonl", "[x].jsonl", "zwölf.jsonl", "zwo\u0308lf.jsonl", "w*?.jsonl"]
    touch(*(f"odd [1]/{name}" for name in odd))
    for name in odd:
        assert names(f"odd [1]/{name}") == [name]
        assert names(str(tmp_path / "odd [1]" / name)) == [name]
        assert names(f"file://{tmp_path}/odd [1]/{name}") == [name]


def test_only_the_pattern_is_a_glob_and_not_the_folder_it_starts_at(
    touch: Callable[..., None], make_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    touch("run[1]*/data/right.jsonl", "run1/data/other.jsonl", "run1*/data/other.jsonl", "run[1]*/data/x[1].jsonl")
    base = tmp_path / "run[1]*"
    for pattern in ("data/*.jsonl", "./data/../data/*.jsonl", "../run[1]*/data/*.jsonl", f"{base}/data/*.jsonl"):
        found = find_files(make_spec({"a": [pattern]}), base)["a"]
        assert [file.name for file in found] == ["right.jsonl", "x[1].jsonl"]
    # as a parent spec's folder is written into its child's patterns
    found = find_files(make_spec({"a": ["../run[[]1][*]/data/*.jsonl"]}), tmp_path / "run1")["a"]
    assert [file.name for file in found] == ["right.jsonl", "x[1].jsonl"]
    found = find_files(make_spec({"a": ["data/x[[]1].jsonl"]}), base)["a"]
    assert [file.url for file in found] == [str(base / "data" / "x[1].jsonl")]


def test_an_archive_in_a_folder_with_signs_of_a_glob_is_that_archive(
    make_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    for folder, name in (("run[1]", "right.jsonl"), ("run1", "other.jsonl")):
        (tmp_path / folder).mkdir()
        with zipfile.ZipFile(tmp_path / folder / "a.zip", "w") as archive:
            archive.writestr(f"d/{name}", '{"text": "a"}')
    for pattern in ("zip://d/*.jsonl::a.zip", "zip://**/*.jsonl::*.zip", "zip://d/right.jsonl::../run[1]/a.zip"):
        (file,) = find_files(make_spec({"a": [pattern]}), tmp_path / "run[1]")["a"]
        assert file.name.endswith("right.jsonl")
        assert b"".join(blocks_from(file.url, 0)) == b'{"text": "a"}'


def test_two_colons_in_a_name_are_part_of_it(make_spec: Callable[..., Spec], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "docs.zip", "w") as archive:
        for name in ("Foo::Bar.txt", "a:::b.txt", "c:%3Bd.txt", "::.txt", "plain.txt"):
            archive.writestr(f"doc/{name}", name)
    (tmp_path / "local::name.txt").write_text("local::name.txt")
    found = find_files(make_spec({"a": ["zip://doc/*.txt::docs.zip", "*.txt"]}), tmp_path)["a"]
    read = {file.name.rpartition("/")[2]: b"".join(blocks_from(file.url, 0)).decode() for file in found}
    assert sorted(read) == ["::.txt", "Foo::Bar.txt", "a:::b.txt", "c:%3Bd.txt", "local::name.txt", "plain.txt"]
    assert all(name == text for name, text in read.items())
    for file in found:
        assert hash_file(file.url)[0].tag == file.tag


def test_an_archive_whose_path_holds_two_colons_is_refused_by_name(
    make_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "a::b.zip", "w") as archive:
        archive.writestr("a.jsonl", "{}")
    with pytest.raises(RequestError, match=r"a::b\.zip: an archive's path must not contain '::'; rename it"):
        find_files(make_spec({"a": ["zip://*.jsonl::*.zip"]}), tmp_path)


def test_a_dataset_of_tokens_may_be_read_once_by_whatever_name(
    touch: Callable[..., None], make_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    touch("ds/x.bin", "ds/x.idx", "ds/y.bin", "ds/y.idx")
    two = {"a": Source(megatron="ds/x"), "b": Source(megatron="ds/y")}
    assert [file.name for file in find_files(make_spec(two), tmp_path)["b"]] == ["y.bin", "y.idx"]
    for end in (".bin", ".idx"):
        (tmp_path / f"ds/link{end}").symlink_to(f"x{end}")
        os.link(tmp_path / f"ds/x{end}", tmp_path / f"ds/hard{end}")
    for again in ("ds/x", "ds/link", "ds/hard", "ds/*"):
        with pytest.raises(RequestError, match=r"listed twice: by 'ds/x\.bin' of sources\.a\.megatron and by"):
            find_files(make_spec({"a": Source(megatron="ds/x"), "b": Source(megatron=again)}), tmp_path)
    with pytest.raises(RequestError, match=r"sources\.b\.megatron: .* is listed twice"):
        find_files(make_spec({"b": Source(megatron="ds/[hx]*")}), tmp_path)


def test_a_file_is_the_same_by_every_link_to_it(
    touch: Callable[..., None], make_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    touch("a.jsonl")
    os.link(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    with pytest.raises(RequestError, match="is listed twice"):
        find_files(make_spec({"s": ["*.jsonl"]}), tmp_path)


def test_colliding_names_become_relative_to_the_common_folder(
    touch: Callable[..., None], names: Callable[..., list[str]]
) -> None:
    touch("x/2020/a.jsonl", "x/2021/a.jsonl", "x/2021/b.jsonl")
    assert names("x/2020/*.jsonl", "x/2021/b.jsonl") == ["a.jsonl", "b.jsonl"]
    assert names("x/2020/*.jsonl", "x/2021/*.jsonl") == ["2020/a.jsonl", "2021/a.jsonl", "2021/b.jsonl"]
    assert names("x/2021/*.jsonl", "x/2020/*.jsonl") == names("x/2020/*.jsonl", "x/2021/*.jsonl")


def test_formats_are_told_by_the_name(
    touch: Callable[..., None], tmp_path: Path, make_spec: Callable[..., Spec]
) -> None:
    touch("a.jsonl", "b.ndjson.gz", "c.JSON.zst", "d.parquet")
    found = find_files(make_spec({"a": ["*"]}), tmp_path)["a"]
    assert [(file.format, file.compression) for file in found] == [
        ("jsonl", None), ("jsonl", "gz"), ("jsonl", "zst"), ("parquet", None),
    ]  # fmt: skip
    touch("e.md")
    with pytest.raises(RequestError, match=r"e\.md: the format is not clear from the name"):
        find_files(make_spec({"a": ["*"]}), tmp_path)
    (declared,) = find_files(make_spec({"a": Source(files=("e.md",), format="jsonl")}), tmp_path)["a"]
    assert (declared.format, declared.bytes) == ("jsonl", 3)
    (tmp_path / "e.md").unlink()
    touch("f.arrow", "g.txt", "h.txt.gz", "i.warc.gz", "j.warc.wet.gz")
    found = find_files(make_spec({"a": ["[f-z]*"]}), tmp_path)["a"]
    assert [(file.format, file.compression) for file in found] == [
        ("arrow", None), ("text", None), ("text", "gz"), ("warc", "gz"), ("wet", "gz"),
    ]  # fmt: skip


def test_a_folder_is_a_tree_of_code_and_else_an_error(
    touch: Callable[..., None], names: Callable[..., list[str]]
) -> None:
    touch("tree/a.py", "tree/sub/b.rs", "tree/.git/config")
    assert names("tree", code=True) == ["a.py", "sub/b.rs"]
    assert names("tree/**/*.py", code=True) == ["a.py"]
    with pytest.raises(RequestError, match=r"sources\.a\.files: 'tree' is a folder.*format: code"):
        names("tree")


def test_no_files_matched_names_source_and_pattern(names: Callable[..., list[str]]) -> None:
    for pattern in ("nowhere/*.jsonl", "a.jsonl", "/nowhere/at/all.jsonl"):
        with pytest.raises(RequestError, match=rf"sources\.a\.files: no files match '{pattern.replace('*', '.')}'"):
            names(pattern)


def test_the_same_file_twice_is_refused_with_both_patterns(
    touch: Callable[..., None], names: Callable[..., list[str]], tmp_path: Path, make_spec: Callable[..., Spec]
) -> None:
    touch("d/a.jsonl", "d/b.jsonl")
    with pytest.raises(RequestError, match=r"listed twice: by 'd/a\.jsonl' .* by 'd/\*\.jsonl'"):
        names("d/a.jsonl", "d/*.jsonl")
    (tmp_path / "d/link.jsonl").symlink_to("a.jsonl")
    with pytest.raises(RequestError, match="listed twice"):
        names("d/*.jsonl")
    twice = {"a": ["d/b.jsonl"], "b": ["d/b.jsonl"]}
    with pytest.raises(RequestError, match=r"by 'd/b\.jsonl' of sources\.a\.files and by .* of sources\.b\.files"):
        find_files(make_spec(twice), tmp_path)
    other_field = {"a": ["d/b.jsonl"], "b": Source(files=("d/b.jsonl",), text="summary")}
    assert len(find_files(make_spec(other_field), tmp_path)) == 2


def test_a_folder_that_links_to_one_above_does_not_loop(
    touch: Callable[..., None], names: Callable[..., list[str]], tmp_path: Path
) -> None:
    touch("d/sub/a.jsonl")
    (tmp_path / "d/sub/up").symlink_to(tmp_path / "d", target_is_directory=True)
    assert names("d/**/*.jsonl") == ["sub/a.jsonl"]


def test_other_file_systems_are_found_by_the_same_rules(make_spec: Callable[..., Spec], tmp_path: Path) -> None:
    import fsspec

    filesystem = fsspec.filesystem("memory")
    for name in ("a.jsonl", "sub/b.jsonl", "c.txt"):
        filesystem.pipe_file(f"/corpus/{name}", b"{}\n")
    found = find_files(make_spec({"a": ["memory://corpus/**/*.jsonl"]}), tmp_path)["a"]
    assert [(file.name, file.bytes) for file in found] == [("a.jsonl", 3), ("sub/b.jsonl", 3)]
    assert all(file.url.startswith("memory://") for file in found)
    with pytest.raises(RequestError, match="no files match"):
        find_files(make_spec({"a": ["memory://corpus/*.parquet"]}), tmp_path)


class Pages(BaseHTTPRequestHandler):
    """A server with one page; it refuses `private` and fails at `broken`."""

    def do_GET(self) -> None:
        """Answer with the status of the path."""
        status = {"/a.jsonl": 200, "/private.jsonl": 403, "/broken.jsonl": 500}.get(self.path, 404)
        self.send_response(status)
        self.send_header("Content-Length", "3")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"{}\n")

    do_HEAD = do_GET  # noqa: N815  the name that http.server calls

    def log_message(self, *_: object) -> None:
        """Nothing goes to stderr."""


@pytest.fixture
def web() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_page_that_its_server_does_not_have_differs_from_a_server_that_does_not_answer(
    web: str, names: Callable[..., list[str]]
) -> None:
    def refusal(url: str) -> str:
        with pytest.raises(RequestError) as caught:
            names(url)
        return str(caught.value)

    assert names(f"{web}/a.jsonl") == ["a.jsonl"]
    assert "no files match" in refusal(f"{web}/b.jsonl")
    assert "cannot be reached" in refusal(f"{web}/broken.jsonl")
    assert "403" in refusal(f"{web}/private.jsonl")
    assert "cannot be reached" in refusal("http://127.0.0.1:1/a.jsonl")
