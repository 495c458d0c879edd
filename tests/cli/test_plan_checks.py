"""Plan refuses caps that no plausible number of tokens satisfies, and warns where only the estimate exceeds a cap."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from mixproof.cli.commands.plan import make_plan
from mixproof.cli.plan_report import plan_json, print_plan
from mixproof.cli.request import open_request
from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.errors import SpecError
from mixproof.pipeline.heldout.heldout_size import heldout_sizes

SPEC = """\
schema: 1
name: caps
sources:
  a: {files: a.jsonl}
  b: {files: b.jsonl}
heldout: {create: {tokens: 1K, min_documents: 10}}
tokenizer: {train: {vocab_size: 8000}}
mixtures: {half: {a: 50%, b: 50%}}
train:
  sequence_length: 10
  proxies:
    nano: {tokens: TOKENS, global_batch_size: 10, lr: 1.0e-3}
"""


def write(folder: Path, tokens: int, sizes: Sequence[int] = (4_000, 400_000)) -> Path:
    for name, size in zip("ab", sizes, strict=True):
        (folder / f"{name}.jsonl").write_bytes(b" " * size)
    (folder / "spec.yaml").write_text(SPEC.replace("TOKENS", str(tokens)))
    return folder / "spec.yaml"


def test_a_cap_is_refused_before_a_build_where_no_plausible_number_of_tokens_satisfies_it(tmp_path: Path) -> None:
    # 4,000 bytes are about 1,000 tokens and plausibly at most 2,000: 199 windows of 10, 796 samples within 4 epochs
    request = open_request(write(tmp_path, 16_000), str(tmp_path / "store"))
    message = r"spec\.yaml:8: mixtures\.half\.a: the run at proxy nano needs 8,000 tokens of a .* supplies 7,960"
    with pytest.raises(SpecError, match=message) as caught:
        make_plan(request)
    assert caught.value.exit_code == 2
    assert "no build yet" in caught.value.__notes__[0]
    assert not (tmp_path / "store").exists()


def test_a_cap_within_the_margin_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # 7,900 tokens are 790 samples of 99 windows: 7.98 epochs by the estimate, 3.97 with the most plausible tokens
    planned = make_plan(open_request(write(tmp_path, 15_800), str(tmp_path / "store")))
    warnings = plan_json(planned)["may_exceed_caps"]
    assert isinstance(warnings, list)
    (found,) = warnings
    assert (found["mixture"], found["run"], found["source"], found["max_epochs"]) == ("half", "nano", "a", 4.0)
    assert found["epochs"] == pytest.approx(790 / 99)
    print_plan(planned)
    shown = " ".join(capsys.readouterr().out.split())
    assert "warning: half: proxy nano would see a for about 7.98 epochs, above its cap of 4" in shown


def test_a_cap_that_the_estimate_satisfies_is_no_warning(tmp_path: Path) -> None:
    planned = make_plan(open_request(write(tmp_path, 7_800), str(tmp_path / "store")))
    assert plan_json(planned)["may_exceed_caps"] == []


def test_a_small_vocabulary_may_need_a_token_per_byte(tmp_path: Path) -> None:
    spec = write(tmp_path, 30_000)
    spec.write_text(spec.read_text().replace("vocab_size: 8000", "vocab_size: 400"))
    make_plan(open_request(spec, str(tmp_path / "store")))  # at most 4,000 tokens, 1,596 samples within 4 epochs
    spec.write_text(spec.read_text().replace("30000", "32000"))
    with pytest.raises(SpecError, match="supplies 15,960"):
        make_plan(open_request(spec, str(tmp_path / "store")))


def _source(documents: int, heldout: int, train: int = 90_000) -> dict[str, object]:
    def side(tokens: int, documents: int) -> dict[str, object]:
        return {"documents": documents, "tokens": tokens, "eod_tokens": 0, "bytes": 4 * tokens, "datasets": []}

    inputs = {"path": "read/x/inputs.parquet", "sha256": "0", "files": 1, "records": 0, "bytes": 1}
    return {"inputs": inputs, "train": side(train, 100), "heldout": side(heldout, documents), "ledger": []}


def test_a_held_out_set_that_min_documents_made_larger_is_named_with_its_share(tmp_path: Path) -> None:
    spec = open_request(write(tmp_path, 7_800), str(tmp_path / "store")).spec
    manifest = Manifest.model_validate(
        {
            "schema": 1,
            "mixproof": "0.1.0",
            "spec": {},
            "spec_sha256": "0",
            "tokenizer": {"kind": "sentencepiece", "path": "t", "sha256": "0", "vocab_size": 10, "eod_id": 2},
            # a: ten documents of 10,000 tokens; b: 1,050 tokens, because its last document is longer than needed
            "sources": {"a": _source(10, 10_000), "b": _source(10, 1_050), "c": _source(12, 5_000)},
            "dedup_matrix": [],
            "totals": {"documents": 0, "tokens": 0, "bytes": 0},
        }
    )
    (grown,) = (size for size in heldout_sizes(spec, manifest) if size.has_grown)
    assert str(grown) == (
        "a: 10,000 tokens in 10 documents, 10.0% of the source; 1,000 tokens were requested, but "
        "heldout.create.min_documents is 10"
    )


def test_a_held_out_set_that_min_documents_would_enlarge_is_a_warning_with_its_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 40 documents of 2,000 bytes: 10 of them are 5,000 tokens, a quarter of the source, and 1,000 were requested
    path = write(tmp_path, 800)
    record = b'{"text": "%s"}\n' % (b"y" * 2000)
    (tmp_path / "b.jsonl").write_bytes(record * 40)
    planned = make_plan(open_request(path, str(tmp_path / "store")))
    (size,) = planned.growing_heldout  # of `a` no record is known
    share = pytest.approx(10 * 2000 / (40 * len(record)), abs=0.01)
    expected = {"source": "b", "requested_tokens": 1000, "tokens": 5000, "documents": 10, "share": share}
    assert plan_json(planned)["heldout_may_grow"] == [expected]
    assert size.has_grown
    print_plan(planned)
    shown = " ".join(capsys.readouterr().out.split())
    assert "warning: held out of b: 5,000 tokens in 10 documents, 24.8% of the source; 1,000 tokens were" in shown
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "short"}\n' * 4000)
    assert make_plan(open_request(path, str(tmp_path / "store"))).growing_heldout == ()
