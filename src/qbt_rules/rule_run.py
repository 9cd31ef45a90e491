"""One job: every rule of its context, in file order, on every torrent that the job is about.

A dry run takes the same way; only the last call is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qbt_rules import notify
from qbt_rules.api import Torrent, World
from qbt_rules.disk import Deed
from qbt_rules.effects import EFFECTS, Effect, ids_of
from qbt_rules.language.conditions import Explained, compile_condition, cost_of, explain
from qbt_rules.language.fields import Cost
from qbt_rules.language.values import Action, Rule, RuleBook
from qbt_rules.managed import MANAGING, why_not_manage
from qbt_rules.patience import Stopped
from qbt_rules.record import Outcome, Record
from seedkeep.errors import SeedError
from seedkeep.torrent_client import ClientRefused, ClientTooOld, NoSuchTorrent

ONE_BY_ONE = 100  # torrents of a refused call that are tried singly, to find those that it is about


@dataclass
class RuleRun:
    book: RuleBook
    world: World
    context: str | None
    dry_run: bool
    stopped: Callable[[], bool]
    max_deletes: int = 50  # torrents that one job may delete
    record: Record = field(init=False)
    _deleted: int = 0
    _files_gone: set[str] = field(default_factory=set)  # torrents whose files this job removes

    def run(self) -> Record:
        """Raises `Stopped`, `Unreachable` and what else makes the whole job fail."""
        self.record = Record(self.dry_run, torrents=len(self.world.torrents))
        self.record.warnings += self.book.warnings
        settled: set[str] = set()
        for rule in self.book.for_context(self.context):
            matched = list(self._matching(rule, settled))
            self.record.matched += len(matched)
            if rule.stop_on_match:
                settled.update(ids_of(matched))
            self.record.held.clear()
            for action in rule.actions:
                # An action before may have deleted some, or may not have been done to some.
                left = self.world.torrents.keys() - self.record.held
                there = [torrent for torrent in matched if torrent.torrent_id in left]
                if there:
                    self._perform(rule, action, there)
        return self.record

    def _matching(self, rule: Rule, settled: set[str]) -> Iterator[Torrent]:
        check = compile_condition(rule.condition, self.world.now)
        takes_long = cost_of(rule.condition) > Cost.LISTED
        for torrent in list(self.world.torrents.values()):
            if torrent.torrent_id in settled:
                continue
            if takes_long and self.stopped():
                raise Stopped
            verdict = check(torrent)
            if verdict:
                yield torrent
            elif verdict is None:
                told = explain(rule.condition, torrent, self.world.now)
                self.record.add_unknown(rule, torrent, _reasons(told))

    # -- actions

    def _perform(self, rule: Rule, action: Action, torrents: list[Torrent]) -> None:
        if self.stopped():
            raise Stopped
        if action.type in EFFECTS:
            self._change(rule, action, torrents, EFFECTS[action.type])
        elif action.type == "notify":
            self._notify(rule, action, torrents)
        elif action.type == "hashall_scan":
            self._scan(rule, action, torrents)
        else:
            self._deeds(rule, action, torrents)

    def _change(self, rule: Rule, action: Action, torrents: list[Torrent], effect: Effect) -> None:
        todo = self._allowed(rule, action, torrents, effect)
        if self.dry_run:
            self.record.add(rule, action, todo, Outcome.WOULD)
            done = todo
        else:
            done = self._act(rule, action, todo, effect)
            self.record.add(rule, action, done, Outcome.DONE)
        refused = set(ids_of(todo)) - set(ids_of(done))
        self._files_gone -= refused & self.world.torrents.keys()
        for torrent in done:
            effect.shown(torrent, action.params)
        if action.type == "delete_torrent":
            self.world.drop(ids_of(done))
        if done and action.type in ("delete_torrent", "set_location", *MANAGING):
            self.world.disk.forget()

    def _allowed(
        self, rule: Rule, action: Action, torrents: list[Torrent], effect: Effect
    ) -> list[Torrent]:
        """The torrents for which the action is to be done; the others are recorded."""
        todo: list[Torrent] = []
        for torrent in torrents:
            if effect.is_done(torrent, action.params):
                self.record.add(rule, action, [torrent], Outcome.SKIPPED)
            else:
                todo.append(torrent)
        if action.type == "delete_torrent":
            # Before the guards, which may have to read every file that would go.
            most = max(0, self.max_deletes - self._deleted)
            limit = f"this job has deleted {self.max_deletes} torrents, which is its limit"
            self.record.add(rule, action, todo[most:], Outcome.REFUSED, limit)
            todo = todo[:most]
        while True:  # who is refused stays, and may need the files of another
            reasons = [(torrent, self._why_not(action, torrent, todo)) for torrent in todo]
            for torrent, reason in reasons:
                if reason:
                    self.record.add(rule, action, [torrent], Outcome.REFUSED, reason)
            left = [torrent for torrent, reason in reasons if not reason]
            if len(left) == len(todo):
                break
            todo = left
        if action.type == "delete_torrent":
            self._deleted += len(todo)
            if action.params["delete_files"]:
                self._files_gone.update(ids_of(todo))
        return todo

    def _act(
        self, rule: Rule, action: Action, torrents: Sequence[Torrent], effect: Effect
    ) -> list[Torrent]:
        """Do it for all at once; returns those for which it was done."""
        todo = list(torrents)
        while todo:
            if self.stopped():  # the guards may have read for hours
                raise Stopped
            try:
                effect.act(self.world.client, todo, action.params)
            except NoSuchTorrent as why:
                gone = [t for t in todo if t.torrent_id in why.torrents] or todo
                self.record.add(rule, action, gone, Outcome.GONE, why.brief)
                self.world.drop(ids_of(gone))
                todo = [torrent for torrent in todo if torrent not in gone]
            except (ClientRefused, ClientTooOld) as why:
                return self._singly(rule, action, todo, effect, why)
            else:
                break
        return todo

    def _singly(
        self,
        rule: Rule,
        action: Action,
        torrents: list[Torrent],
        effect: Effect,
        why: SeedError,
    ) -> list[Torrent]:
        """A refusal may be about one of many: find the others."""
        if len(torrents) == 1 or len(torrents) > ONE_BY_ONE:
            self.record.add(rule, action, torrents, Outcome.FAILED, _words(why))
            return []
        return [done for torrent in torrents for done in self._act(rule, action, [torrent], effect)]

    def _why_not(self, action: Action, torrent: Torrent, together: Sequence[Torrent]) -> str:
        """What forbids the action for this torrent, "" when nothing does."""
        if action.type == "set_location":
            here, there = str(torrent.value("info.save_path")), action.params["location"]
            if self.world.disk.same_filesystem(here, there) is not True:
                return (
                    f"{there} is not known to be on the filesystem of {here}: there the client"
                    " would copy and break hardlinks; rehome_demote moves between filesystems"
                )
            if torrent.value("info.auto_tmm") is True:
                return "it is under automatic management; switch that off first"
            if other := self.world.disk.needed_by_other(torrent.torrent_id):
                return f"{other} needs the same files; rehome moves both"
        if action.type in MANAGING:
            return why_not_manage(self.world, torrent, action)
        if action.type == "delete_torrent" and action.params["delete_files"]:
            return self.world.disk.why_not_delete(
                torrent.torrent_id,
                {*ids_of(together), *self._files_gone},
                allow_last_copy=action.params["allow_last_copy"],
            )
        return ""

    # -- what is not a change in the client

    def _notify(self, rule: Rule, action: Action, torrents: list[Torrent]) -> None:
        if self.dry_run:
            self.record.add(rule, action, torrents, Outcome.WOULD)
            return
        try:
            notify.send(action.params["url"], action.params["message"], rule.name, torrents)
        except SeedError as why:
            self.record.add(rule, action, torrents, Outcome.FAILED, _words(why))
        else:
            self.record.add(rule, action, torrents, Outcome.DONE)

    def _scan(self, rule: Rule, action: Action, torrents: list[Torrent]) -> None:
        outcome, said = Outcome.WOULD, ""
        if not self.dry_run:
            try:
                paths = [Path(path) for path in action.params["paths"]]
                said = self.world.disk.scan(paths, cancelled=self.stopped)
                outcome = Outcome.DONE
            except SeedError as why:
                outcome, said = Outcome.FAILED, _words(why)
            self._disk_changed()
        self.record.add(rule, action, torrents[:1], outcome, said)

    def _deeds(self, rule: Rule, action: Action, torrents: list[Torrent]) -> None:
        try:
            deeds = self._do_on_disk(action, torrents)
        except SeedError as why:
            self.record.add(rule, action, torrents, Outcome.FAILED, _words(why))
            return
        for deed in deeds:
            self._note(rule, action, deed)
        if not self.dry_run:
            self._disk_changed()
        looked_at = {torrent_id for deed in deeds for torrent_id in deed.torrents}
        if self.stopped() and not looked_at.issuperset(ids_of(torrents)):
            raise Stopped  # else the job would count as done, and the others would wait for ever

    def _do_on_disk(self, action: Action, torrents: list[Torrent]) -> list[Deed]:
        disk, ids = self.world.disk, ids_of(torrents)
        if action.type == "payload_verify":
            if self.dry_run:
                return [Deed((torrent_id,), True, "") for torrent_id in ids]
            return disk.verify(ids, sample=action.params["sample"], cancelled=self.stopped)
        if action.type == "rehome_demote":
            return disk.demote(
                ids,
                retain_s=action.params["retain"],
                dry_run=self.dry_run,
                cancelled=self.stopped,
            )
        return disk.promote(ids, dry_run=self.dry_run, cancelled=self.stopped)

    def _note(self, rule: Rule, action: Action, deed: Deed) -> None:
        known = self.world.torrents
        about = [known[torrent_id] for torrent_id in deed.torrents if torrent_id in known]
        more = {} if deed.run_id is None else {"run": deed.run_id}
        self.record.add(rule, action, about, self._outcome_of(deed), deed.text, **more)
        if deed.run_id is not None:
            self.record.runs.append(deed.run_id)

    def _outcome_of(self, deed: Deed) -> Outcome:
        if deed.failed:
            return Outcome.FAILED
        if deed.was_there:
            return Outcome.SKIPPED
        if not deed.done:
            return Outcome.BLOCKED
        return Outcome.WOULD if self.dry_run else Outcome.DONE

    def _disk_changed(self) -> None:
        self.world.disk.forget()
        for torrent in self.world.torrents.values():
            torrent.forget("payload", "links", "space")


def _reasons(told: Explained) -> Iterator[str]:
    """Why a condition is unknown: the reasons of the parts that it is unknown for."""
    if told.reason and told.verdict is None:
        yield f"{told.text}: {told.reason}"
    for part in told.parts:
        if part.verdict is None:
            yield from _reasons(part)


def _words(why: SeedError) -> str:
    return f"{why.brief}: {why.detail}" if why.detail else why.brief
