"""Whether a spec's tokenizer can be used, or trained on the sources' text; checked before any work.

Training is tried on small amounts of text only, at most `TRIED_BYTES`, which takes 0.1 to 0.8 s: a large sample gives
any usual vocabulary. The text tried is not the sample that the build will take, so a size is refused only if it fails
with a margin: with a quarter more text than the sample will have, or for a vocabulary a quarter larger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.tokenizer import TokenizerTraining
from mixproof.mixtures.load import LoadedSpec
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.read.read_task import read_task
from mixproof.pipeline.read.records import records_of
from mixproof.pipeline.read.shards import ShardPlan
from mixproof.pipeline.readers.remote import is_remote
from mixproof.pipeline.record import Raw

from .tokenizer import check_given_tokenizer
from .train_tokenizer import check_vocab_size, train_model

TRIED_BYTES = 1_500_000
SMALL_VOCABULARY = 2_000
"""Below this size, pieces may be too few for the characters of the text."""
READ_FORMATS = frozenset({"jsonl", "parquet", "arrow", "text", "code"})
MARGIN = 1.25
TRAINED_CONTROLS = ("<s>", "</s>")
"""Control pieces of a tokenizer that a build trains: SentencePiece's defaults."""


def check_tokenizer(loaded: LoadedSpec) -> None:
    """Refuse a tokenizer that cannot be used, before anything is read or written.

    Raises:
        RequestError: when the file is not a tokenizer, has no end of document, or no such tokenizer can be trained.
    """
    declared = loaded.spec.tokenizer
    try:
        check_given_tokenizer(loaded)
    except RequestError as error:
        raise _at_key(loaded.spec, error) from error
    if declared.train is not None:
        _refuse_fim(loaded.spec)
        check_vocab_size(declared.train.vocab_size)
        for key, piece in (("eod", declared.eod), ("bos", declared.bos)):
            if isinstance(piece, str) and piece not in TRAINED_CONTROLS:
                raise RequestError(
                    f"{loaded.spec.where('tokenizer', key)}: a tokenizer that is trained here has the control pieces "
                    f"{' and '.join(TRAINED_CONTROLS)}, and not {piece!r}; remove `{key}`"
                )


def _refuse_fim(spec: Spec) -> None:
    for name in spec.sources:
        if spec.fim_of(name) is not None:
            raise RequestError(
                f"{spec.where('sources', name, 'transform', 'fim')}: a tokenizer that is trained here has no tokens "
                "for fill-in-the-middle; use a given tokenizer that has them, or remove `fim`"
            )


def _at_key(spec: Spec, error: RequestError) -> RequestError:
    """Put file and line before an error that starts with a key, as in `tokenizer.eod: ...`."""
    key, colon, message = str(error).partition(": ")
    if not colon or key.partition(".")[0] != "tokenizer":
        return error
    return RequestError(f"{spec.where(*key.split('.'))}: {message}")


def check_vocabulary(spec: Spec, files: Mapping[str, Sequence[InputFile]]) -> None:
    """Refuse a vocabulary that is too large or too small for the text.

    Args:
        spec: as written, with split sources whole.
        files: by source.

    Raises:
        RequestError: when no such vocabulary can be trained.
    """
    training = spec.tokenizer.train
    if training is None:
        return
    inputs = [file for name, found in files.items() for file in found if spec.sources[name].megatron is None]
    if any(is_remote(file.url) or file.format not in READ_FORMATS for file in inputs):
        return
    is_small = min(training.bytes, sum(file.bytes for file in inputs)) * MARGIN <= TRIED_BYTES
    if is_small or training.vocab_size < SMALL_VOCABULARY:
        _try(spec, training, list(_some_texts(spec, inputs, int(MARGIN * training.bytes))))


def _try(spec: Spec, training: TokenizerTraining, texts: Sequence[str]) -> None:
    size = sum(len(text.encode()) for text in texts)
    if size > TRIED_BYTES and training.vocab_size >= SMALL_VOCABULARY:  # packed files that hold much more than expected
        return
    try:
        train_model(texts, training.vocab_size)
    except RequestError as error:
        if "smaller than" in str(error):
            train_again = int(MARGIN * training.vocab_size)
            try:
                train_model(texts, train_again)
            except RequestError:
                raise _with_position(spec, error) from None
            return
        raise _with_position(spec, error) from None


def _with_position(spec: Spec, error: RequestError) -> RequestError:
    return RequestError(f"{spec.where('tokenizer', 'train')}: {str(error).removeprefix('tokenizer.train: ')}")


def _some_texts(spec: Spec, inputs: Sequence[InputFile], most_bytes: int) -> Iterator[str]:
    """Texts of all files in turn, of each until it has given its part of the bytes, by its size."""
    total = sum(file.bytes for file in inputs)
    limit = min(most_bytes, 2 * TRIED_BYTES)
    for file in inputs:
        quota = limit * file.bytes / max(1, total)
        for text in _texts(spec, file):
            yield text
            quota -= len(text.encode())
            if quota <= 0:
                break


def _texts(spec: Spec, file: InputFile) -> Iterator[str]:
    source = spec.sources[file.source].model_copy(update={"steps": (), "split_by": None})
    task = read_task(ShardPlan(file.source, (file,), 0, file.bytes), source, {file.url: ""}, spec.limits)
    return (item.text for item in records_of(file, task, lambda _: None) if isinstance(item, Raw))
