"""`mixproof init`: the spec that it writes is one that `plan` accepts and `build` builds."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
from ruamel.yaml import YAML

from conftest import Experiment, Finished, environment, jsonl, mixproof_command, write_corpus
from mixproof.cli.commands.init import init
from mixproof.ledger.errors import RequestError
from mixproof.mixtures.load import load_spec

Mixproof = Callable[..., Finished]
TEXT = "Held-out sets are texts that no mixture was trained on, and every mixture is measured by. " * 30


def corpus(folder: Path) -> Path:
    write_corpus(folder / "corpus")
    return folder / "corpus"


def test_the_spec_that_it_writes_is_planned_and_built(mixproof: Mixproof, tmp_path: Path) -> None:
    folder = corpus(tmp_path)
    written = mixproof("init", folder, "--output", tmp_path / "first.yaml", "--yes", "--json")
    assert written.code == 0, written.err
    assert set(written.json["sources"]) == {"code", "guide", "manual", "notes"}
    planned = mixproof("plan", tmp_path / "first.yaml", "--store", tmp_path / "store", "--json")
    assert planned.code == 0, planned.err
    built = mixproof("build", tmp_path / "first.yaml", "--store", tmp_path / "store", "--json")
    assert built.code == 0, built.err
    for name, source in written.json["sources"].items():
        sides = built.json["sources"][name]
        kept = sides["train"]["documents"] + sides["heldout"]["documents"]
        assert kept <= source["documents"] <= 1.4 * kept, name
        assert sides["heldout"]["documents"] > 0


def test_the_file_names_its_schema_and_follows_it(tmp_path: Path) -> None:
    init(corpus(tmp_path), tmp_path / "first.yaml", yes=True)
    first = (tmp_path / "first.yaml").read_text().splitlines()[0]
    schema = tmp_path / first.removeprefix("# yaml-language-server: $schema=")
    data = YAML(typ="safe").load((tmp_path / "first.yaml").read_text())
    jsonschema.validate(data, json.loads(schema.read_text()))
    assert load_spec(tmp_path / "first.yaml").spec.name == "first"


def test_patterns_start_at_the_folder_of_the_spec(tmp_path: Path) -> None:
    folder = corpus(tmp_path)
    (tmp_path / "specs").mkdir()
    for place, expected in (("first.yaml", "corpus/"), ("specs/first.yaml", "../corpus/"), ("corpus/a.yaml", "")):
        init(folder, tmp_path / place, yes=True)
        assert load_spec(tmp_path / place).spec.sources["guide"].files == (f"{expected}guide.jsonl",)


def test_names_with_glob_characters_quotes_and_tildes_are_matched(tmp_path: Path) -> None:
    folder = tmp_path / "some [new] text's *"
    for name in ("~tilde", 'a "quoted" [one]', "no"):
        (folder / name).mkdir(parents=True)
        for shard in "01":
            records = [{"id": f"{name}{shard}{row}", "text": f"{name} {row} {TEXT}"} for row in range(30)]
            (folder / name / f"{shard}.jsonl").write_bytes(jsonl(records))
    init(folder, tmp_path / "first.yaml", yes=True)
    assert sorted(load_spec(tmp_path / "first.yaml").spec.sources) == ["a_quoted_one", "no", "tilde"]


def test_nothing_is_written_where_nothing_can_be_a_source(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "one.txt").write_text(TEXT)
    (tmp_path / "corpus" / "ids.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(
        RequestError, match=r"nothing here can be a source:(?s:.)*no field holds text(?s:.)*one document"
    ):
        init(tmp_path / "corpus", tmp_path / "first.yaml", yes=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus"]


def test_a_spec_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text("mine")
    with pytest.raises(RequestError, match="exists already"):
        init(corpus(tmp_path), tmp_path / "first.yaml", yes=True)
    assert (tmp_path / "first.yaml").read_text() == "mine"


def test_a_given_tokenizer_is_taken(experiment: Experiment, tmp_path: Path) -> None:
    manifest = json.loads(Path(experiment.result["build"]["manifest"]).read_bytes())
    model = experiment.store / manifest["tokenizer"]["path"]
    init(corpus(tmp_path), tmp_path / "first.yaml", yes=True, tokenizer=model)
    assert load_spec(tmp_path / "first.yaml").spec.tokenizer.sentencepiece == str(model)


def test_without_a_terminal_and_without_yes_it_asks_for_yes(tmp_path: Path) -> None:
    command = mixproof_command("init", corpus(tmp_path), "--output", tmp_path / "first.yaml")
    done = subprocess.run(
        command, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "give --yes" in done.stderr


def test_on_a_terminal_it_asks_which_sources_to_take(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    command = mixproof_command("init", corpus(tmp_path), "--output", tmp_path / "first.yaml")
    with subprocess.Popen(
        command, env=environment(), stdin=follower, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        os.write(leader, b"n\ny\ny\ny\n\n")  # code, guide, manual, notes; no tokenizer
        out, err = process.communicate(timeout=120)
    os.close(leader)
    os.close(follower)
    assert process.returncode == 0, err
    assert "Take code (34 files, 34 documents" in err and "Tokenizer file" in err
    assert sorted(load_spec(tmp_path / "first.yaml").spec.sources) == ["guide", "manual", "notes"]
    assert "wrote" in out
