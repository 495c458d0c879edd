"""The training loss in blocks and tiles is the loss of whole logits, and keeps what was estimated."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from mixproof.train.distributed import process_group
from mixproof.train.model.model import build_model
from mixproof.train.model.training_loss import TILE, _WeightedCrossEntropy, training_loss
from mixproof.train.proxies import LOSS_ROWS, PROXIES, activation_bytes


@pytest.mark.parametrize("size", [1.0, 40.0])
def test_blocks_and_tiles_give_the_loss_and_gradients_of_whole_logits(size: float) -> None:
    generator = torch.Generator().manual_seed(3)
    rows, vocabulary = LOSS_ROWS["cpu"] + 90, 2 * TILE["cpu"] + 7  # two blocks, three tiles
    hidden = (size * torch.randn(rows, 16, generator=generator)).requires_grad_()
    output = torch.randn(vocabulary, 16, generator=generator).requires_grad_()
    labels = torch.randint(vocabulary, (rows,), generator=generator)
    labels[:4] = torch.tensor([0, TILE["cpu"] - 1, TILE["cpu"], vocabulary - 1])  # at the edges of tiles
    weights = (torch.rand(rows, generator=generator) > 0.2).float()
    total, losses = _WeightedCrossEntropy.apply(hidden, output, labels, weights)  # type: ignore[no-untyped-call]
    ours = torch.autograd.grad(total / 7, (hidden, output))
    expected = functional.cross_entropy(hidden.double() @ output.double().T, labels, reduction="none") * weights
    whole = torch.autograd.grad(expected.sum() / 7, (hidden, output))
    torch.testing.assert_close(losses.double(), expected.detach(), rtol=1e-5, atol=1e-4)
    assert total.detach() == losses.sum()
    for one, other in zip(ours, whole, strict=True):
        torch.testing.assert_close(one, other.float(), rtol=1e-4, atol=1e-5 * size)


def test_the_forward_pass_keeps_what_is_estimated() -> None:
    shape, kept = PROXIES["nano"], dict[int, int]()
    with process_group("cpu") as ranks:
        model = build_model(
            shape, vocab_size=500, sequence_length=128, rope_base=10000, seed=1, device=ranks.device
        ).train()
        weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        ids = torch.randint(500, (2, 129), generator=torch.Generator().manual_seed(1))
        positions, ones = torch.arange(128).expand(2, 128), torch.ones(2, 128)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            training_loss(model, ids[:, :-1].contiguous(), positions, None, ids[:, 1:].contiguous(), ones)
    assert sum(kept.values()) / 256 == pytest.approx(activation_bytes(shape, 4), rel=0.03)
