"""Export of a reward model as a LlamaForSequenceClassification: its configuration, its head, and the comparison.

transformers takes the hidden state of the last token that is not padding, so a text is scored as in training when it
starts with the EOD and does not end with one: [EOD, prompt, answer].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from megatron.core.models.gpt import GPTModel
from torch import Tensor

from mixproof.train.checkpoint.weights import FinishedRun
from mixproof.train.model.reward_head import REWARD_HEAD, reward_head_of
from mixproof.train.model.token_losses import without_output
from mixproof.train.record import RunRecord
from mixproof.train.stage_record import RewardRecord

from .difference import check_difference


def reward_of(record: RunRecord) -> RewardRecord | None:
    """Return the settings of a reward model; None for a language model."""
    return None if record.post_training is None else record.post_training.reward


def classifier_config(reward: RewardRecord) -> dict[str, Any]:
    """Return what `config.json` says of the head: an output for each attribute, or the reward."""
    names = reward.attributes or ("reward",)
    return {
        "architectures": ["LlamaForSequenceClassification"],
        "num_labels": len(names),
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": "regression",
    }


def classifier_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the head by transformers' name."""
    return {"score.weight": weights[f"{REWARD_HEAD}.weight"].clone().contiguous()}


def compare_rewards(model: GPTModel, folder: Path, windows: Sequence[Sequence[int]], run: FinishedRun) -> float:
    """Return the largest difference of a reward between the model and the one that transformers loads from `folder`.

    Raises:
        AccountError: when it is above 1e-5.
    """
    from transformers import LlamaForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    llama: Any = LlamaForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    largest = 0.0
    with torch.inference_mode():
        for window in windows:
            ids = torch.tensor([window])
            with without_output(model):
                hidden = model(ids, torch.arange(ids.shape[1])[None], None)[-1]
            difference = float((reward_head_of(model)(hidden) - llama(ids).logits).abs().max())
            largest = max(largest, math.inf if math.isnan(difference) else difference)
    check_difference("rewards", largest, compared=bool(windows), run=run.record.key)
    return largest
