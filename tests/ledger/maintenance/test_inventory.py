"""A small real store: a build with its dataset, a run with its draw, and what nothing needs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import canonical_json, sha256_of, sha256_of_file
from mixproof.ledger.maintenance.garbage import find_garbage, remove_garbage
from mixproof.ledger.maintenance.inventory import take_inventory
from mixproof.ledger.maintenance.verify import verify_store
from mixproof.ledger.store import Store, publish_bytes

DAY_SECONDS = 24 * 3600.0


def put(store: Store, stage: str, name: str, data: bytes, facts: dict[str, str] | None = None) -> str:
    """One output of one file; returns its place."""
    key = sha256_of([stage, name])
    with store.attempt(stage, key) as attempt:
        attempt.path(name).write_bytes(data)
        attempt.commit(facts=facts)
    return f"{stage}/{key}"


def put_build(store: Store, *places: str) -> str:
    """A manifest that names these places, and a pointer to it."""
    data = canonical_json({"paths": list(places)})
    build = hashlib.sha256(data).hexdigest()
    publish_bytes(data, store.path(f"builds/{build}/manifest.json"))
    publish_bytes(canonical_json({"build": build}), store.path(f"builds/by-spec/{sha256_of(build)}.json"))
    return f"builds/{build}"


def put_run(store: Store, build: str, draw: str, seed: int) -> str:
    """A run on that build and draw, with a file of metrics."""
    config = {"mixture": "half", "proxy": "nano", "seed": seed, "build": build.split("/")[1], "draw": draw}
    identity = canonical_json({"config": config})
    folder = f"train/{hashlib.sha256(identity).hexdigest()}"
    publish_bytes(identity, store.path(f"{folder}/identity.json"))
    publish_bytes(b"loss", store.path(f"{folder}/metrics.jsonl"))
    files = {"metrics.jsonl": sha256_of_file(store.path(f"{folder}/metrics.jsonl"))}
    record = canonical_json({"build": config["build"], "files": files, "index": {}})
    publish_bytes(record, store.path(f"{folder}/run.json"))
    return folder


def age(store: Store, days: float) -> None:
    """Make everything in a store as old as that."""
    for path in (store.root, *store.root.rglob("*")):
        then = path.stat().st_mtime - days * DAY_SECONDS
        os.utime(path, (then, then))


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """Names of the entries of a store at `tmp_path`, all of them two days old."""
    store = Store(tmp_path)
    made = {
        "read": put(store, "read", "documents.parquet", b"12345678"),
        "encode": put(store, "encode", "a-train-00000.bin", b"1234"),
        "tokenizer": put(store, "tokenizer", "tok.model", b"12"),
        "draw": put(store, "draw", "a.bin", b"123"),
        "old draw": put(store, "draw", "b.bin", b"1"),
    }
    made["assemble"] = put(store, "assemble", "memo", b"", {"key": made["encode"].split("/")[1]})
    made["build"] = put_build(store, f"{made['encode']}/a-train-00000", made["tokenizer"])
    made["other build"] = put_build(store, made["tokenizer"])
    made["run"] = put_run(store, made["build"], made["draw"], 1)
    (tmp_path / ".attempts" / "read-killed").mkdir()
    (tmp_path / ".attempts" / "read-killed" / "half").write_bytes(b"12345")
    age(store, 2)
    return made


def test_an_inventory_names_sizes_and_who_refers_to_whom(tmp_path: Path, places: dict[str, str]) -> None:
    inventory = take_inventory(Store(tmp_path))
    assert set(inventory.entries) == set(places.values())
    run, encode = inventory.entries[places["run"]], inventory.entries[places["encode"]]
    assert run.label == "half × nano × seed 1"
    assert set(run.refers_to) == {places["build"], places["draw"]}
    receipt = tmp_path / places["encode"] / "receipt.json"
    assert (encode.files, encode.bytes) == (2, 4 + receipt.stat().st_size)
    assert set(inventory.referred_by[places["encode"]]) == {places["build"], places["assemble"]}
    assert set(inventory.referred_by[places["tokenizer"]]) == {places["build"], places["other build"]}
    assert inventory.referred_by[places["read"]] == ()
    assert [path.name for path in inventory.attempts] == ["read-killed"]


def test_an_output_without_its_last_record_is_unfinished(tmp_path: Path, places: dict[str, str]) -> None:
    (tmp_path / places["read"] / "receipt.json").unlink()
    (tmp_path / places["run"] / "run.json").unlink()
    states = {entry.name: entry.state for entry in take_inventory(Store(tmp_path)).entries.values()}
    unfinished = {name for name, state in states.items() if state == "unfinished"}
    assert unfinished == {places["read"], places["run"]}


def test_verify_reads_every_checksum_and_names_what_differs(tmp_path: Path, places: dict[str, str]) -> None:
    store = Store(tmp_path)
    verified = verify_store(store)
    # six receipts of a file each, two manifests, and the run's identity and metrics
    assert (verified.ok, verified.files) == (True, 10)
    changed = [
        f"{places['read']}/documents.parquet",
        f"{places['run']}/metrics.jsonl",
        f"{places['run']}/identity.json",
        f"{places['build']}/manifest.json",
    ]
    for name in changed:
        path = store.path(name)
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert [file.file for file in verify_store(store).wrong] == [str(path)], name
        path.write_bytes(data)
    store.path(changed[0]).unlink()
    store.path(f"{places['draw']}/receipt.json").write_text("{}")
    wrong = {file.file: file.found for file in verify_store(store).wrong}
    assert wrong[str(store.path(changed[0]))] == "cannot be read: No such file or directory"
    assert str(store.path(f"{places['draw']}/receipt.json")) in wrong


def test_what_no_build_or_run_needs_goes_and_nothing_else(tmp_path: Path, places: dict[str, str]) -> None:
    store = Store(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    garbage = find_garbage(store)
    gone = {places["read"], places["assemble"], places["old draw"]}
    assert {entry.name for entry in garbage.entries} == gone
    assert [path.name for path in garbage.attempts] == ["read-killed"]
    assert garbage.bytes == sum(path.stat().st_size for name in gone for path in (tmp_path / name).iterdir()) + len(
        b"12345"
    )
    assert sorted(tmp_path.rglob("*")) == before, "nothing goes before it is asked for"
    remove_garbage(store, garbage)
    assert set(take_inventory(store).entries) == set(places.values()) - gone
    assert not list((tmp_path / ".attempts").iterdir())
    assert len(list(tmp_path.glob("builds/by-spec/*.json"))) == 2
    assert verify_store(store).ok
    assert not find_garbage(store).entries


@pytest.mark.parametrize("link", [".attempts", "read", f"draw/{'a' * 64}", "builds/by-spec"])
def test_nothing_that_a_link_in_a_store_of_another_team_leads_to_is_removed(tmp_path: Path, link: str) -> None:
    mine = tmp_path / "mine" / sha256_of("an output of another store")
    mine.mkdir(parents=True)
    (mine / "thesis.tex").write_text("years of work")
    store = Store(tmp_path / "store")
    garbage = find_garbage(store, age_seconds=0)
    path = store.root / link
    path.parent.mkdir(parents=True)
    path.symlink_to(mine.parent)
    with pytest.raises(RequestError, match=f"^{path}: is a link to {mine.parent}; gc removes nothing"):
        find_garbage(store, age_seconds=0)
    with pytest.raises(RequestError, match="is a link"):
        remove_garbage(store, garbage)
    assert take_inventory(store).attempts == ()
    assert (mine / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("raw", [b"[]", b'{"build": {}}', b"\xff", b"[" * 100_000])
def test_pointers_that_are_none_are_ignored(tmp_path: Path, raw: bytes) -> None:
    publish_bytes(raw, tmp_path / "builds" / "by-spec" / "a.json")
    assert find_garbage(Store(tmp_path)).pointers == ()


def test_folders_of_something_else_that_are_named_by_checksums_stay(tmp_path: Path, places: dict[str, str]) -> None:
    store = Store(tmp_path)
    foreign = tmp_path / "lfs" / ("ab" * 32) / "model.bin"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"of another tool")
    age(store, days=2)
    found = find_garbage(store)
    assert found.unknown == ("lfs",) and found.entries and not any(entry.stage == "lfs" for entry in found.entries)
    remove_garbage(store, found)
    assert foreign.read_bytes() == b"of another tool"


def test_what_is_young_stays_for_a_command_may_be_about_to_refer_to_it(tmp_path: Path, places: dict[str, str]) -> None:
    store = Store(tmp_path)
    young = put(store, "read", "new.parquet", b"1")
    found = find_garbage(store)
    assert young not in {entry.name for entry in found.entries}
    assert found.kept_for_age == 1
    assert young in {entry.name for entry in find_garbage(store, age_seconds=0).entries}
    assert places["read"] not in {entry.name for entry in find_garbage(store, age_seconds=3 * DAY_SECONDS).entries}


def test_a_build_goes_when_it_is_named_with_what_only_it_needed(tmp_path: Path, places: dict[str, str]) -> None:
    store = Store(tmp_path)
    key = places["other build"].split("/")[1]
    garbage = find_garbage(store, drop=[key[:12]])
    assert places["other build"] in {entry.name for entry in garbage.entries}
    assert places["tokenizer"] not in {entry.name for entry in garbage.entries}
    assert len(garbage.pointers) == 1
    with pytest.raises(RequestError, match=f"{places['run']} needs it"):
        find_garbage(store, drop=[places["build"]])
    everything = find_garbage(store, drop=[places["build"], places["run"], places["other build"]])
    assert {entry.name for entry in everything.entries} == set(places.values())
    remove_garbage(store, everything)
    assert take_inventory(store).entries == {}
    assert not list(tmp_path.glob("builds/by-spec/*.json"))


@settings(max_examples=25)
@given(data=st.data())
def test_whatever_refers_to_whatever_no_kept_build_or_run_loses_what_it_needs(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Outputs refer to outputs at random, builds to outputs, runs to a build and an output; some are dropped."""
    store = Store(tmp_path_factory.mktemp("store"))
    outputs: list[str] = []
    for number in range(data.draw(st.integers(1, 4))):
        named = {place: place for place in data.draw(st.sets(st.sampled_from(outputs)) if outputs else st.just(set()))}
        outputs.append(put(store, data.draw(st.sampled_from(["read", "encode", "draw"])), str(number), b"1", named))
    builds = [
        put_build(store, str(number), *data.draw(st.sets(st.sampled_from(outputs))))
        for number in range(data.draw(st.integers(1, 3)))
    ]
    runs = [
        put_run(store, data.draw(st.sampled_from(builds)), data.draw(st.sampled_from(outputs)), seed)
        for seed in range(data.draw(st.integers(0, 2)))
    ]
    before = take_inventory(store)
    drop = data.draw(st.sets(st.sampled_from([*builds, *runs])))
    kept = set(before.roots) - drop
    try:
        garbage = find_garbage(store, drop=sorted(drop), age_seconds=0)
    except RequestError:
        assert drop & before.needed_by(kept)
        return
    remove_garbage(store, garbage)
    after = take_inventory(store)
    assert set(after.entries) == before.needed_by(kept)
    assert verify_store(store).ok


@pytest.mark.parametrize("name", ["", "zzz", "draw"])
def test_what_is_no_build_or_run_cannot_be_dropped(tmp_path: Path, places: dict[str, str], name: str) -> None:
    assert places
    with pytest.raises(RequestError, match="no build or run has this key"):
        find_garbage(Store(tmp_path), drop=[name])
