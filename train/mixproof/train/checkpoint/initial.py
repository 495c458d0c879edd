"""`train.init_from`: start a run from a checkpoint of Megatron-LM, Hugging Face or mixproof.

    DIR/latest_checkpointed_iteration.txt       names the iteration; DIR may also be that iteration's folder
    DIR/iter_0001000/mp_rank_00/model_optim_rng.pt            one file, with or without optimizer state; or
    DIR/iter_0001000/{common.pt, .metadata, *.distcp}         torch_dist
    DIR/{config.json, *.safetensors, mixproof.json}           a LlamaForCausalLM, as `mixproof export` writes it
    <store>/train/<key>/                                      a finished mixproof run

A run takes the weights and, if the spec says so, Adam's moments and step count (`megatron_optimizer.py`). The
learning-rate schedule is the spec's, from its start. The tokens that the checkpoint was trained on are accounted for as
prior tokens: consumed samples × sequence length of its arguments, or the record of the run. Nothing in a file is
executed (`safe_loading.py`); names, shapes and model settings are checked before training.
"""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import sha256_of, sha256_of_file
from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.checkpoint_files import checkpoint_path
from mixproof.train.model.optimizer import parameters_of
from mixproof.train.model.reward_head import REWARD_HEAD
from mixproof.train.model.weight_names import Weights, check_shape, rename
from mixproof.train.record import RUN, read_run
from mixproof.train.request import InitialCheckpoint

from .checkpoint_arguments import check_arguments, check_heads, prior_tokens
from .huggingface import FACTS, read_llama
from .huggingface_config import read_config, rope_base_of, shape_of
from .initial_files import CONFIG, locate_checkpoint
from .megatron_optimizer import Moments, moments_of_file, moments_of_folder
from .safe_loading import load_pickled, load_tensors

NO_MODEL = (REWARD_HEAD, "optimizer.", "chained", "random_numbers", "rng_state", "opt_param", "rerun")
"""Name prefixes in a torch_dist checkpoint that are not weights."""


def find_initial(given: Path, tokenizer_sha256: str, *, optimizer: bool = False) -> InitialCheckpoint:
    """Find the checkpoint that `init_from` names, and the tokens that it was trained on.

    Args:
        given: a checkpoint directory, the folder of one iteration, a `.pt` file, a Hugging Face folder, or the folder
            of a finished run.
        tokenizer_sha256: of the spec; the tokenizer of a finished run must be the same.
        optimizer: whether to take its optimizer state as well.

    Raises:
        RequestError: when there is no checkpoint, there are several, it is split over ranks, or it does not say how
            many tokens it was trained on.
        DamagedFileError: when a file is truncated.
    """
    given = given.resolve()
    if (given / RUN).is_file():
        path, tokens = _of_run(given, tokenizer_sha256)
    elif (given / CONFIG).is_file():
        path, tokens = given, _tokens_of_llama(given, tokenizer_sha256)
    else:
        path = locate_checkpoint(given)
        tokens = prior_tokens(_content(path).get("args"), str(path))
    return InitialCheckpoint(path=str(path), sha256=_checksum(path), prior_tokens=tokens, optimizer=optimizer)


def initial_weights(initial: InitialCheckpoint, architecture: Architecture, vocab_size: int) -> Weights:
    """Read the weights of a checkpoint by this package's names, checked against a proxy's shape.

    Raises:
        RequestError: when the model or its vocabulary differs from the proxy's.
        DamagedFileError: when a file is truncated.
    """
    path = Path(initial.path)
    if (path / CONFIG).is_file():
        weights = read_llama(path).weights
    else:
        tensors = _model(path) if path.is_file() else load_tensors(path, lambda name: not name.startswith(NO_MODEL))
        weights = rename(tensors, str(path))
    check_shape(weights, architecture, vocab_size, str(path))
    return weights


def initial_moments(initial: InitialCheckpoint, architecture: Architecture, vocab_size: int) -> Moments:
    """Read a checkpoint's optimizer state by this package's names, checked against a proxy's shape.

    Raises:
        RequestError: when there is none, it is not Adam's, or it does not fit the weights.
        DamagedFileError: when a file is truncated.
    """
    path = Path(initial.path)
    if (path / CONFIG).is_file():
        raise RequestError(
            f"{path}: a Hugging Face model has no optimizer state; remove `optimizer: true` from `init_from`"
        )
    content = _content(path)
    moments = moments_of_file(content, _model(path), str(path)) if path.is_file() else moments_of_folder(path, content)
    return moments.checked(architecture, vocab_size, str(path))


def check_initial(
    initial: InitialCheckpoint, architecture: Architecture, vocab_size: int, rope_base: int | None
) -> None:
    """Check that a proxy can start from a checkpoint; with a `rope_base` of None it may have any.

    Raises:
        RequestError, DamagedFileError: those of `check_arguments`, `initial_weights` and, with `optimizer`,
            `initial_moments`.
    """
    arguments = _arguments(Path(initial.path))
    check_arguments(arguments, rope_base, initial.path)
    check_heads(arguments, architecture, initial.path)
    initial_weights(initial, architecture, vocab_size)
    if initial.optimizer:
        initial_moments(initial, architecture, vocab_size)


