"""Open a request for work: everything that can be known to go wrong is refused before the work starts.

    extras > steps, files, store > tokenizer > models of labels > first records, held-out sets, vocabulary
    > evaluation files > supply > external sets

Nothing is written and Ray is not started. What the rooms below know, they check; this module only calls them in order,
the cheap and most frequent mistakes first. A spec whose build is finished needs no look at its files.
"""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from mixproof.ledger.errors import RequestError
from mixproof.ledger.location import RUNS
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.clusters.find_embedding import check_embedding
from mixproof.pipeline.heldout.evaluation import check_evaluation_files
from mixproof.pipeline.heldout.heldout_supply import check_heldout_supply
from mixproof.pipeline.heldout.import_heldout import check_import
from mixproof.pipeline.inputs.first_records import check_first_records
from mixproof.pipeline.labels.of_spec import check_labels
from mixproof.pipeline.read.progress import read_progress
from mixproof.pipeline.semantic.vectors import semantic_table
from mixproof.tokenize.estimate import estimate
from mixproof.tokenize.tokenizer.tokenizer_check import check_tokenizer, check_vocabulary
from mixproof.train.launch.disk import build_bytes, checkpoint_bytes

from .machine.extras import find_extras
from .machine.needed_extras import SCORES, TRAINS, Work, check_extras
from .machine.storage import find_storage
from .options import DEFAULT_STORE
from .output import amount, stderr
from .request import Request, check_supply, open_loaded

WRITES = frozenset({"build", "train", "run", "search"})
ERROR = 2
"""A spec is refused if it needs more than this times the free space: the estimate may be too high, but not so much."""
USUAL_VOCABULARY = 32_000
"""Assumed for a tokenizer that has not been opened yet."""


def open_for_work(path: Path, store: str, work: Work) -> Request:
    """Open a request, and refuse what would fail during the work.

    Raises:
        RequestError, SpecError: naming file, line and dotted key, or the package to install.
        DamagedFileError: when the first records show that a file is not in its format.
    """
    loaded = load_spec(path)
    check_extras(loaded.spec, store, work, find_extras())
    request = open_loaded(loaded, store)
    if request.find_manifest() is None:
        check_inputs(request)
    check_supply(request)
    if work in WRITES:
        _check_room(request, work)
    if work in SCORES or work == "plan":
        _check_external(request)
    if work in WRITES:
        _say_new_store(request)
    return request


def check_inputs(request: Request) -> None:
    """Look into the files of a spec that is not built yet.

    Raises:
        RequestError: when the build would fail.
        DamagedFileError: when a file is not in its format.
    """
    loaded, spec = request.loaded, request.loaded.as_written
    files = request.found
    check_tokenizer(loaded)
    check_import(spec, loaded.base)
    check_labels(spec, loaded.base)
    if (embedding := semantic_table(spec, loaded.base)) is not None:
        check_embedding(embedding)
    for warning in check_first_records(spec, files):
        stderr.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    vocab_size = USUAL_VOCABULARY if spec.tokenizer.train is None else spec.tokenizer.train.vocab_size
    most = {name: estimate(inputs).tokens_plausible(vocab_size) for name, inputs in files.items()}
    check_heldout_supply(spec, files, most)
    check_vocabulary(spec, files)
    check_evaluation_files(spec, loaded.base)


def _check_external(request: Request) -> None:
    if request.spec.external is None:
        return
    from mixproof.train.evaluate.external.external_sets import check_external_sets, find_external_sets
    from mixproof.train.evaluate.external.question_sets import check_question_sets, find_question_sets

    check_external_sets(find_external_sets(request.spec, request.loaded.base))
    check_question_sets(find_question_sets(request.spec, request.loaded.base))


def _check_room(request: Request, work: Work) -> None:
    """Refuse a new build, or the first runs of a store, that the store's disk cannot hold.

    Raises:
        RequestError: with what is needed and what is free.
    """
    spec, store = request.spec, request.store
    free = find_storage(str(store)).free_bytes
    if free is None:
        return
    vocab_size = USUAL_VOCABULARY if spec.tokenizer.train is None else spec.tokenizer.train.vocab_size
    need = 0
    if request.find_manifest() is None and read_progress(spec, request.files(), store).shards_read == 0:
        tokens_of = {name: found.tokens for name, found in request.estimates.items()}
        need += sum(build_bytes(spec, tokens_of, vocab_size, request.files()).values())
    if work in TRAINS and not store.keys(RUNS):
        runs = len(spec.mixtures) * len(spec.train.seeds)
        need += runs * sum(checkpoint_bytes(name, proxy, vocab_size) for name, proxy in spec.train.proxies.items())
    if need > ERROR * free:
        raise RequestError(
            f"--store {store}: the disk has {amount(free)}B free, and this needs about {amount(need)}B (`mixproof "
            "plan` says for what); use another disk, or make room: `mixproof store gc` lists what can be deleted"
        )


def _say_new_store(request: Request) -> None:
    """Say where a new store is made: from another folder, the default store is another one and holds no build."""
    root = request.store.root.absolute()
    if request.store.is_remote or root.exists():
        return
    beside = (request.loaded.base / DEFAULT_STORE).absolute()
    other = f"; there is one beside the spec: --store {beside}" if beside != root and beside.is_dir() else ""
    stderr.print(f"new store {root}{other}", soft_wrap=True, markup=False)
