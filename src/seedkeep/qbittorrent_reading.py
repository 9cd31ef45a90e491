"""Reading a whole client: the part of `QBittorrentClient` made for thousands of torrents."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import qbittorrentapi
from qbittorrentapi.definitions import APINames

from seedkeep.errors import SeedError, Unreachable
from seedkeep.qbittorrent_arguments import checked_ids, in_chunks
from seedkeep.qbittorrent_bulk import PATIENCE, Address, files_of, read_files
from seedkeep.qbittorrent_errors import explained
from seedkeep.qbittorrent_inventory import TextInventory
from seedkeep.qbittorrent_loading import LoadingClient
from seedkeep.qbittorrent_reader import read_lists
from seedkeep.qbittorrent_rows import Row, rows_of
from seedkeep.torrent_client import (
    ClientRefused,
    ClientTooOld,
    ClientVersion,
    FileList,
    NoSuchTorrent,
    TorrentFile,
)

FILES_IN_INFO = (2, 11, 8)  # torrents/info?includeFiles
IDS_WITH_FILES = 200  # torrents of one answer that has their files as well


class WholeClient(LoadingClient):
    """Needs `_api`, `_host`, `_call`, `version` and `files` of the class that it is a part of."""

    _api: Any
    _host: str
    _call: Callable[..., Any]
    version: Callable[[], ClientVersion]
    files: Callable[[str], list[TorrentFile]]

    def _read(self, ask: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`_call` for a question: what is refused then was not answered by qBittorrent.

        A proxy in front of it says 404 while it is away, or 403 to whoever has not logged in there.

        Raises:
            NotFound404Error: For a question about a torrent, which it may not have.
        """
        try:
            return self._call(ask, *args, **kwargs)
        except (qbittorrentapi.HTTP4XXError, NotImplementedError) as why:
            if "torrent_hash" in kwargs and isinstance(why, qbittorrentapi.NotFound404Error):
                raise
            raise explained(why, self._host) from why

    def inventory(self) -> TextInventory:
        self._was_loading()
        answer = self._read(
            self._api._post_cast,
            _name=APINames.Torrents,
            _method="info",
            data={},
            response_class=bytes,
        )
        return TextInventory.of(answer.decode("utf-8", "replace"))

    def file_lists(self, ids: Collection[str]) -> Iterator[FileList]:
        checked_ids(ids)
        wanted = [*dict.fromkeys(torrent_id.lower() for torrent_id in ids)]
        if self.version().api >= FILES_IN_INFO:
            yield from self._lists_by_hundreds(wanted)
        else:
            yield from self._lists_one_by_one(wanted)

    def export(self, torrent_id: str) -> bytes:
        (wanted,) = checked_ids([torrent_id])
        try:
            answer: bytes = self._call(self._api.torrents_export, torrent_hash=wanted)
        except qbittorrentapi.NotFound404Error as why:
            raise _gone(wanted) from why
        except qbittorrentapi.HTTP4XXError as why:
            raise ClientRefused(f"qBittorrent cannot export {wanted}", detail=str(why)) from why
        except NotImplementedError as why:
            raise ClientTooOld(
                f"qBittorrent {self.version().app} cannot export torrents",
                detail="torrents/export exists from qBittorrent 4.5 on",
                hint="update qBittorrent",
            ) from why
        return answer

    def _lists_one_by_one(self, wanted: list[str]) -> Iterator[FileList]:
        patience = PATIENCE
        silent: Unreachable | None = None
        for found in read_lists(self._address(), wanted):
            if found.files is not None:
                patience = PATIENCE
                yield FileList(found.torrent_id, files_of(found.files))
            elif found.silent or patience == 0:
                why = silent or self._silence(found.why)
                yield FileList(found.torrent_id, error=why)
            else:
                answer = self._by_library(found.torrent_id)
                silent = answer.error if isinstance(answer.error, Unreachable) else None
                patience = patience - 1 if silent else PATIENCE
                yield answer

    def _by_library(self, torrent_id: str) -> FileList:
        try:
            return FileList(torrent_id, tuple(self.files(torrent_id)))
        except SeedError as why:
            return FileList(torrent_id, error=why)

    def _lists_by_hundreds(self, wanted: list[str]) -> Iterator[FileList]:
        patience = PATIENCE
        silent: Unreachable | None = None
        for some in in_chunks(wanted, IDS_WITH_FILES):
            if patience:
                try:
                    yield from self._with_files(some)
                    patience, silent = PATIENCE, None
                    continue
                except Unreachable as why:
                    patience, silent = patience - 1, why
            yield from (FileList(torrent_id, error=silent) for torrent_id in some)

    def _with_files(self, some: list[str]) -> list[FileList]:
        answer = self._read(self._api.torrents_info, torrent_hashes=some, include_files=True)
        found: dict[str, FileList] = {}
        for row in rows_of("torrents/info", answer):
            torrent_id = row.text("hash").lower()
            found[torrent_id] = _files_of(torrent_id, row)
        missing = (FileList(torrent_id, error=_gone(torrent_id)) for torrent_id in some)
        return [found.get(gone.torrent_id, gone) for gone in missing]

    def _address(self) -> Address:
        session = self._api._session
        return Address(
            url=self._host,
            cookie="; ".join(f"{cookie.name}={cookie.value}" for cookie in session.cookies),
            timeout_s=float(self._api._REQUESTS_ARGS["timeout"]),
            verify=session.verify,
        )

    def _silence(self, words: str) -> Unreachable:
        return Unreachable(
            "qBittorrent stopped answering", detail=words, hint="is it busy, or has it ended?"
        )


def _files_of(torrent_id: str, row: Row) -> FileList:
    if "files" not in row.values and row.values.get("has_metadata") is False:
        return FileList(torrent_id)  # a magnet link that nobody has answered yet
    try:
        return FileList(torrent_id, read_files(row.values.get("files")))
    except ValueError as why:
        return FileList(
            torrent_id,
            error=Unreachable(
                "qBittorrent's answer to torrents/info is not understood", detail=str(why)
            ),
        )


def _gone(torrent_id: str) -> NoSuchTorrent:
    return NoSuchTorrent(
        f"qBittorrent has no torrent {torrent_id}", hint="it may have been removed meanwhile"
    )
