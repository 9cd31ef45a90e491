"""Which files of a payload are extras: a setting, which the media hashes of the catalog follow."""

from __future__ import annotations

from hashall import payload as identity
from hashall.catalog import Catalog
from seedkeep.sqlite import transaction


def use_extras(catalog: Catalog, words: tuple[str, ...]) -> bool:
    """Hash the media of all payloads anew when other files count as extras than before.

    Args:
        words: Endings with their dots in lower case, and `sample`, as the setting gives them.

    Returns:
        Whether something had to be hashed.  It costs seconds for hundreds of thousands of files.
    """
    wanted = frozenset(words)
    if wanted == catalog.payloads.extras:
        return False
    hashes = []
    for payload_id, members in catalog.payloads.manifests():
        found = identity.hashes_of(members, wanted)
        hashes.append((payload_id, found.media_hash if found else None))
    with transaction(catalog.db):
        catalog.payloads.put_extras(wanted, hashes)
    return True
