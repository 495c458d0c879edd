"""Score one finished run on external sets and tasks, in a worker; `external` describes the files it writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mixproof.ledger.store.receipt import seal
from mixproof.tokenize.tokenizer.reference import load_reference
from mixproof.train.checkpoint.weights import FinishedRun, load_model, open_finished_run
from mixproof.train.distributed import process_group
from mixproof.train.evaluate.answers import AnswerScorer
from mixproof.train.evaluate.evaluate import evaluate, scores_table
from mixproof.train.evaluate.heldout_parts import is_lossless

from .external_results import Benchmark, result_path
from .external_sets import ExternalSet, read_external_set
from .external_tasks import TaskFolder, score_tasks
from .question_sets import QuestionSet, score_questions


def score_run(run_path: str, benchmarks: Sequence[Benchmark]) -> None:
    """Score the run at a path or URL on `benchmarks`, and write the results into its folder."""
    run = open_finished_run(run_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with process_group("cpu") as ranks:
            model = load_model(run, ranks.device)
            for benchmark in benchmarks:
                score = _score_set if isinstance(benchmark, ExternalSet) else _score_answers
                _publish(run, benchmark, *score(run, model, benchmark, ranks.device))  # type: ignore[arg-type]
    finally:
        torch.set_num_threads(threads)


def _score_set(run: FinishedRun, model: Any, chosen: ExternalSet, device: torch.device) -> tuple[dict[str, Any], Any]:  # noqa: ANN401
    tokenizer = run.manifest().tokenizer
    reference = load_reference(str(run.store.path(tokenizer.path)))
    documents = read_external_set(chosen, reference, tokenizer)
    length = run.record.sequence_length
    scores = evaluate(model, documents, eod_id=tokenizer.eod_id, sequence_length=length, device=device)
    row = {
        "bits_per_byte": scores.bits_per_byte,
        "loss": scores.loss,
        "tokens": scores.tokens,
        "bytes": scores.text_bytes,
        "documents": len(documents.file),
        "lossless": is_lossless(documents, reference.decode, before=tokenizer.around - 1),
    }
    return row, scores_table([scores])


def _score_answers(
    run: FinishedRun,
    model: Any,  # noqa: ANN401
    asked: QuestionSet | TaskFolder,
    device: torch.device,
) -> tuple[dict[str, Any], Any]:
    tokenizer = run.manifest().tokenizer
    reference = load_reference(str(run.store.path(tokenizer.path)))
    scorer = AnswerScorer(model, reference, tokenizer, sequence_length=run.record.sequence_length, device=device)
    if isinstance(asked, QuestionSet):
        scores = [score_questions(asked, scorer)]
    else:
        from .harness_model import HarnessModel  # the harness takes seconds to load

        scores = score_tasks(asked, HarnessModel(scorer))
    answers = [vars(answer) for one in scores for answer in one.answers]
    return {one.name: one.to_json() for one in scores}, pa.Table.from_pylist(answers)


def _publish(run: FinishedRun, benchmark: Benchmark, row: dict[str, Any], table: Any) -> None:  # noqa: ANN401  pyarrow ships no types
    path = result_path(run.record.key, benchmark)
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    run.store.write(f"{path.removesuffix('.json')}.parquet", buffer.getvalue())
    statement = {
        "run": run.record.key,
        "of": benchmark.identity,
        "scores": row,
        "losses_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
    }
    run.store.write(path, seal(json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()))