def start_from(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    initial: InitialCheckpoint,
    architecture: Architecture,
    vocab_size: int,
) -> None:
    """Load a checkpoint's weights into a new model and, with `initial.optimizer`, its moments into the optimizer.

    Raises:
        RequestError: when the checkpoint has changed since the run was planned.
    """
    found = _checksum(Path(initial.path))
    if found != initial.sha256:
        raise RequestError(
            f"{initial.path}: the checkpoint has changed since the run was planned: its SHA-256 is {found}, it was "
            f"{initial.sha256}; start the command again"
        )
    weights = initial_weights(initial, architecture, vocab_size)
    moments = initial_moments(initial, architecture, vocab_size) if initial.optimizer else None
    named = {parameter: name for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for parameter in parameters_of(optimizer):  # a checkpoint has the same order
            name = named[parameter]
            if name.startswith(REWARD_HEAD):  # a new head learns from its own start
                continue
            parameter.copy_(weights[name] if moments is None else moments.main.get(name, weights[name]))
            if moments is not None:
                optimizer.state[parameter] = moments.state_of(name, parameter)


def _arguments(path: Path) -> object:
    """Return the settings of a checkpoint's model by the names of Megatron-LM's arguments."""
    if (path / CONFIG).is_file():
        config = read_config(path)
        return _heads(shape_of(path, config), rope_base_of(path, config))
    run = path.parents[1] / RUN
    if run.is_file():
        record = read_run(run)
        return _heads(Architecture(**record.architecture.model_dump()), record.last_rope_base)
    return _content(path).get("args")


def _heads(shape: Architecture, rope_base: int) -> Namespace:
    """Return the arguments that weights of the same names and shapes can differ in."""
    return Namespace(
        rotary_base=rope_base,
        num_attention_heads=shape.heads,
        num_query_groups=shape.kv_heads,
        kv_channels=shape.head_dim,
    )


def _content(path: Path) -> dict[str, Any]:
    """Load a `.pt` file, or what a torch_dist checkpoint holds besides tensors."""
    return load_pickled(path if path.is_file() else path / "common.pt")


def _model(path: Path) -> Weights:
    """Return the weights of a `.pt` file in the file's order."""
    content = _content(path)
    model = content.get("model", content.get("model0"))
    if not isinstance(model, dict):
        raise RequestError(
            f"{path}: the file has no `model`, so it is not a Megatron-LM checkpoint; it has "
            f"{', '.join(sorted(map(str, content))[:8])}"
        )
    return {name: tensor for name, tensor in model.items() if isinstance(tensor, torch.Tensor)}


def _of_run(folder: Path, tokenizer_sha256: str) -> tuple[Path, int]:
    """Return the last checkpoint of a finished run and the tokens that it was trained on."""
    record = read_run(folder / RUN)
    if record.status != "done":
        raise RequestError(f"{folder}: the run failed, so it has no final weights: {record.reason}")
    if record.tokenizer.sha256 != tokenizer_sha256:
        raise RequestError(_other_tokenizer(folder, record.tokenizer.sha256, tokenizer_sha256))
    return checkpoint_path(folder, record.consumed_samples), record.prior_tokens + record.consumed_tokens


def _tokens_of_llama(folder: Path, tokenizer_sha256: str) -> int:
    """Return the tokens that a Hugging Face model was trained on, from the facts that an export writes beside it."""
    try:
        facts = json.loads((folder / FACTS).read_bytes())
    except (FileNotFoundError, ValueError):
        facts = None
    counts = (facts.get("consumed_tokens"), facts.get("prior_tokens", 0)) if isinstance(facts, dict) else ()
    tokens = [count for count in counts if type(count) is int and count >= 0]
    if len(tokens) != 2:
        raise RequestError(
            f"{folder / FACTS}: the file is missing or does not say how many tokens the model was trained on, so they "
            'cannot be accounted for; write {"consumed_tokens": N} into it'
        )
    found = facts.get("tokenizer_sha256", tokenizer_sha256)
    if found != tokenizer_sha256:
        raise RequestError(_other_tokenizer(folder, found, tokenizer_sha256))
    return sum(tokens)


def _other_tokenizer(folder: Path, found: str, expected: str) -> str:
    return (
        f"{folder}: the checkpoint was trained with tokenizer {found}, the spec's tokenizer is {expected}; use the "
        "checkpoint's tokenizer"
    )


def _checksum(path: Path) -> str:
    if path.is_file():
        return sha256_of_file(path)
    files = sorted(file for file in path.iterdir() if file.is_file())
    return sha256_of({file.name: sha256_of_file(file) for file in files})
