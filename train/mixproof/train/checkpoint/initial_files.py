"""Find the files of the checkpoint that `train.init_from` names, by their names; nothing is loaded, so torch is not."""

from __future__ import annotations

import re
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.train.record import RUN, read_run

CONFIG = "config.json"
TRACKER = "latest_checkpointed_iteration.txt"
LEGACY = "model_optim_rng.pt"
INDEX = ".metadata"
SAVED_BY_TORCH = (b"PK\x03\x04", b"\x80")
"""First bytes of a `.pt` file: a zip archive, or a pickle."""


def check_initial_files(given: Path) -> None:
    """Refuse a path that is not a checkpoint, before any work.

    Raises:
        RequestError: when there is no finished run, no Hugging Face model and no Megatron-LM checkpoint.
    """
    if (given / RUN).is_file():
        record = read_run(given / RUN)
        if record.status != "done":
            raise RequestError(f"{given}: the run failed, so it has no final weights: {record.reason}")
    elif (given / CONFIG).is_file():
        if not any(given.glob("*.safetensors")):
            raise RequestError(f"{given}: the Hugging Face model has no .safetensors file; save it with safetensors")
    else:
        path = locate_checkpoint(given)
        if path.is_file():
            with path.open("rb") as file:
                start = file.read(4)
            if not start.startswith(SAVED_BY_TORCH):
                raise RequestError(f"{path}: not a file that torch.save writes; name a checkpoint's folder, or its .pt")


def locate_checkpoint(given: Path) -> Path:
    """Return the `.pt` file or the torch_dist folder of a Megatron-LM checkpoint.

    Raises:
        RequestError: when there is none, there are several, or it is split over ranks.
    """
    if given.is_file():
        return given
    if not given.is_dir():
        raise RequestError(f"{given}: no such checkpoint; `init_from` takes a folder with {TRACKER}")
    if (given / LEGACY).is_file():
        return given / LEGACY
    if (given / INDEX).is_file():
        return given
    ranks = sorted(path.name for path in given.glob("mp_rank_*"))
    if len(ranks) > 1:
        raise RequestError(
            f"{given}: the checkpoint is split over {len(ranks)} ranks ({', '.join(ranks[:3])} ...); merge it into one "
            "rank first"
        )
    if ranks:
        return _locate_file(given / ranks[0] / LEGACY)
    return locate_checkpoint(_iteration(given))


def _locate_file(path: Path) -> Path:
    if not path.is_file():
        raise RequestError(f"{path}: no such file, so the folder is not a complete Megatron-LM checkpoint")
    return path


def _iteration(folder: Path) -> Path:
    tracker = folder / TRACKER
    found = sorted(path for path in folder.glob("iter_*") if path.is_dir())
    if tracker.is_file():
        word = tracker.read_text(errors="replace").strip()
        if not re.fullmatch(r"\d+|release", word):
            raise RequestError(f"{tracker}: contains {word[:40]!r}, expected an iteration number or `release`")
        chosen = folder / (word if word == "release" else f"iter_{int(word):07d}")
        if not chosen.is_dir():
            raise RequestError(f"{tracker}: names {chosen.name}, which does not exist")
        return chosen
    if not found:
        raise RequestError(
            f"{folder}: not a checkpoint: it has no {RUN} (a finished run), no {CONFIG} (a Hugging Face model), and no "
            f"{TRACKER} (Megatron-LM); name a checkpoint's folder, or a run by the first 8 or more digits of its key"
        )
    if len(found) > 1:
        raise RequestError(
            f"{folder}: no {TRACKER} and {len(found)} folders iter_*; set `init_from` to the one to start from"
        )
    return found[0]
