"""Rules that involve several keys of a spec, which no single model can check.

Shares and the sources they name are checked when they are read (`mixture_forms.py`). The rules here check the
models, and each message says what would be right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .blocks.labels import Classifier, Clusters, Label
from .blocks.mixture import ShareSpec
from .blocks.split import UNLABELLED, cells_of_number
from .key_positions import KeyPath, Problem, nearest
from .label_checks import keep_problems
from .mixture_forms import RESERVED
from .objective_checks import REMOVE_INHERITED, objective_problems
from .phase_checks import phase_problems
from .proxy_checks import architectures, recipes, twice
from .search_checks import search_problems
from .spec import Spec
from .stage_checks import blends_of, stage_problems

CONVERSATION_FORMATS = "`format: chat`, `preferences` and `ratings`"


def find_problems(spec: Spec) -> list[Problem]:
    """Return all violations of the rules between keys."""
    checks = (
        _sources,
        _splits,
        keep_problems,
        _classifiers,
        _source_names,
        _cell_names,
        _choices,
        objective_problems,
        _dedup_groups,
        _conversations,
        _dedup_on,
        _mixtures,
        phase_problems,
        recipes,
        architectures,
        _windows,
        _transforms,
        stage_problems,
        search_problems,
    )
    return [problem for check in checks for problem in check(spec)]


def _sources(spec: Spec) -> Iterator[Problem]:
    for name, source in spec.sources.items():
        if name in RESERVED:
            yield Problem(("sources", name), f"{name!r} is a reserved word of the spec; rename the source")
        if bool(source.files) == bool(source.megatron):
            message = "needs exactly one of `files` and `megatron`"
            yield Problem(("sources", name), message)
        if source.megatron is None:
            if source.tokenizer_sha256 is not None:
                message = "applies only to a `megatron` source; remove it"
                yield Problem(("sources", name, "tokenizer_sha256"), message)
            continue
        for key in sorted(source.model_fields_set - {"megatron", "tokenizer_sha256", "files", "transform"}):
            message = "applies only to texts, and a `megatron` source has only tokens; remove it"
            yield Problem(("sources", name, key), message)
        if spec.tokenizer.train is not None:
            message = "needs the tokenizer that produced its tokens, but this spec trains a new one; name the former"
            yield Problem(("sources", name, "megatron"), message)


def _splits(spec: Spec) -> Iterator[Problem]:
    """Check that a category is split by its values and a number by ranges."""
    for name, source in spec.sources.items():
        labels = spec.labels_of(name)
        for index, axis in enumerate(source.axes):
            path: KeyPath = ("sources", name, "split_by", index)
            is_number = axis.column not in labels or labels[axis.column].is_number  # otherwise a confidence
            if axis.clusters is not None and axis.column in {**spec.labels, **source.labels}:
                message = f"is the name of the label with the clusters; rename the label {axis.column!r}"
                yield Problem((*path, "clusters"), message)
            elif axis.clusters is not None:
                yield from _cluster_labels(axis.clusters, labels, (*path, "clusters"))
            elif axis.score is None and is_number:
                message = f"{axis.column!r} is a number; write {{score: {axis.column}, quantiles: 20}}"
                yield Problem((*path, "label"), message)
            if axis.score is not None and not is_number:
                yield Problem((*path, "score"), f"{axis.column!r} is not a number; write `split_by: {axis.column}`")
        yield from twice([axis.column for axis in source.axes], ("sources", name, "split_by"))


def is_source(spec: Spec, entry: str) -> bool:
    """Whether an entry of a classifier's side is a source, or a part of one, and not a pattern of files."""
    wholes = {name.partition("/")[0]: source for name, source in spec.sources.items()}
    whole = wholes.get(entry.partition("/")[0])
    return whole is not None and ("/" not in entry or whole.split_by is not None)


def _classifiers(spec: Spec) -> Iterator[Problem]:
    """Check the sources that classifiers are trained on."""
    declared: list[tuple[KeyPath, Mapping[str, Label]]] = [(("labels",), spec.labels)]
    declared += [(("sources", name, "labels"), source.labels) for name, source in spec.sources.items()]
    for path, labels in declared:
        for label, given in labels.items():
            if given.classifier is not None and given.classifier.from_ is None:
                yield from _examples(spec, given.classifier, (*path, label, "classifier"))


def _examples(spec: Spec, classifier: Classifier, path: KeyPath) -> Iterator[Problem]:
    sides = {"positive": classifier.positive or (), "negative": classifier.negative or ()}
    for side, entries in sides.items():
        yield from twice(entries, (*path, side))
        for index, entry in enumerate(entries):
            at, (whole, is_part, _) = (*path, side, index), entry.partition("/")
            if not is_source(spec, entry):
                if not set(entry) & set("/*."):
                    message = f"there is no source {entry!r}; {nearest(entry, spec.sources)}"
                    yield Problem(at, f"{message}; for the files of a folder write '{entry}/*'")
                continue
            source = next(source for name, source in spec.sources.items() if name.partition("/")[0] == whole)
            if source.megatron is not None or source.kind is not None:
                kind = "tokens" if source.megatron is not None else "conversations"
                yield Problem(at, f"{whole!r} has only {kind}, and a classifier is trained on plain texts; remove it")
            if is_part and source.axes:
                yield Problem(at, f"{whole!r} is divided into cells after classifiers are trained; write {whole!r}")
            if is_part and any(whole in others for name, others in sides.items() if name != side):
                yield Problem(at, f"{entry!r} is a part of {whole!r}, which is on the other side; remove one of them")


