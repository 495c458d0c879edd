"""A run as Megatron-LM's loader looks for it: names, iteration, arguments, and every weight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from megatron.core import dist_checkpointing

from mixproof.ledger.errors import RequestError
from mixproof.train.checkpoint.weights import load_model, open_finished_run
from mixproof.train.distributed import process_group
from mixproof.train.export.to_megatron import export_megatron
from mixproof.train.loop.run import train_run
from mixproof.train.request import RunRequest


@pytest.mark.filterwarnings(
    # Megatron loads by torch's older names
    "ignore:`load_state_dict` is deprecated:FutureWarning",
    "ignore:Please use DTensor instead:FutureWarning",
)
def test_megatron_finds_the_iteration_the_arguments_and_every_weight(
    make_request: Callable[..., RunRequest], tmp_path: Path
) -> None:
    request = make_request(steps=6)
    run = Path(request.store) / "train" / train_run(request).key
    export = export_megatron(run, tmp_path / "megatron")
    folder = tmp_path / "megatron" / "iter_0000006"
    assert (tmp_path / "megatron" / "latest_checkpointed_iteration.txt").read_text() == "6"
    assert export.iteration == 6
    with process_group("cpu") as ranks:
        model = load_model(open_finished_run(run), ranks.device)
        common = dist_checkpointing.load_common_state_dict(str(folder))
        plain = dist_checkpointing.load_plain_tensors(str(folder))
    assert (common["iteration"], common["checkpoint_version"]) == (6, 3.0)
    assert (common["args"].num_layers, common["args"].consumed_train_samples) == (2, 24)
    weights = dict(model.named_parameters())
    assert torch.equal(plain["embedding.word_embeddings.weight"], weights["embedding.word_embeddings.weight"])
    stacked = plain["decoder.layers.self_attention.linear_qkv.weight"]
    for layer in range(2):
        assert torch.equal(stacked[layer], weights[f"decoder.layers.{layer}.self_attention.linear_qkv.weight"])
    assert export.weights == sum(weight.numel() for weight in weights.values())
    assert "--num-query-groups 2" in (tmp_path / "megatron" / "args.txt").read_text()
    with pytest.raises(RequestError, match="already exists and is not an empty folder"):
        export_megatron(run, tmp_path / "megatron")
