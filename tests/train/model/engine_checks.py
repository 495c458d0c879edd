"""Layers of Transformer Engine, in a process that has its stand-in; started by `test_transformer_engine_layers.py`.

The name keeps it from being collected where there is no such package.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import transformer_engine
from torch import Tensor
from torch.nn import functional

from mixproof.ledger.store import Store
from mixproof.train.checkpoint.checkpoint import load_checkpoint, remove_checkpoints, save_checkpoint
from mixproof.train.checkpoint_files import checkpoint_files
from mixproof.train.data.blend import Blend
from mixproof.train.data.streams import streams_of
from mixproof.train.distributed import Ranks
from mixproof.train.evaluate.references import References
from mixproof.train.loop.heldout_scores import score_heldout
from mixproof.train.loop.trainer import Trainer
from mixproof.train.model.backend_check import gradients, relative_difference, seeded_batch, seeded_model
from mixproof.train.model.layer_backend import LayerBackend, available_backends, first_that_agrees
from mixproof.train.model.layer_history import EarlierBackend, LayerHistory
from mixproof.train.model.micro_batch import step_plan
from mixproof.train.model.model import recompute_layers
from mixproof.train.model.state import TrainingState, build_state
from mixproof.train.model.transformer_engine_layers import engine_model
from mixproof.train.ownership import Ownership
from mixproof.train.record import MasksRecord
from mixproof.train.request import RunRequest
from weight_digest import weights_sha256

MakeRequest = Callable[..., RunRequest]
NAME = "transformer_engine 2.9.0"
MASKED = MasksRecord(document_mask=True, eod_mask_loss=False, reset_position_ids=True)
normed: Callable[..., Tensor] = transformer_engine.normed
attended: Callable[..., Tensor] = transformer_engine.attended


@pytest.fixture
def asked(make_request: MakeRequest) -> RunRequest:
    return make_request()


@pytest.fixture
def owner(asked: RunRequest, tmp_path_factory: pytest.TempPathFactory) -> Ownership:
    ownership = Ownership(tmp_path_factory.mktemp("run"))
    ownership.take()
    return ownership


def on_cuda(request: RunRequest) -> list[LayerBackend]:
    """Backends of a GPU for a short run."""
    return available_backends(request, Ranks(0, 1, torch.device("cuda")))[0]


def trained_through_engine(request: RunRequest, ranks: Ranks) -> TrainingState:
    """A state as `build_state` makes it on CUDA, in float32 on the CPU."""
    state = build_state(request, ranks)
    state.learner, state.layers = first_that_agrees(on_cuda(request), state.model, request, ranks, in_bfloat16=False)
    assert state.layers == LayerHistory(NAME)
    return state


def train(state: TrainingState, request: RunRequest, ranks: Ranks, steps: int) -> list[float]:
    """Losses of the next steps."""
    trainer = Trainer(
        state, Blend(streams_of(Store(request.store), request), request.budget), step_plan(request, ranks), ranks
    )
    return [trainer.step().loss for _ in range(steps)]


@pytest.mark.parametrize("masks", [None, MASKED], ids=["engine_attention", "torch_attention_and_positions"])
def test_loss_and_gradients_are_those_of_our_layers(masks: MasksRecord | None, asked: RunRequest, ranks: Ranks) -> None:
    request = asked if masks is None else asked.model_copy(update={"masks": masks})
    plan = step_plan(request, ranks)
    model, batch = seeded_model(request, ranks.device), seeded_batch(600, plan, ranks.device)
    engine = engine_model(model, own_attention=masks is not None)
    ours, theirs = (gradients(layers, model, batch, plan, False) for layers in (model, engine))
    assert len(ours) == 15  # the loss, six weights a layer, embedding and final norm
    for name, one in ours.items():
        assert relative_difference(one, theirs[name]) < 1e-5, name


def test_the_weights_are_the_models_own_and_nothing_is_drawn(asked: RunRequest, ranks: Ranks) -> None:
    state = build_state(asked, ranks)
    before, numbers = weights_sha256(state.model), torch.get_rng_state()
    engine = engine_model(state.model, own_attention=False)
    assert {id(weight) for weight in engine.parameters()} == {id(weight) for weight in state.model.parameters()}
    assert weights_sha256(state.model) == before == weights_sha256(build_state(asked, ranks).model)
    engine_model(state.model, own_attention=True)
    torch.set_rng_state(numbers)
    engine_model(state.model, own_attention=True)
    assert torch.equal(torch.get_rng_state(), numbers)
    assert any("linear_qkv._extra_state" in name for name in engine.state_dict())


def test_a_run_goes_on_under_the_other_layers(asked: RunRequest, ranks: Ranks, owner: Ownership) -> None:
    whole = train(build_state(asked, ranks), asked, ranks, 4)
    checkpoints: list[dict[str, str]] = []
    for build, other in ((trained_through_engine, build_state), (build_state, trained_through_engine)):
        state = build(asked, ranks)
        losses = train(state, asked, ranks, 2)
        path = save_checkpoint(owner.folder, state, ranks, owner)
        checkpoints.append(checkpoint_files(path) or {})
        resumed = other(asked, ranks)
        load_checkpoint(path, resumed, ranks)
        assert resumed.layers in (
            LayerHistory("plain", (), (EarlierBackend(NAME, 8),)),
            LayerHistory(NAME, (), (EarlierBackend("plain", 8),)),
        )
        store = Store(asked.store)
        references = References(store, asked, ranks)
        scores = [score_heldout(store, asked, one, ranks, references)[0][0].nll_nats for one in (state, resumed)]
        assert (scores[0] == scores[1]).all()  # the same weights score the same bits, whatever trained them
        assert losses + train(resumed, asked, ranks, 2) == pytest.approx(whole, rel=1e-5)
        remove_checkpoints([path])
    one, other_one = checkpoints
    assert one.keys() == other_one.keys() and one["__0_0.distcp"] != other_one["__0_0.distcp"]
    assert one[".metadata"] == other_one[".metadata"]  # names, shapes and places of every tensor


def test_recomputed_activations_give_the_same_losses(asked: RunRequest, ranks: Ranks) -> None:
    kept, made_again = (trained_through_engine(asked, ranks) for _ in range(2))
    assert made_again.learner is not None
    recompute_layers(made_again.learner)
    assert train(kept, asked, ranks, 2) == train(made_again, asked, ranks, 2)


def chosen_backend(request: RunRequest, ranks: Ranks) -> LayerHistory:
    """The backend of a run that computes in bfloat16."""
    model = build_state(request, ranks).model
    learner, history = first_that_agrees(on_cuda(request), model, request, ranks)
    assert (learner is model) == (history.backend == "plain")
    return history


@pytest.mark.usefixtures("types_as_on_cuda")
def test_training_in_bfloat16_is_that_of_our_layers(asked: RunRequest, ranks: Ranks) -> None:
    states = build_state(asked, ranks), trained_through_engine(asked, ranks)
    for state in states:
        state.dtype = "bfloat16"
    ours, theirs = (train(state, asked, ranks, 3) for state in states)
    assert theirs == pytest.approx(ours, rel=1e-3) and theirs != ours


@pytest.mark.usefixtures("types_as_on_cuda")
def test_right_layers_are_proven_in_bfloat16_and_the_generators_left_alone(asked: RunRequest, ranks: Ranks) -> None:
    assert chosen_backend(asked, ranks) == LayerHistory(NAME)
    masked = asked.model_copy(update={"masks": MASKED})
    numbers = torch.get_rng_state()
    assert chosen_backend(masked, ranks) == LayerHistory(f"{NAME}, attention of torch")
    assert torch.equal(numbers, torch.get_rng_state())  # where the initialization of the weights leaves them


def without_epsilon(states: Tensor, gain: Tensor, _: float) -> Tensor:
    return normed(states, gain, 0.0)


def without_gain(states: Tensor, gain: Tensor, epsilon: float) -> Tensor:
    return normed(states, torch.ones_like(gain) + 0 * gain, epsilon)


@pytest.mark.usefixtures("types_as_on_cuda")
@pytest.mark.parametrize("wrong", [without_epsilon, without_gain])
def test_a_wrong_norm_is_found_out_and_the_run_is_plain(
    wrong: Callable[..., Tensor],
    asked: RunRequest,
    ranks: Ranks,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(transformer_engine, "normed", wrong)
    history = chosen_backend(asked, ranks)
    assert history.backend == "plain" and history.rejected[0].backend == NAME
    assert history.rejected[0].reason.startswith("the gradient of ")
    assert history == chosen_backend(asked, ranks)  # a resumed run chooses the same backend
    assert caplog.messages[0].startswith(f"layer backend {NAME} rejected: the gradient of ")
    assert len(caplog.messages) == 4  # with both attentions, twice
    state = build_state(asked, ranks)
    assert len(train(state, asked, ranks, 1)) == 1


def all_see_all(queries: Tensor, keys: Tensor, values: Tensor, scale: float | None) -> Tensor:
    return functional.scaled_dot_product_attention(queries, keys, values, scale=scale, enable_gqa=True)


def other_scale(queries: Tensor, keys: Tensor, values: Tensor, _: float | None) -> Tensor:
    return attended(queries, keys, values, 1.2 * float(queries.size(-1)) ** -0.5)


def none_at_all(*_: object) -> Tensor:
    raise ValueError("No dot product attention backend is available for the provided inputs.\nPlease run with")


@pytest.mark.usefixtures("types_as_on_cuda")
@pytest.mark.parametrize("wrong", [all_see_all, other_scale, none_at_all])
def test_wrong_attention_is_replaced_by_torchs(
    wrong: Callable[..., Tensor], asked: RunRequest, ranks: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformer_engine, "attended", wrong)
    history = chosen_backend(asked, ranks)
    assert history.backend == f"{NAME}, attention of torch"
    (rejected,) = history.rejected
    assert rejected.backend == NAME
    if wrong is none_at_all:
        assert rejected.reason == "ValueError: No dot product attention backend is available for the provided inputs."