def _cluster_labels(clusters: Clusters, labels: Mapping[str, Label], path: KeyPath) -> Iterator[Problem]:
    """Check that clusters are merged within categories, and pruned by the mean of a number or the share of a value."""
    own = {name: label for name, label in labels.items() if label.clusters is None}
    for key, names in (("within", clusters.within or ()), ("prune", [rule.label for rule in clusters.prune or ()])):
        for index, name in enumerate(names):
            if name not in own:
                yield Problem((*path, key, index), f"there is no label {name!r}; {nearest(name, own)}")
    for index, name in enumerate(clusters.within or ()):
        if name in own and own[name].is_number:
            yield Problem((*path, "within", index), f"{name!r} is a number; name a label that is a category")
    for index, rule in enumerate(clusters.prune or ()):
        if rule.label in own and own[rule.label].is_number != (rule.is_ is None):
            about = "is a number: remove `is`" if own[rule.label].is_number else "is a category: `is` names its value"
            yield Problem((*path, "prune", index), f"{rule.label!r} {about}")


def _conversations(spec: Spec) -> Iterator[Problem]:
    for name, source in spec.sources.items():
        path: KeyPath = ("sources", name)
        if source.kind is None:
            for key in ("template", "supervise"):
                if getattr(source, key) is not None:
                    yield Problem((*path, key), f"applies only to {CONVERSATION_FORMATS}; set `format`, or remove it")
            continue
        if "text" in source.model_fields_set:
            message = "has no effect: records are conversations, whose fields are known by name; remove it"
            yield Problem((*path, "text"), message)
        if source.extractor is not None:
            message = "takes texts out of HTML, and these records are conversations; remove it"
            yield Problem((*path, "extractor"), message)
        if source.axes:
            message = "conversations cannot be divided into cells; name a field of the records, or remove it"
            yield Problem((*path, "split_by"), message)
        if source.kind != "chat" and source.supervise == "all":
            message = f"with `format: {source.kind}` only answers are supervised; use `answers` or `last_answer`"
            yield Problem((*path, "supervise"), message)
        for key, rule in (spec.dedup.cuts if spec.dedup is not None else {}).items():
            if rule.sources is None or name in rule.sources:
                what = "lines" if key == "paragraphs" else "text"
                message = f"would cut {what} out of the conversations of {name!r}; list the other sources in `sources`"
                yield Problem(("dedup", key), message)


def _dedup_on(spec: Spec) -> Iterator[Problem]:
    if spec.dedup is None or spec.dedup.on != "prompts":
        return
    if all(source.kind is None for source in spec.sources.values()):
        message = f"prompts are compared of {CONVERSATION_FORMATS}, and no source has these; remove it"
        yield Problem(("dedup", "on"), message)
    if spec.dedup.semantic is not None:
        message = "compares whole texts only; set `semantic: false`, or remove `on: prompts`"
        yield Problem(("dedup", "semantic"), message)


def _cell_names(spec: Spec) -> Iterator[Problem]:
    """Check names of cells that the spec alone determines: those of quantiles and edges, where they are not crossed."""
    for path, blend in blends_of(spec):
        for name in blend.shares or ():
            whole, _, cell = name.partition("/")
            axes = spec.sources[whole].axes if whole in spec.sources else ()
            if not cell or len(axes) != 1 or axes[0].score is None:
                continue
            known = (*cells_of_number(axes[0]), UNLABELLED)
            if cell not in known:
                message = f"source {whole!r} has no part {cell!r}; its parts are {known[0]} to {known[-2]}"
                yield Problem((*path, "shares", name), message)


def _source_names(spec: Spec) -> Iterator[Problem]:
    split = {name for name, source in spec.sources.items() if source.split_by}
    for path, name in named_sources(spec):
        if name not in spec.sources and name.partition("/")[0] not in split:
            yield Problem(path, f"there is no source {name!r}; {nearest(name, spec.sources)}")
        whole = name.partition("/")[0]
        if path[0] == "dedup" and whole != name and whole in spec.sources and spec.sources[whole].axes:
            yield Problem(path, f"{whole!r} is divided into cells after deduplication; write {whole!r}")


