"""The clusters by which sources were divided: names, sizes, labels and typical documents, and a map."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.cells import AxisRecord, ClustersRecord
from mixproof.ledger.store import Store

from .cluster_map import NARROW, WIDE, ClusterMap, MappedCluster, draw_map
from .palette import OF_SOURCES, looks
from .table import Cell, Table, columns, count, percent

LABEL = "label."
CONFIDENCE = ".confidence"
MOST_ROW_GROUPS = 16
"""Row groups whose labels are read of one cluster."""


@dataclass(frozen=True)
class ClusterView:
    """The clusters of one source."""

    source: str
    table: Table
    maps: tuple[ClusterMap, ...]
    label: str
    """Description for screen readers."""
    sentence: str


def cluster_views(store: Store, manifest: Manifest) -> list[ClusterView]:
    """What the page shows of each source that was divided by clusters."""
    found = []
    for name, record in sorted(manifest.cells.items()):
        for index, axis in enumerate(record.axes):
            if axis.clusters is not None:
                found.append(_view(store, manifest, name, index, axis.clusters))
    return found


def _view(store: Store, manifest: Manifest, source: str, index: int, clusters: ClustersRecord) -> ClusterView:
    form = json.loads(store.path(clusters.path).read_bytes())
    record = manifest.cells[source]
    parts_of = _parts_of(manifest, source, index)
    colors = looks([cluster["name"] for cluster in form["clusters"]], OF_SOURCES)
    mapped, rows = [], []
    for number, cluster in enumerate(form["clusters"]):
        name, parts = cluster["name"], parts_of.get(cluster["name"], [])
        counts = [record.parts[part] for part in parts]
        documents, size = sum(each.documents for each in counts), sum(each.bytes for each in counts)
        fine = tuple(np.flatnonzero(np.array(form["cluster_of"]) == number).tolist())
        mapped.append(MappedCluster(name, size, colors[name].color, fine))
        rows.append(
            (
                Cell(name, color=colors[name].color, note=", ".join(cluster["words"])),
                Cell("; ".join(_labels(store, manifest, parts, record.axes[index])) or "none"),
                Cell(", ".join(cluster["typical"])),
                count(documents),
                count(size),
                Cell(percent(size / (record.bytes or 1)), size),
            )
        )
    heads = columns("cluster", "labels", "typical documents", "documents", "bytes", "% of bytes", text=3)
    table = Table(f"clusters-{source}", f"Clusters of {source}, by their most telling words", heads, tuple(rows))
    shown = [cluster for cluster in mapped if cluster.fine]
    centroids = np.array(form["centroids"], np.float64)
    maps = tuple(draw_map(centroids, shown, geometry) for geometry in (WIDE, NARROW))
    label = "Map of clusters: " + ", ".join(f"{cluster.name} {cluster.size:,} bytes" for cluster in shown)
    return ClusterView(source, table, maps, label, _sentence(form, manifest, source))


def _sentence(form: dict[str, Any], manifest: Manifest, source: str) -> str:
    record = manifest.cells[source]
    text = (
        f"{len(form['clusters'])} clusters of {len(form['centroids'])} fine ones, found on a sample of "
        f"{sum(cluster['sample_documents'] for cluster in form['clusters']):,} documents. In the map, circles are "
        "clusters with an area in proportion to their bytes, and dots are fine clusters; the axes are the two "
        "directions in which these differ most."
    )
    if record.pruned is None:
        return text
    lost = f"{record.pruned.documents:,} documents of {record.pruned.bytes:,} bytes"
    number = form["pruned"]["fine_clusters"]
    return f"{text} {number} fine {'cluster was' if number == 1 else 'clusters were'} pruned: {lost}."


def _parts_of(manifest: Manifest, source: str, index: int) -> dict[str, list[str]]:
    """The parts of a source by their value on one axis."""
    found: dict[str, list[str]] = {}
    for part in manifest.cells[source].parts:
        value = manifest.spec["sources"][part]["split_value"]
        found.setdefault(value if isinstance(value, str) else value[index], []).append(part)
    return found


def _labels(store: Store, manifest: Manifest, parts: list[str], axis: AxisRecord) -> Iterator[str]:
    """The mean of each number and the most frequent value of each category, over the datasets of some parts."""
    tables = list(_label_rows(store, manifest, parts))
    if not tables:
        return
    rows = pa.concat_tables(tables)
    for name in rows.column_names:
        label, values = name.removeprefix(LABEL), [value for value in rows[name].to_pylist() if value is not None]
        if not values or label == axis.column or label.endswith(CONFIDENCE):
            continue
        if isinstance(values[0], str):
            value, number = min(Counter(values).items(), key=lambda item: (-item[1], item[0]))
            yield f"{label} {value[:40]} {number / rows.num_rows:.0%}"
        else:
            yield f"{label} {sum(values) / len(values):.3g}"


def _label_rows(store: Store, manifest: Manifest, parts: list[str]) -> Iterator[pa.Table]:
    files = [store.path(each.provenance) for part in parts for each in manifest.sources[part].train.datasets]
    groups = []
    for file in files:
        with pq.ParquetFile(file) as opened:
            groups += [(file, group) for group in range(opened.num_row_groups)]
    for file, group in groups[:: max(1, -(-len(groups) // MOST_ROW_GROUPS))]:
        with pq.ParquetFile(file) as opened:
            names = [name for name in opened.schema_arrow.names if name.startswith(LABEL)]
            yield opened.read_row_group(group, columns=names)
