"""Moments of foreign checkpoints: on the right weights, and training goes on as if it had never stopped."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.optimizer import (
    get_param_id_to_sharded_param_map,
    make_sharded_optimizer_tensor,
    optim_state_to_sharding_state,
)
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer import OptimizerConfig, _get_param_groups

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.train.checkpoint.checkpoint import SaveStrategy, load_checkpoint
from mixproof.train.checkpoint.initial import check_initial, find_initial, initial_moments, initial_weights
from mixproof.train.checkpoint.megatron_optimizer import Moments, moments_of_file
from mixproof.train.data.blend import Blend
from mixproof.train.data.streams import streams_of
from mixproof.train.distributed import Ranks, process_group
from mixproof.train.loop.metrics import StepMetrics, read_metrics
from mixproof.train.loop.run import train_run
from mixproof.train.loop.trainer import Trainer
from mixproof.train.model.micro_batch import step_plan
from mixproof.train.model.model import build_model
from mixproof.train.model.schedule import build_scheduler
from mixproof.train.model.state import TrainingState, build_state
from mixproof.train.model.weight_names import check_shape
from mixproof.train.record import read_run, run_folder
from mixproof.train.request import RunRequest

MakeRequest = Callable[..., RunRequest]
Tensors = dict[str, torch.Tensor]
STEPS = 3


def megatron_training(request: RunRequest, ranks: Ranks) -> tuple[GPTModel, torch.optim.AdamW]:
    """A model and AdamW in the groups that Megatron makes, after three steps of another run."""
    model = build_model(
        request.shape,
        vocab_size=600,
        sequence_length=request.budget.sequence_length,
        rope_base=request.rope_base,
        seed=5,
        device=ranks.device,
    )
    groups = _get_param_groups([model], OptimizerConfig(lr=0.003, min_lr=0.0003), None)
    optimizer = torch.optim.AdamW(groups, lr=0.003, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)
    ids = torch.randint(600, (STEPS, 2, 33), generator=torch.Generator().manual_seed(6))
    positions = torch.arange(32).expand(2, 32)
    for batch in ids:
        model(batch[:, :-1].contiguous(), positions, None, labels=batch[:, 1:].contiguous()).mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return model, optimizer


def go_on(model: GPTModel, optimizer: torch.optim.AdamW, request: RunRequest, ranks: Ranks) -> list[StepMetrics]:
    """Train on with what is in memory, on the samples and by the schedule of `request`."""
    lr, min_lr, decay = (
        float(Fraction(text)) for text in (request.recipe.lr, request.recipe.min_lr, request.recipe.weight_decay)
    )
    for group in optimizer.param_groups:  # of the run before; the scheduler of the new run sets its own
        del group["max_lr"], group["min_lr"]
    shape = request.recipe.shape
    scheduler = build_scheduler(optimizer, request.budget, lr=lr, min_lr=min_lr, weight_decay=decay, shape=shape)
    blend = Blend(streams_of(Store(request.store), request), request.budget)
    trainer = Trainer(TrainingState(model, optimizer, scheduler, "float32"), blend, step_plan(request, ranks), ranks)
    return [trainer.step() for _ in range(request.budget.steps)]


def write(folder: Path, model: Tensors, optimizer: object) -> Path:
    """Write Megatron-LM's layout of one rank."""
    path = folder / "iter_0000003/mp_rank_00/model_optim_rng.pt"
    path.parent.mkdir(parents=True)
    arguments = argparse.Namespace(consumed_train_samples=6, seq_length=32)
    torch.save({"args": arguments, "iteration": STEPS, "model": model, "optimizer": optimizer}, path)
    return folder


def by_name(model: GPTModel, optimizer: torch.optim.AdamW, kind: str) -> Tensors:
    return {name: optimizer.state[weight][kind] for name, weight in model.named_parameters()}


def assert_equal(found: Tensors, expected: Tensors) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def assert_same(found: Moments, model: GPTModel, optimizer: torch.optim.AdamW) -> None:
    assert found.steps == STEPS
    assert_equal(found.first, by_name(model, optimizer, "exp_avg"))
    assert_equal(found.second, by_name(model, optimizer, "exp_avg_sq"))


def test_a_run_goes_on_from_megatrons_optimizer_bit_for_bit(make_request: MakeRequest, tmp_path: Path) -> None:
    request = make_request(steps=6)
    with process_group("cpu") as ranks:
        model, optimizer = megatron_training(request, ranks)
        folder = write(tmp_path / "megatron", model.state_dict(), optimizer.state_dict())
        undisturbed = go_on(model, optimizer, request, ranks)
    initial = find_initial(folder, request.tokenizer.sha256, optimizer=True)
    check_initial(initial, request.shape, 600, request.rope_base)
    continued = train_run(request.model_copy(update={"init_from": initial}))
    assert continued.init_from is not None and continued.init_from.optimizer
    folder = run_folder(Store(request.store), continued.key)
    assert read_metrics(folder) == undisturbed
    without = initial.model_copy(update={"optimizer": False})
    plain = request.model_copy(update={"init_from": without})
    assert plain.key != continued.key
    assert plain.identity["config"]["init_from"] == {  # type: ignore[index]
        "sha256": initial.sha256,
        "prior_tokens": 192,
    }, "keys of runs that take the weights alone stay as they were"
    began_anew = train_run(plain)
    losses = [metrics.loss for metrics in read_metrics(run_folder(Store(request.store), began_anew.key))]
    assert losses[0] == undisturbed[0].loss and losses[2:] != [metrics.loss for metrics in undisturbed[2:]]


