"""Requests for real small runs: the Python manual, encoded by a SentencePiece model trained on it."""

from __future__ import annotations

import pydoc_data.topics
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from megatron.core.tensor_parallel.layers import LinearWithGradAccumulationAndAsyncCommunication

from mixproof.mixtures.budget import RunBudget
from mixproof.tokenize.sentencepiece import load_processor
from mixproof.tokenize.train_tokenizer import train_model
from mixproof.train.distributed import Ranks, process_group
from mixproof.train.draw import make_draw
from mixproof.train.record import ArchitectureRecord, MasksRecord
from mixproof.train.request import Recipe, RunRequest

TOPICS: list[str] = [str(text) for text in pydoc_data.topics.topics.values()]
VOCAB_SIZE = 600


@pytest.fixture(scope="session")
def model_bytes() -> bytes:
    """A SentencePiece model of 600 pieces."""
    return train_model(TOPICS, VOCAB_SIZE)


@pytest.fixture
def ranks() -> Iterator[Ranks]:
    """A process group of one rank on the CPU, one thread as in a worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with process_group("cpu") as ranks:
        yield ranks
    torch.set_num_threads(threads)


@pytest.fixture
def types_as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Megatron's matrices go backward under the autocast of their forward pass on a CPU too, as on CUDA alone."""
    matrix = LinearWithGradAccumulationAndAsyncCommunication
    forward = torch.amp.custom_fwd(matrix.forward.__wrapped__, device_type="cpu")
    backward = torch.amp.custom_bwd(matrix.backward.__wrapped__, device_type="cpu")
    monkeypatch.setattr(matrix, "forward", staticmethod(forward))
    monkeypatch.setattr(matrix, "backward", staticmethod(backward))


@pytest.fixture
def make_encoded(make_corpus: Callable[..., Any], model_bytes: bytes, tmp_path: Path) -> Callable[..., Any]:
    """Make a build of two sources, `manual` and `guide`, at a place, with its tokenizer."""
    path = tmp_path / "tok.model"
    path.write_bytes(model_bytes)
    encoded: list[list[int]] = load_processor(str(path)).encode(TOPICS)
    train = {"manual": encoded[0:24], "guide": encoded[24:48]}
    heldout = {"manual": encoded[48:52], "guide": encoded[52:56]}

    def make(place: str = "store") -> Any:  # noqa: ANN401  the Corpus of the room's conftest
        corpus = make_corpus(train, heldout, vocab_size=VOCAB_SIZE, place=place)
        tokenizer = corpus.store.path(corpus.manifest.tokenizer.path)
        tokenizer.parent.mkdir(parents=True, exist_ok=True)
        tokenizer.write_bytes(model_bytes)
        return corpus

    return make


@pytest.fixture
def encoded_corpus(make_encoded: Callable[..., Any]) -> Any:  # noqa: ANN401  the Corpus of the room's conftest
    """A build of two sources, `manual` and `guide`."""
    return make_encoded()


@pytest.fixture
def make_request(make_encoded: Callable[..., Any], make_budget: Callable[..., RunBudget]) -> Callable[..., RunRequest]:
    """Ask for a run of two layers on two sources, three samples of `manual` for each of `guide`."""

    def make(
        *,
        steps: int = 8,
        lr: str = "0.003",
        seed: int = 1,
        checkpoint_steps: int | None = None,
        global_batch_size: int = 4,
        place: str = "store",
        **execution: Any,  # noqa: ANN401  fields of a request
    ) -> RunRequest:
        corpus = make_encoded(place)
        samples = steps * global_batch_size
        budget = make_budget(
            32, {"guide": samples // 4, "manual": samples - samples // 4}, global_batch_size=global_batch_size
        )
        changes = {"warmup_steps": 2, "decay_steps": 3, "checkpoint_steps": checkpoint_steps}
        declared = {"guide": Fraction(1, 4), "manual": Fraction(3, 4)}
        return RunRequest(
            store=str(corpus.store),
            build=corpus.manifest.build,
            spec_name="test",
            mixture="half",
            proxy="tiny",
            seed=seed,
            architecture=ArchitectureRecord(layers=2, hidden=32, ffn=64, heads=4, kv_heads=2, head_dim=8),
            recipe=Recipe(
                lr=lr, min_lr="0.0003", shape="minus_sqrt", weight_decay="0.1", clip="1", betas=("0.9", "0.95")
            ),
            masks=MasksRecord(document_mask=False, eod_mask_loss=False, reset_position_ids=False),
            rope_base=10000,
            budget=RunBudget(**{**vars(budget), **changes, "declared": declared}),
            tokenizer=corpus.manifest.tokenizer,
            draws={name: make_draw(corpus.store, corpus.manifest, name, 1 << 20) for name in corpus.manifest.sources},
            heldout={name: source.heldout for name, source in corpus.manifest.sources.items()},
            device="cpu",
            **{"micro_batch_size": None, **execution},
        )

    return make
