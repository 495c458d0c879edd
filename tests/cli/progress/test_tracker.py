"""Which stage a command is in, from the labels of its tasks."""

from __future__ import annotations

from pathlib import Path

from conftest import SPEC
from mixproof.cli.progress.stage_line import StageState
from mixproof.cli.progress.stages import (
    AUDIT,
    CHECKSUMS,
    DATASETS,
    DECONTAMINATE,
    DRAWS,
    ENCODE,
    EXACT,
    FUZZY,
    HELDOUT,
    LABELS,
    READ,
    REMOVED,
    TOKENIZER,
    TRAIN,
    VALUES,
    stages_of,
)
from mixproof.cli.progress.tracker import Tracker
from mixproof.mixtures.load import load_spec
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.task_progress import START, TaskProgress

BUILD = (CHECKSUMS, READ, EXACT, TOKENIZER, HELDOUT, DECONTAMINATE, ENCODE, DATASETS, REMOVED)


def spec_of(text: str, folder: Path) -> Spec:
    path = folder / "s.yaml"
    path.write_text(text)
    return load_spec(path).spec


def test_a_spec_says_which_stages_there_are(tmp_path: Path) -> None:
    spec = spec_of(SPEC, tmp_path)
    assert stages_of(spec, "build") == BUILD
    assert stages_of(spec, "run") == (*BUILD, AUDIT, DRAWS, TRAIN)
    assert stages_of(spec, "train") == (DRAWS, TRAIN)
    other = SPEC.replace("{exact: true,", "{fuzzy: true,").replace('guide.jsonl"', 'guide.jsonl", split_by: id')
    other = other.replace("{create: {tokens: 4K, min_documents: 3}}", "{from: m.json}").split("mixtures:")[0]
    train = "train: {proxies: {nano: {tokens: 1M, global_batch_size: 8, lr: 1.0e-3}}}\n"
    found = stages_of(spec_of(f"{other}mixtures: {{a: {{rule: proportional}}}}\n{train}", tmp_path), "build")
    assert found == (CHECKSUMS, VALUES, READ, EXACT, FUZZY, DECONTAMINATE, TOKENIZER, ENCODE, DATASETS, REMOVED)


def test_parts_of_a_stage_are_one_stage_and_the_next_stage_ends_it() -> None:
    tracker = Tracker((CHECKSUMS, READ, FUZZY, ENCODE))
    assert tracker.state(0.0) is None
    assert tracker.take(TaskProgress("start", 0, 1), 1.0) is None
    assert tracker.take(TaskProgress("minhash", 0, 2, 0, 100), 5.0) is None, "the start of Ray is no stage"
    tracker.take(TaskProgress("minhash", 2, 2, 100, 100), 8.0)
    tracker.take(TaskProgress("fuzzy keepers", 0, 3), 9.0)
    assert tracker.state(10.0) == StageState(FUZZY, 3, 4, TaskProgress("fuzzy keepers", 0, 3), 1.0)
    tracker.take(TaskProgress("fuzzy keepers", 3, 3), 11.0)
    ended = tracker.take(TaskProgress("encode", 0, 1), 12.0)
    assert ended == StageState(FUZZY, 3, 4, TaskProgress("minhash", 2, 2, 100, 100), 7.0)
    assert tracker.end(13.0) is None, "tokenization is not done"


def test_documents_are_reserved_for_the_tokenizer_and_then_held_out() -> None:
    tracker = Tracker(BUILD)
    stages = []
    for now, label in enumerate(("web: by hash", "measure sources", "sample", "train tokenizer", "web: by hash")):
        tracker.take(TaskProgress(label, 0, 1), float(now))
        state = tracker.state(float(now))
        assert state is not None
        stages.append(state.stage)
    assert stages == [TOKENIZER] * 4 + [HELDOUT]


def test_files_of_classifiers_are_read_within_the_labels() -> None:
    tracker = Tracker((CHECKSUMS, READ, LABELS, ENCODE))
    stages = []
    tracker.take(TaskProgress(START, 0, 1), 0.0)
    for now, label in enumerate(("identify", "read", "identify", "read", "classifiers", "labels")):
        tracker.take(TaskProgress(label, 1, 1), float(now))
        state = tracker.state(float(now))
        assert state is not None
        stages.append(state.stage)
    assert stages == [CHECKSUMS, READ, LABELS, LABELS, LABELS, LABELS]