def test_a_killed_run_with_foreign_moments_ends_as_an_undisturbed_one(
    make_request: MakeRequest, tmp_path: Path
) -> None:
    whole = make_request(steps=6, checkpoint_steps=3)
    with process_group("cpu") as ranks:
        model, optimizer = megatron_training(whole, ranks)
        folder = write(tmp_path / "megatron", model.state_dict(), optimizer.state_dict())
    initial = find_initial(folder, whole.tokenizer.sha256, optimizer=True)
    whole = whole.model_copy(update={"init_from": initial})
    killed = make_request(steps=6, checkpoint_steps=3, place="other").model_copy(update={"init_from": initial})

    def kill(metrics: StepMetrics) -> None:
        if metrics.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(killed, kill)
    assert train_run(killed).to_bytes() == train_run(whole).to_bytes()


def test_a_run_goes_on_from_a_finished_run_with_its_optimizer(make_request: MakeRequest) -> None:
    first = make_request(steps=4, seed=7)
    folder = run_folder(Store(first.store), train_run(first).key)
    initial = find_initial(folder, first.tokenizer.sha256, optimizer=True)
    moments = initial_moments(initial, first.shape, 600)
    assert moments.steps == 4 and not moments.main
    with process_group("cpu") as ranks:
        state = build_state(first, ranks)
        load_checkpoint(Path(initial.path), state, ranks)
        assert_equal(moments.first, by_name(state.model, state.optimizer, "exp_avg"))
        assert_equal(moments.second, by_name(state.model, state.optimizer, "exp_avg_sq"))
    record = train_run(first.model_copy(update={"init_from": initial, "seed": 8}))
    assert read_run(run_folder(Store(first.store), record.key) / "run.json") == record


def mixed_precision(model: GPTModel, optimizer: torch.optim.AdamW) -> tuple[Tensors, dict[str, Any]]:
    """As Float16OptimizerWithFloat16Params leaves them: a model in bfloat16, its weights in float32 by group."""
    main = [[weight.detach() for weight in group["params"]] for group in optimizer.param_groups]
    saved = optimizer.state_dict()
    for group in saved["param_groups"]:  # as Apex' and Transformer Engine's Adam count
        group["step"] = STEPS
    saved["state"] = {n: {k: v for k, v in each.items() if k != "step"} for n, each in saved["state"].items()}
    rounded = {
        name: tensor.bfloat16() for name, tensor in model.state_dict().items() if isinstance(tensor, torch.Tensor)
    }
    return rounded, {"optimizer": saved, "fp32_from_fp16_params": main}


def one_expert(model: Tensors) -> Tensors:
    """The FFN as NVIDIA releases it, with gate and up apart."""
    made: Tensors = {}
    for name, tensor in model.items():
        layer, _, rest = name.partition(".mlp.")
        if not rest:
            made[name] = tensor
        elif rest == "linear_fc2.weight":
            made[f"{layer}.moe.experts.0.down_proj.weight"] = tensor
        else:
            for half, part in zip(("gate", "up"), tensor.chunk(2), strict=True):
                made[f"{layer}.moe.experts.0.{half}_proj.weight"] = part
    return made


def numbered(
    model: Tensors, main: Tensors, groups: Sequence[Sequence[str]], kinds: dict[str, Tensors]
) -> dict[str, Any]:
    """Number moments group by group."""
    names = [name for group in groups for name in group]
    number = {name: place for place, name in enumerate(names)}
    return {
        "optimizer": {
            "state": {number[name]: {kind: tensors[name] for kind, tensors in kinds.items()} for name in names},
            "param_groups": [{"params": [number[name] for name in group], "step": STEPS} for group in groups],
        },
        "fp32_from_fp16_params": [[main[name] for name in group] for group in groups],
    }


