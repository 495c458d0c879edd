"""Cluster: Ray started or joined, tasks submitted, retried and collected."""
