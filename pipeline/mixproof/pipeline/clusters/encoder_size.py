"""Whether the configuration of an encoder describes a model as large as its weights, before memory is taken for it.

A configuration of a hundred bytes can describe a model of any size: transformers makes layers and random weights for
all of it, and finds only then that the file of weights lacks them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mixproof.ledger.errors import RequestError

from .encoder_files import EncoderFiles
from .safetensors_header import stated_values

FREE_TENSORS, FREE_VALUES = 1_000, 2**24
"""What a model may have beyond twice its weights: tables of positions, a pooler."""


def check_size(files: EncoderFiles) -> None:
    """Make the model without values, and stop as soon as it is more than twice as large as its weights.

    Raises:
        RequestError: when it is.
        ImportError, KeyError, OSError, RuntimeError, TypeError, ValueError: as transformers.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    tensors, values = stated_values(files.weights)
    config = AutoConfig.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"), _limited(files.folder, 2 * tensors + FREE_TENSORS, 2 * values + FREE_VALUES):
        AutoModel.from_config(config, trust_remote_code=False)


@contextmanager
def _limited(folder: str, most_tensors: int, most_values: int) -> Iterator[None]:
    """Limit the parameters and buffers of the modules that are made meanwhile."""
    from torch.nn.modules import module

    tensors = values = 0

    def count(owner: object, name: str, tensor: Any) -> None:  # noqa: ANN401  torch's tensor, or None
        nonlocal tensors, values
        tensors, values = tensors + 1, values + (0 if tensor is None else tensor.numel())
        if tensors > most_tensors or values > most_values:
            raise RequestError(f"{folder}: its configuration describes a larger model than its weights are")

    hooks = [
        module.register_module_parameter_registration_hook(count),
        module.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