def test_main_weights_and_moments_of_mixed_precision(make_request: MakeRequest, tmp_path: Path) -> None:
    request = make_request()
    with process_group("cpu") as ranks:
        model, optimizer = megatron_training(request, ranks)
        rounded, saved = mixed_precision(model, optimizer)
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    initial = find_initial(write(tmp_path / "mixed", rounded, saved), request.tokenizer.sha256, optimizer=True)
    found = initial_moments(initial, request.shape, 600)
    assert_same(found, model, optimizer)
    assert_equal(found.main, weights)
    assert not torch.equal(
        initial_weights(initial, request.shape, 600)["decoder.layers.0.mlp.linear_fc1.weight"].float(),
        found.main["decoder.layers.0.mlp.linear_fc1.weight"],
    )
    kinds = {kind: one_expert(by_name(model, optimizer, kind)) for kind in ("exp_avg", "exp_avg_sq")}
    released, main = one_expert(rounded), one_expert(weights)
    vectors = [name for name in released if released[name].dim() == 1]
    dense = [name for name in released if released[name].dim() == 2 and ".experts." not in name]
    experts = [name for name in released if ".experts." in name]
    for number, groups in enumerate(
        ([list(released)], [dense, vectors, experts], [vectors, [n for n in released if n not in vectors]])
    ):
        folder = write(tmp_path / f"expert {number}", released, numbered(released, main, groups, kinds))
        found = initial_moments(find_initial(folder, "", optimizer=True), request.shape, 600)
        assert_same(found, model, optimizer)
        assert_equal(found.main, weights)
    chained = [numbered(released, main, groups, kinds) for groups in ([dense, vectors], [experts])]
    folder = write(tmp_path / "chained", released, chained)
    assert_same(initial_moments(find_initial(folder, "", optimizer=True), request.shape, 600), model, optimizer)


def test_what_is_absent_or_of_another_shape_is_said(make_request: MakeRequest, tmp_path: Path) -> None:
    request = make_request()
    with process_group("cpu") as ranks:
        model, optimizer = megatron_training(request, ranks)
        weights, saved = model.state_dict(), optimizer.state_dict()
        rounded, mixed = mixed_precision(model, optimizer)
    state, groups = saved["state"], saved["param_groups"]
    first = mixed["fp32_from_fp16_params"]
    for content, said in (
        ({}, "the file has no optimizer state; leave `optimizer` out"),
        ({"optimizer": {"param_groups": groups}}, "but no moments by weight .a distributed optimizer keeps them"),
        (
            {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": groups},
            "keeps momentum_buffer for each weight, Adam keeps exp_avg and exp_avg_sq",
        ),
        (
            {"state": dict(list(state.items())[:-1]), "param_groups": groups},
            "exp_avg: the checkpoint has .* parameters",
        ),
        ({"state": state, "param_groups": groups[::-1][:1]}, "do not fit its 14 weights"),
        (
            {
                "state": {n: {k: v for k, v in each.items() if k != "step"} for n, each in state.items()},
                "param_groups": groups,
            },
            "should state one positive step count; it states nothing",
        ),
        (
            {**mixed, "fp32_from_fp16_params": [[w + 1 for w in group] for group in first]},
            "does not round to the model's",
        ),
        (
            {**mixed, "fp32_from_fp16_params": [group[:-1] for group in first]},
            r"has \d+ float32 weights for the model's \d+ 16-bit weights",
        ),
        (
            {**mixed, "fp32_from_fp16_params": first[:1]},
            "2 parameter groups, but its float32 weights are for a different number",
        ),
    ):
        of_mixed = "fp32_from_fp16_params" in content
        with pytest.raises(RequestError, match=said):
            moments_of_file({"optimizer": content}, rounded if of_mixed else weights, "x").checked(
                request.shape, 600, "x"
            )
    folder = write(tmp_path / "weights alone", weights, None)
    initial = find_initial(folder, "", optimizer=True)
    check_initial(initial.model_copy(update={"optimizer": False}), request.shape, 600, request.rope_base)
    with pytest.raises(RequestError, match="the file has no optimizer state"):
        check_initial(initial, request.shape, 600, request.rope_base)


def test_a_torch_dist_checkpoint_of_megatrons_mixed_precision_optimizer(
    make_request: MakeRequest, tmp_path: Path
) -> None:
    request = make_request()
    with process_group("cpu") as ranks:
        model, optimizer = megatron_training(request, ranks)
        _, saved = mixed_precision(model, optimizer)
        sharded = model.sharded_state_dict()
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        of_number = get_param_id_to_sharded_param_map(sharded, weights)
        main, numbers = (
            saved["fp32_from_fp16_params"],
            [group["params"] for group in saved["optimizer"]["param_groups"]],
        )
        saved["fp32_from_fp16_params"] = [
            [
                make_sharded_optimizer_tensor(of_number[n], w, prefix="optimizer.state.fp32_param")
                for n, w in zip(*pair, strict=True)
            ]
            for pair in zip(numbers, main, strict=True)
        ]
        optim_state_to_sharding_state(saved["optimizer"], of_number)
        saved["optimizer"]["state"]["common_step"] = torch.tensor(float(STEPS))
        folder = tmp_path / "iter_0000003"
        folder.mkdir()
        arguments = argparse.Namespace(consumed_train_samples=6, seq_length=32)
        content = {"model": sharded, "optimizer": saved, "args": arguments}
        dist_checkpointing.save(content, str(folder), SaveStrategy())
    initial = find_initial(folder, "", optimizer=True)
    found = initial_moments(initial, request.shape, 600)
    assert_same(found, model, optimizer)
    assert_equal(found.main, {name: weight.detach() for name, weight in model.named_parameters()})
    check_shape(initial_weights(initial, request.shape, 600), request.shape, 600, "x")
