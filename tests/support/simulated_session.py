"""What the simulated client does with each request: the endpoints this project uses."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support import simulated_disk as disk
from tests.support.simulated_http import Answer, Form, Refusal
from tests.support.simulated_managing import managing
from tests.support.simulated_torrent import (
    Flavour,
    Phase,
    SimTorrent,
    from_torrent_file,
    restored,
)

Endpoint = Callable[[Form], Answer | None]


class Session:
    """All torrents of one client; each change is saved before it is answered, or a bit later."""

    def __init__(
        self,
        flavour: Flavour,
        profile: Path,
        *,
        refresh_s: float,
        move_s: float = 0,
        saves_late: bool = False,
    ) -> None:
        """`move_s`: seconds a move takes at least.  `saves_late`: save only with a refresh."""
        self.flavour, self.refresh_s, self.move_s = flavour, refresh_s, move_s
        self._saves_late = saves_late
        self.lock = threading.RLock()
        self.torrents: dict[str, SimTorrent] = {}
        self.coming: list[SimTorrent] = []  # one with each refresh
        self.categories: dict[str, dict[str, str]] = {}
        self.downloads = str(profile / "downloads")
        self.queue: list[str] | None = None  # ids, the first first; None: it does not queue
        self.shown_queue: list[str] = []  # as of the last refresh
        self.history: dict[str, list[str]] = {}
        self._file = profile / "simulated.json"
        self._over = threading.Event()
        self._load()
        self._ticking = threading.Thread(target=self._tick, daemon=True)
        self._ticking.start()

    def end(self) -> None:
        self._over.set()
        self._ticking.join()

    def answer(self, endpoint: str, form: Form) -> Answer:
        serve = self._endpoints().get(endpoint)
        if serve is None:
            raise Refusal(404, "Not Found")
        with self.lock:
            result = serve(form)
            if result is None:
                if not self._saves_late:
                    self.save()
                self._note()
            return "" if result is None else result

    def _endpoints(self) -> dict[str, Endpoint]:
        flavour = self.flavour
        return managing(self) | {
            "app/version": lambda _: flavour.app,
            "app/webapiVersion": lambda _: flavour.api,
            "app/preferences": lambda _: {
                "refresh_interval": round(self.refresh_s * 1000),
                "save_path": self.downloads,
                "torrent_changed_tmm_enabled": True,
            },
            "torrents/info": self._info,
            "torrents/files": lambda form: self._one(form).file_rows(),
            "torrents/export": lambda form: bytes.fromhex(self._one(form).metainfo),
            "torrents/categories": lambda _: dict(self.categories),
            "torrents/add": self._add,
            "torrents/delete": self._delete,
            f"torrents/{flavour.stop}": self._stop,
            f"torrents/{flavour.start}": self._start,
            "torrents/setForceStart": self._force,
            "torrents/setAutoManagement": self._auto_management,
            "torrents/setLocation": self._set_location,
            "torrents/setSavePath": self._set_save_path,
            "torrents/setDownloadPath": self._set_download_path,
            "torrents/recheck": self._recheck,
            "torrents/renameFile": self._rename_file,
            "torrents/renameFolder": self._rename_folder,
            "torrents/createCategory": self._create_category,
            "torrents/setCategory": self._set_category,
            "torrents/addTags": lambda form: self._tag(form, add=True),
            "torrents/removeTags": lambda form: self._tag(form, add=False),
        }

    # Reading

    def _one(self, form: Form) -> SimTorrent:
        try:
            return self.torrents[form.need("hash")]
        except KeyError:
            raise Refusal(404, "Not Found") from None

    def _some(self, form: Form, name: str = "hashes") -> Iterator[SimTorrent]:
        """Those that are named and known; the others are passed over without a word."""
        named = form.need(name).split("|")
        yield from [t for t in self.torrents.values() if t.hash in named or named == ["all"]]

    def _info(self, form: Form) -> Answer:
        wanted = form.get("hashes")
        named = set(wanted.split("|")) if wanted and wanted != "all" else None
        return [
            torrent.row(self.flavour) | {"priority": self._place(torrent.hash)}
            for torrent in self.torrents.values()
            if named is None or torrent.hash in named
        ]

    def _place(self, torrent_id: str) -> int:
        """From 1; 0 for what is not in the queue."""
        queue = self.shown_queue
        return queue.index(torrent_id) + 1 if torrent_id in queue else 0

    # Adding and removing

    def _add(self, form: Form) -> Answer:
        auto, category = form.flag("autoTMM"), form.get("category")
        if category:
            self.categories.setdefault(category, {"name": category, "savePath": ""})
        place = self._category_path(category) if auto else form.get("savepath") or self.downloads
        for blob in form.blobs:
            torrent = from_torrent_file(
                blob,
                save_path=_cleaned(place),
                with_folder=form.get("contentLayout") != "NoSubfolder",
            )
            if torrent.hash in self.torrents:
                return "Fails."
            torrent.auto_tmm, torrent.category = auto, category
            torrent.tags = [tag.strip() for tag in form.get("tags").split(",") if tag.strip()]
            torrent.stopped = form.flag("stopped") or form.flag("paused")
            if auto:
                torrent.download_path = self._category_download_path(category)
            elif form.flag("useDownloadPath"):
                torrent.download_path = form.get("downloadPath")
            if form.flag("skip_checking"):
                torrent.have = [True] * len(torrent.have)
                torrent.completion_on = torrent.added_on
            torrent.load()
            self.torrents[torrent.hash] = torrent
        self.save()
        self._note()
        return "Ok."

    def _delete(self, form: Form) -> None:
        for torrent in self._some(form):
            del self.torrents[torrent.hash]
            if form.flag("deleteFiles"):
                disk.remove_files(torrent.save_path, torrent.files)

    # Running

    def _stop(self, form: Form) -> None:
        for torrent in self._some(form):
            torrent.stopped = True

    def _start(self, form: Form) -> None:
        for torrent in self._some(form):
            self._run(torrent, forced=False)

    def _force(self, form: Form) -> None:
        for torrent in self._some(form):
            self._run(torrent, forced=form.flag("value"))  # "off" starts a stopped one, too

    def _run(self, torrent: SimTorrent, *, forced: bool) -> None:
        if torrent.stopped and torrent.since_move < 2:
            torrent.hold = 1  # a start after a move takes two refreshes to show
        torrent.stopped, torrent.forced = False, forced
        if torrent.missing:
            torrent.load(live=True)

    def _recheck(self, form: Form) -> None:
        for torrent in self._some(form):
            torrent.missing = False
            torrent.forget()
            torrent.phase = Phase.CHECKING
            torrent.shown, torrent.shown_progress = "checkingResumeData", 0.0

    # Places

    def _set_location(self, form: Form) -> None:
        place = _cleaned(form.need("location"))
        if not place:
            raise Refusal(400, "Save path cannot be empty")
        _make_path(place)  # also when no torrent is known by the hashes
        for torrent in self._some(form):
            torrent.auto_tmm = False  # and the download path stays what it was
            self._move(torrent, place)

    def _set_save_path(self, form: Form) -> None:
        place = _cleaned(form.need("path"))
        _make_path(place)
        for torrent in self._some(form, "id"):
            if not torrent.auto_tmm:
                self._move(torrent, place)

    def _set_download_path(self, form: Form) -> None:
        place = _cleaned(form.need("path"))
        if place:
            _make_path(place, "Cannot create target directory")
        for torrent in self._some(form, "id"):
            if not torrent.auto_tmm:
                torrent.download_path = place

    def _auto_management(self, form: Form) -> None:
        for torrent in self._some(form):
            torrent.auto_tmm = form.flag("enable")
            self._follow_category(torrent)

    def _create_category(self, form: Form) -> None:
        name = form.need("category")
        if name in self.categories:
            raise Refusal(409, "Unable to create category")
        self.categories[name] = {"name": name, "savePath": form.get("savePath")}
        if form.flag("downloadPathEnabled"):
            self.categories[name]["download_path"] = form.get("downloadPath")

    def _set_category(self, form: Form) -> None:
        name = form.need("category")
        if name and name not in self.categories:
            raise Refusal(409, "Incorrect category name")
        for torrent in self._some(form):
            torrent.category = name
            self._follow_category(torrent)

    def _follow_category(self, torrent: SimTorrent) -> None:
        if torrent.auto_tmm:
            torrent.download_path = self._category_download_path(torrent.category)
            self._move(torrent, self._category_path(torrent.category))

    def _category_path(self, category: str) -> str:
        chosen = self.categories.get(category, {}).get("savePath", "")
        return _cleaned(chosen or os.path.join(self.downloads, category))

    def _category_download_path(self, category: str) -> str:
        return self.categories.get(category, {}).get("download_path", "")

    def _move(self, torrent: SimTorrent, place: str) -> None:
        old = torrent.save_path
        if place == old:
            return
        torrent.save_path, torrent.since_move = place, 0
        if torrent.missing:
            # Looks again at the new place.  4.x has lost the pieces by then: it owes a full check.
            disk.move(old, place, torrent.files)
            if self.flavour.forgets_on_move:
                torrent.forget()
            torrent.load(live=True)
            return
        if self.move_s or self.flavour.shows_moving:
            torrent.shown = "moving"
        if not self.move_s:
            self._moved(torrent, old)
            return
        torrent.phase, torrent.stored_at = Phase.MOVING, old
        threading.Thread(target=self._move_slowly, args=(torrent, old), daemon=True).start()

    def _move_slowly(self, torrent: SimTorrent, old: str) -> None:
        if not self._over.wait(self.move_s):
            with self.lock:
                torrent.phase, torrent.stored_at = Phase.IDLE, ""
                self._moved(torrent, old)
                self.save()

    def _moved(self, torrent: SimTorrent, old: str) -> None:
        if disk.move(old, torrent.save_path, torrent.files):
            torrent.owed = True
            torrent.forget()

    # Names

    def _rename_file(self, form: Form) -> None:
        self._rename(form, lambda name, old, new: new if name == old else name)

    def _rename_folder(self, form: Form) -> None:
        def renamed(name: str, old: str, new: str) -> str:
            return f"{new}{name[len(old) :]}" if name.startswith(f"{old}/") else name

        self._rename(form, renamed)

    def _rename(self, form: Form, renamed: Callable[[str, str, str], str]) -> None:
        torrent, old, new = self._one(form), form.need("oldPath"), form.need("newPath")
        if renamed(torrent.files[0].name, old, new) == torrent.files[0].name and not any(
            renamed(file.name, old, new) != file.name for file in torrent.files
        ):
            raise Refusal(409, f"No such file: '{old}'.")
        before = list(torrent.files)
        for file in torrent.files:
            name = renamed(file.name, old, new)
            if name != file.name:
                disk.rename(torrent.save_path, file.name, name)
        torrent.files = [
            disk.StoredFile(renamed(file.name, old, new), file.size) for file in before
        ]
        disk.remove_empty_folders(torrent.save_path, before)

    def _tag(self, form: Form, *, add: bool) -> None:
        named = {tag.strip() for tag in form.need("tags").split(",") if tag.strip()}
        for torrent in self._some(form):
            now = set(torrent.tags)
            torrent.tags = sorted(now | named if add else now - named)

    # Time and memory

    def _tick(self) -> None:
        while not self._over.wait(self.refresh_s):
            with self.lock:
                self.shown_queue = list(self.queue or ())
                if self.coming:
                    self._let_in(self.coming.pop(0))
                for torrent in self.torrents.values():
                    torrent.refresh()
                    torrent.show(self.flavour)
                self.save()
                self._note()

    def _note(self) -> None:
        for torrent in self.torrents.values():
            past = self.history.setdefault(torrent.hash, [])
            if not past or past[-1] != torrent.shown:
                past.append(torrent.shown)

    def save(self) -> None:
        with self.lock:  # the ticking thread saves, too, and by the same temporary name
            kept: dict[str, Any] = {
                "categories": self.categories,
                "torrents": [
                    torrent.saved() for torrent in (*self.torrents.values(), *self.coming)
                ],
            }
            fresh = self._file.with_suffix(".new")
            fresh.write_text(json.dumps(kept))
            fresh.replace(self._file)

    def _load(self) -> None:
        if not self._file.exists():
            return
        kept = json.loads(self._file.read_text())
        self.categories = kept["categories"]
        for row in kept["torrents"]:
            self.coming.append(restored(row))
        while self.coming and not self.flavour.answers_while_loading:
            self._let_in(self.coming.pop(0))

    def _let_in(self, torrent: SimTorrent) -> None:
        torrent.load()
        self.torrents[torrent.hash] = torrent


def _cleaned(path: str) -> str:
    return "/" + os.path.normpath(path).lstrip("/") if path else ""


def _make_path(path: str, words: str = "Cannot make save path") -> None:
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError:
        raise Refusal(409, words) from None
    if not os.access(path, os.W_OK):
        raise Refusal(403, "Cannot write to directory")