def named_sources(spec: Spec) -> Iterator[tuple[KeyPath, str]]:
    """Every key outside mixtures that names a source, with the name."""
    if spec.dedup is not None:
        for index, name in enumerate(spec.dedup.keep):
            yield ("dedup", "keep", index), name
        for key, rule in {"semantic": spec.dedup.semantic, **spec.dedup.cuts}.items():
            for index, name in enumerate(rule.sources or () if rule is not None else ()):
                yield ("dedup", key, "sources", index), name
        if isinstance(spec.dedup.scope, dict):
            for group, members in spec.dedup.scope.items():
                for index, name in enumerate(members):
                    yield ("dedup", "scope", group, index), name
    if spec.target is not None:
        for name in spec.target.max_epochs:
            if name != "default":
                yield ("target", "max_epochs", name), name
    for name in spec.train.loss_weights:
        yield ("train", "loss_weights", name), name
    if spec.search is not None:
        for group, part in spec.search.fixed.items():
            for name in part.of:
                yield ("search", "fixed", group, "of", name), name
    if spec.objective is not None:
        for name in spec.objective.weights:
            yield ("objective", spec.objective.weights_key, name), name


def _choices(spec: Spec) -> Iterator[Problem]:
    tokenizer, heldout = spec.tokenizer, spec.heldout
    given = (tokenizer.sentencepiece, tokenizer.huggingface, tokenizer.tiktoken, tokenizer.train)
    if sum(value is not None for value in given) != 1:
        kinds = "`sentencepiece`, `huggingface`, `tiktoken` and `train`"
        yield Problem(("tokenizer",), f"needs exactly one of {kinds}; {REMOVE_INHERITED}")
    if tokenizer.tiktoken is None:
        for key in sorted(tokenizer.model_fields_set & {"pattern", "special_tokens"}):
            yield Problem(("tokenizer", key), f"applies only to a `tiktoken` rank file; {REMOVE_INHERITED}")
    if (heldout.create is None) == (heldout.from_ is None):
        yield Problem(("heldout",), f"needs exactly one of `create` and `from`; {REMOVE_INHERITED}")


def _dedup_groups(spec: Spec) -> Iterator[Problem]:
    if spec.dedup is None:
        return
    for path, name in named_sources(spec):
        if path[0] == "dedup" and name in spec.sources and spec.sources[name].megatron is not None:
            yield Problem(path, f"{name!r} has only tokens, and deduplication compares texts; remove it")
    yield from twice(spec.dedup.keep, ("dedup", "keep"))
    for key, rule in {"semantic": spec.dedup.semantic, **spec.dedup.cuts}.items():
        if rule is not None:
            yield from twice(rule.sources or (), ("dedup", key, "sources"))
    if isinstance(spec.dedup.scope, dict):
        members = [name for group in spec.dedup.scope.values() for name in group]
        yield from twice(members, ("dedup", "scope"))


def _mixtures(spec: Spec) -> Iterator[Problem]:
    for name, mixture in spec.mixtures.items():
        path: KeyPath = ("mixtures", name)
        if mixture.phases:
            for key in ("shares", "rule", "times", "temperature"):
                if key in mixture.model_fields_set:
                    yield Problem((*path, key), "is not allowed beside `phases`; move it into a phase")
            for index, phase in enumerate(mixture.phases):
                yield from _blend(phase, (*path, "phases", index))
        else:
            yield from _blend(mixture, path)


def _blend(blend: ShareSpec, path: KeyPath) -> Iterator[Problem]:
    if (blend.shares is None) == (blend.rule is None):
        yield Problem(path, "needs exactly one of shares, `rule` and `phases`")
    if blend.rule is None:
        for key in ("times", "temperature"):
            if key in blend.model_fields_set:
                yield Problem((*path, key), "applies only to a `rule`, and there is none here; remove it")
    elif (blend.rule == "temperature") != (blend.temperature is not None):
        message = "`rule: temperature` needs a `temperature`, and other rules have none"
        yield Problem((*path, "temperature"), message)


def _windows(spec: Spec) -> Iterator[Problem]:
    if spec.train.windows.pack != "best_fit":
        return
    for key in ("document_mask", "reset_position_ids"):
        if key in spec.train.model_fields_set and not getattr(spec.train, key):
            message = "best-fit packing restarts attention and positions at each document; remove it or set it to true"
            yield Problem(("train", key), message)


def _transforms(spec: Spec) -> Iterator[Problem]:
    for name, source in spec.sources.items():
        if source.transform is None:
            continue
        path: KeyPath = ("sources", name, "transform")
        if spec.train.stage != "pretrain":
            message = f"applies only to stage pretrain, and the stage is {spec.train.stage}; {REMOVE_INHERITED}"
            yield Problem(path, message)
        elif source.kind is not None:
            yield Problem(path, f"applies only to plain documents, and the records are {source.kind}; remove it")
        fim = source.transform.fim
        if fim is None:
            continue
        if fim.unit == "piece" and spec.train.windows.pack != "best_fit":
            message = "`piece` needs packed windows; set `train: {windows: {pack: best_fit}}`, or use `unit: document`"
            yield Problem((*path, "fim", "unit"), message)
        tokens = {"prefix": fim.prefix, "suffix": fim.suffix, "middle": fim.middle}
        missing = [key for key, token in tokens.items() if token is None]
        if 0 < len(missing) < len(tokens):
            message = f"needs all three tokens or none; missing: `{'`, `'.join(missing)}`"
            yield Problem((*path, "fim"), message)
        elif not missing and len(set(tokens.values())) < len(tokens):
            yield Problem((*path, "fim"), "`prefix`, `suffix` and `middle` must be three different tokens")
