"""One source of conversations in the forms of Megatron-Bridge and of trl: every conversation once, masks by label."""

from __future__ import annotations

import json
import pydoc_data.topics
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from conversations import QUESTIONS, answer, write_conversations
from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.source import Conversations
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.chat.conversations import FORMS
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.tokenize.build import BuildResult, build
from mixproof.tokenize.tokenizer.train_tokenizer import train_model
from mixproof.train.export.to_packed_parquet import export_packed_parquet
from mixproof.train.export.to_trl import export_trl, trl_record


class InThisProcess(Cluster):
    """Runs tasks one after the other, without Ray."""

    def run(self, function: Callable[..., Any], calls: Sequence[tuple[object, ...]], **_: Any) -> list[Any]:  # noqa: ANN401
        """Give the results of the calls, in order."""
        return [function(*call) for call in calls]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[BuildResult, Store]:
    folder = tmp_path_factory.mktemp("conversations")
    model = folder / "made.model"
    model.write_bytes(train_model([str(text) for text in pydoc_data.topics.topics.values()], 600))
    write_conversations(folder / "corpus", model)
    store = Store(folder / "store")
    return build(load_spec(folder / "corpus" / "spec.yaml"), store, InThisProcess()), store


def test_a_pack_holds_whole_conversations_and_weighs_labels(built: tuple[BuildResult, Store], tmp_path: Path) -> None:
    result, store = built
    split = result.manifest.sources["chat"].train
    done = export_packed_parquet(result.manifest, store, "chat", 160, tmp_path / "out")
    assert (done.conversations, done.tokens) == (split.documents, split.tokens)
    assert done.supervised_tokens == split.supervised_tokens
    (part,) = split.datasets
    ids, mask = (
        np.fromfile(store.path(f"{part.prefix}.bin"), np.uint16),
        np.fromfile(store.path(f"{part.prefix}.mask"), np.uint8),
    )
    ends = np.cumsum(pq.read_table(store.path(part.provenance))["tokens"].to_numpy())
    expected = {tuple(ids[a:b].tolist()): mask[a:b].tolist() for a, b in pairwise([0, *ends])}
    table = pq.read_table(tmp_path / "out" / done.files[0])
    assert [str(kind) for kind in table.schema.types] == ["list<element: int32>"] * 2 + ["list<element: int8>"]
    for row in table.to_pylist():
        bounds = [*row["seq_start_id"], len(row["input_ids"])]
        assert bounds[0] == 0 and len(row["input_ids"]) <= 160
        for start, end in pairwise(bounds):
            own = expected.pop(tuple(row["input_ids"][start:end]))
            assert row["loss_mask"][start:end] == [*own[1:], 0], "position i weighs the label at i + 1"
    assert expected == {}
    assert done.packs == 5 and done.conversations == 10 and done.longer == 0


def test_a_conversation_longer_than_a_pack_has_one_of_its_own(built: tuple[BuildResult, Store], tmp_path: Path) -> None:
    result, store = built
    done = export_packed_parquet(result.manifest, store, "chat", 8, tmp_path / "out")
    assert done.packs == done.conversations == done.longer


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("chat", {"system": "Be short.", "prompt": "2 + 2?", "response": "4"}),
        ("preferences", {"question": "2 + 2?", "chosen": "4", "rejected": "5", "score_chosen": 3, "margin": 0.5}),
        ("preferences", {"prompt": "2 + 2?", "chosen": "4", "rejected": "5", "chosen_rating": 3, "rejected_rating": 1}),
        ("ratings", {"instruction": "Add.", "input": "2 + 2", "output": "4", "attributes": {"good": 1}}),
    ],
)
def test_a_record_for_trl_is_read_as_the_same_example(kind: Conversations, fields: dict[str, Any]) -> None:
    example = FORMS[kind](fields)
    assert FORMS[kind](json.loads(json.dumps(trl_record(example, kind)))) == example


def test_trl_gets_the_messages_of_both_sides(built: tuple[BuildResult, Store], tmp_path: Path) -> None:
    result, store = built
    spec, files = result.loaded.spec, find_files(result.loaded.spec, result.loaded.base)
    for name, size in (("chat", 12), ("pairs", 8), ("rated", 12)):
        counts = export_trl(result.manifest, store, name, spec, files[name], tmp_path / name)
        assert sum(counts.values()) == size and counts["heldout"] >= 2
        lines = [json.loads(line) for line in (tmp_path / name / "train.jsonl").read_text().splitlines()]
        assert len(lines) == counts["train"]
    number = QUESTIONS.index(lines[0]["prompt"][0]["content"].removesuffix(" Why?"))
    assert lines[0]["prompt"] == [{"role": "user", "content": f"{QUESTIONS[number]} Why?"}]
    assert lines[0]["completion"][0]["content"].startswith(answer(number))
    assert set(lines[0]["attributes"]) <= {"good", "long"}


def test_what_cannot_be_exported_is_refused_with_what_can(built: tuple[BuildResult, Store], tmp_path: Path) -> None:
    result, store = built
    with pytest.raises(RequestError, match="--source nobody: not in the build; .*: chat, pairs, rated"):
        export_packed_parquet(result.manifest, store, "nobody", 128, tmp_path / "out")
    with pytest.raises(RequestError, match="answers that must not be imitated; use --format trl"):
        export_packed_parquet(result.manifest, store, "pairs", 128, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_raw_file_that_changed_since_the_build_is_refused(built: tuple[BuildResult, Store], tmp_path: Path) -> None:
    result, store = built
    spec, files = result.loaded.spec, find_files(result.loaded.spec, result.loaded.base)
    other = tmp_path / "rated.jsonl"
    other.write_text(Path(files["rated"][0].url).read_text().replace("size", "Size"))
    changed = replace(files["rated"][0], url=str(other), bytes=other.stat().st_size)
    with pytest.raises(RequestError, match="has changed since the build; build again"):
        export_trl(result.manifest, store, "rated", spec, [changed], tmp_path / "out")
