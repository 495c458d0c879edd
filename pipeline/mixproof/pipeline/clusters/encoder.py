"""Embed texts with a transformer encoder: one text at a time, in float32, on one thread of the CPU.

A library picks its kernels by the shape of a batch, so the last bits of a text's vector would depend on the texts
beside it. Alone, without padding and on one thread, a text has the same vector in any shard, batch and worker. Its
vector is normalized and rounded to whole numbers of length LENGTH: further arithmetic is exact, as for static tables.
Another type of CPU, or another version of torch, can round a number differently.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError

from .encoder_files import EncoderFiles
from .encoder_size import check_size

LENGTH = 4096
"""Length of a vector."""
UNUSED = "pooler."
"""Weights after the last layer, which checkpoints of language models lack; vectors do not depend on them."""
PROBE_TOKENS = 1024
Forward = Callable[[Sequence[int]], NDArray[np.float32]]
"""Of the ids of one text, the pooled vector: float32 [dimensions]."""


def encode(texts: Sequence[str], files: EncoderFiles) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Embed texts up to the encoder's longest input.

    Returns:
        Whole numbers of length LENGTH, float64 [texts, dimensions], zero for a text without tokens; and the number of
        tokens of each whole text without special tokens, int64 [texts].

    Raises:
        RequestError: when the encoder cannot be used, or gives values that are not finite.
    """
    tokenizer, forward = _load(files)
    room = files.max_tokens - tokenizer.num_special_tokens_to_add(is_pair=False)
    found, lengths = np.zeros((len(texts), files.dimensions)), np.zeros(len(texts), np.int64)
    with _one_thread():
        for row, text in enumerate(texts):
            tokens = tokenizer.encode(text, add_special_tokens=False)
            lengths[row] = len(tokens)
            if len(tokens):
                tokens.truncate(room)
                vector = forward(tokenizer.post_process(tokens).ids).astype(np.float64)
                length = np.sqrt((vector * vector).sum())
                if not np.isfinite(length):
                    raise RequestError(f"{files.folder}: the encoder gives values that are not finite")
                found[row] = np.rint(vector * (LENGTH / max(length, np.finfo(np.float32).tiny)))
    return found, lengths


def check_encoder(files: EncoderFiles) -> None:
    """Load an encoder and embed a long text, to refuse before any work what would fail in a task.

    Raises:
        RequestError: when it cannot be used.
    """
    try:
        encode(["a " * min(files.max_tokens, PROBE_TOKENS)], files)
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise RequestError(f"{files.folder}: the encoder cannot embed {files.max_tokens} tokens: {error}") from error


@functools.lru_cache(maxsize=1)
def _load(files: EncoderFiles) -> tuple[Any, Forward]:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(files.tokenizer)
    except Exception as error:  # tokenizers raises no class of its own
        raise RequestError(f"{files.tokenizer}: not a tokenizer of the package tokenizers: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    model = _model(files)
    ids, rows = tokenizer.get_vocab_size(), int(model.get_input_embeddings().weight.shape[0])
    if ids > rows:
        raise RequestError(
            f"{files.tokenizer}: has {ids} tokens, but the model has {rows}; use the model's own tokenizer"
        )
    import torch

    def forward(ids: Sequence[int]) -> NDArray[np.float32]:
        given = torch.tensor([ids])
        with torch.inference_mode():
            hidden = model(input_ids=given, attention_mask=torch.ones_like(given)).last_hidden_state[0]
            pooled: NDArray[np.float32] = (hidden[0] if files.pooling == "cls" else hidden.mean(dim=0)).numpy()
        return pooled

    return tokenizer, forward


def _model(files: EncoderFiles) -> Any:  # noqa: ANN401  a model of transformers
    """Load the weights in float32, from safetensors alone, without code of the folder and without network."""
    from safetensors import SafetensorError
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        check_size(files)
        model, loaded = AutoModel.from_pretrained(
            files.folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype="float32",
            ignore_mismatched_sizes=True,  # they are in what is returned, and refused below
            output_loading_info=True,
        )
    except (SafetensorError, ImportError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise RequestError(f"{files.folder}: transformers cannot load this encoder: {error}") from error
    missing = sorted(name for name in loaded["missing_keys"] if not name.startswith(UNUSED))
    missing += sorted(str(each[0]) for each in loaded["mismatched_keys"])
    if missing:
        raise RequestError(
            f"{files.folder}: the weights lack {missing[0]} ({len(missing)} in all), or its shape differs"
        )
    return model.eval()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread of the CPU: with more, sums are divided among them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
