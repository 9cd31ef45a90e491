"""Which payloads resemble each other, and what moves together.  Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

Content = tuple[str, int]  # sha256, size


def components(nodes: Iterable[str], links: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Sets of nodes that are connected, each sorted, in the order of their first node."""
    parent = {node: node for node in nodes}

    def root(node: str) -> str:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for first, *others in links:
        for other in others:
            a, b = sorted((root(first), root(other)))
            parent[b] = a
    found: dict[str, list[str]] = defaultdict(list)
    for node in sorted(parent):
        found[root(node)].append(node)
    return sorted(tuple(nodes) for nodes in found.values())


def subsets(contents: Iterable[tuple[int, str, int]]) -> list[tuple[int, int]]:
    """(smaller, larger) payload ids: every file of the first is in the second, which has more.

    Args:
        contents: (payload id, sha256, size) of each member.
    """
    files: dict[int, Counter[Content]] = defaultdict(Counter)
    holders: dict[Content, set[int]] = defaultdict(set)
    for payload_id, sha256, size in contents:
        files[payload_id][sha256, size] += 1
        holders[sha256, size].add(payload_id)
    found = []
    for payload_id, mine in files.items():
        rarest = min(mine, key=lambda content: len(holders[content]))
        for other in holders[rarest]:
            if other != payload_id and mine < files[other]:
                found.append((payload_id, other))
    return sorted(found)
