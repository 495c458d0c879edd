"""Small specs for the rooms of documents, and one Ray for all tests that need workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import pytest

from mixproof.mixtures.spec import Dedup, Heldout, HeldoutCreate, OnBadRecord, Source, Spec
from mixproof.pipeline.cluster import Cluster

MakeSpec = Callable[..., Spec]


@pytest.fixture
def make_spec() -> MakeSpec:
    """Make a spec of the parts that documents need: sources by name (files, or a `Source`), `reject`, `dedup`."""

    def make(sources: dict[str, Any], *, reject: Fraction | str = "0%", dedup: Dedup | None = None) -> Spec:
        full = {
            name: source if isinstance(source, Source) else Source(files=tuple(source))
            for name, source in sources.items()
        }
        return Spec.model_construct(
            schema_=1,
            name="small",
            sources=full,
            on_bad_record=OnBadRecord(reject=reject),  # type: ignore[arg-type]  # parsed by the model
            dedup=dedup,
            heldout=Heldout(create=HeldoutCreate()),
            decontaminate=False,
        )

    return make


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Ray of two workers on this machine; starts when the first test runs a task."""
    with Cluster(workers=2) as started:
        yield started
