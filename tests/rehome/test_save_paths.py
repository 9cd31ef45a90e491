"""Where a torrent goes on the other side: rules by category, tracker and tag."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from tests.support.facts_builder import LAYOUT, codes, layout, steps
from tests.support.gathering import Stage
from tests.support.relocating import SimulatedLab, another_film

from rehome.config import layout_from
from rehome.model import Direction, KeepManaged, SetCategory, SetManagement, Verdict
from rehome.save_paths import Destination, Kind, destination, hosts_of, is_host_of
from seedkeep.errors import Misused
from seedkeep.setting_types import SaveRule, save_rules, show_rules
from seedkeep.settings import BadSetting, load

DEMOTE, PROMOTE = Direction.DEMOTE, Direction.PROMOTE
STASH, POOL = LAYOUT.stash_seeding_root, LAYOUT.pool_seeding_root
FILMS = SaveRule(category="films", pool=POOL / "cold", pool_category="films-pool")


def goes(
    *rules: SaveRule,
    way: str = "movies",
    direction: Direction = DEMOTE,
    category: str = "films",
    tags: tuple[str, ...] = (),
    hosts: tuple[str, ...] | None = ("tracker.example.org",),
) -> Destination:
    kind = Kind(category, tags)
    return destination(PurePosixPath(way), kind, layout(save_paths=rules), direction, lambda: hosts)


def test_without_a_rule_the_other_side_has_the_same_folders() -> None:
    assert goes() == Destination(POOL / "movies", "films", None)
    assert goes(direction=PROMOTE).path == STASH / "movies"


def test_a_rule_brings_a_category_to_its_folder_and_to_another_category() -> None:
    assert goes(FILMS) == Destination(POOL / "cold/movies", "films-pool", 1)


def test_the_same_rule_leads_back() -> None:
    back = goes(FILMS, way="cold/movies", direction=PROMOTE, category="films-pool")
    assert back == Destination(STASH / "movies", "films", 1)


def test_a_rule_can_pair_two_folders() -> None:
    rule = SaveRule(category="films", stash=STASH / "movies", pool=POOL / "cold")
    assert goes(rule).path == POOL / "cold"
    assert goes(rule, way="movies/new").path == POOL / "cold/new"
    assert goes(rule, way="elsewhere").rule is None
    assert goes(rule, way="cold", direction=PROMOTE).path == STASH / "movies"


def test_the_first_rule_that_fits_wins() -> None:
    tagged = SaveRule(tag="keep", pool=POOL / "keep")
    assert goes(tagged, FILMS).rule == 2
    assert goes(tagged, FILMS, tags=("keep",)).path == POOL / "keep/movies"


@pytest.mark.parametrize(
    ("wanted", "host", "fits"),
    [
        ("example.org", "example.org", True),
        ("example.org", "tracker.EXAMPLE.org", True),
        (".Example.org", "a.b.example.org", True),
        ("example.org", "badexample.org", False),
        ("tracker.example.org", "example.org", False),
    ],
)
def test_a_rule_names_a_host_or_the_domain_above_it(wanted: str, host: str, fits: bool) -> None:
    assert is_host_of(wanted, host) is fits
    rule = SaveRule(tracker=wanted, pool=POOL / "t")
    assert (goes(rule, hosts=(host,)).rule == 1) is fits


def test_a_tracker_that_nobody_tells_leaves_it_open_where_the_torrent_goes() -> None:
    by_tracker = SaveRule(tracker="example.org", pool=POOL / "t")
    assert goes(by_tracker, hosts=None).unsure
    assert goes(by_tracker, FILMS, hosts=None) == Destination(
        POOL / "cold/movies", "films-pool", 2, unsure=True
    )


def test_a_tracker_is_only_asked_for_by_a_rule_that_fits_otherwise() -> None:
    rule = SaveRule(tracker="example.org", category="music", pool=POOL / "t")

    def asked() -> tuple[str, ...]:
        raise AssertionError("nobody needs to know")

    kind = Kind("films", ())
    destination(PurePosixPath("x"), kind, layout(save_paths=(rule,)), DEMOTE, asked)


def test_hosts_are_taken_from_announce_addresses() -> None:
    urls = ["https://a.example:2710/x/announce", "udp://[::1]:80", "** [DHT] **", "http://[bad", ""]
    assert hosts_of(urls) == ("a.example", "::1")


# -- the setting


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ("films", "a list of rules"),
        (["films"], "rule 1 must be a mapping"),
        ([{"catgory": "films", "pool": "/p"}], "catgory is none of category"),
        ([{"pool": "/p"}], "rule 1 fits everything"),
        ([{"category": "films"}], "rule 1 changes nothing"),
        ([{"tag": "x", "pool_category": "y"}], "could not be taken back"),
        ([{"category": "films", "pool": "cold"}], "not an absolute path"),
    ],
)
def test_a_wrong_rule_is_named(rules: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        save_rules(rules)


def test_rules_are_read_and_shown() -> None:
    rules = save_rules([{"category": "films", "pool": "/pool/seeding/cold", "tag": None}])
    assert rules == (SaveRule(category="films", pool=Path("/pool/seeding/cold")),)
    assert show_rules(rules) == "category=films, pool=/pool/seeding/cold"


def read_config(tmp_path: Path, rehome: str) -> Any:
    config = tmp_path / "config.yml"
    config.write_text(
        f"rehome:\n  stash_seeding_root: /stash/s\n  pool_seeding_root: /pool/s\n{rehome}"
    )
    return layout_from(load("rehome", {}, {"HASHALL_CONFIG": str(config), "HOME": "/"}))


def test_a_config_file_has_rules_and_management(tmp_path: Path) -> None:
    made = read_config(
        tmp_path,
        "  auto_tmm: keep-by-category\n"
        "  save_paths:\n"
        "  - {category: films, pool: /pool/s/cold, pool_category: films-pool}\n",
    )
    assert made.keep_managed
    assert made.save_paths[0].pool == Path("/pool/s/cold")


@pytest.mark.parametrize("path", ["/pool/elsewhere", "/pool/s/../x"])
def test_a_rule_may_not_lead_out_of_the_seeding_root(tmp_path: Path, path: str) -> None:
    with pytest.raises(Misused, match=r"rule 1: .* is not below /pool/s"):
        read_config(tmp_path, f"  save_paths:\n  - {{tag: x, pool: {path}}}\n")


def test_management_is_one_of_two_words(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="none of off, keep-by-category"):
        read_config(tmp_path, "  auto_tmm: on\n")


# -- gathered


def test_a_plan_goes_where_the_rules_say(scene: Stage) -> None:
    scene.save_paths = (
        SaveRule(category="films", pool=scene.pool_seeding / "cold", pool_category="cold"),
    )
    scene.client.filed = {"cold": ""}
    film = scene.seed(1, {"F/f.mkv": "f"}, save_path=scene.seeding / "movies", category="films")
    scene.look()
    made = scene.plan(film)
    (move,) = made.torrents
    assert move.target_path == str(scene.pool_seeding / "cold/movies")
    assert steps(made, SetCategory) == [SetCategory(film, "cold", "films")]


def test_a_category_that_the_client_does_not_have_blocks(scene: Stage) -> None:
    scene.save_paths = (SaveRule(category="films", pool_category="cold"),)
    film = scene.seed(1, {"F/f.mkv": "f"}, category="films")
    scene.look()
    assert codes(scene.plan(film)) == ["category-missing"]


def test_the_trackers_of_a_torrent_decide_when_none_answers(scene: Stage) -> None:
    scene.save_paths = (SaveRule(tracker="example.org", pool=scene.pool_seeding / "t"),)
    one = scene.seed(1, {"1/f": "1"}, tracker="https://tr.example.org/announce")
    two = scene.seed(2, {"2/f": "2"})
    other = scene.seed(3, {"3/f": "3"})
    unknown = scene.seed(4, {"4/f": "4"})
    scene.client.announces = {two: ["udp://example.org:1"], other: ["udp://example.net:1"]}
    scene.look()
    targets = [scene.plan(key).torrents[0].target_path for key in (one, two, other)]
    root = scene.pool_seeding
    assert targets == [str(root / "t"), str(root / "t"), str(root)]
    made = scene.plan(unknown)
    assert codes(made) == ["group-not-whole"]
    assert "asks for its tracker" in made.blockers[0].sentence


def managed(scene: Stage, **changes: Any) -> Any:
    film = scene.seed(
        1,
        {"F/f": "f"},
        save_path=scene.seeding / "films",
        category="films",
        auto_tmm=True,
        **changes,
    )
    scene.look()
    return scene.plan(film)


def test_management_stays_on_where_the_category_says_the_very_place(scene: Stage) -> None:
    scene.keep_managed = True
    scene.save_paths = (SaveRule(category="films", pool_category="cold"),)
    scene.client.filed = {"cold": str(scene.pool_seeding / "films"), "films": ""}
    made = managed(scene)
    assert made.torrents[0].target_auto_tmm
    (keep,) = steps(made, KeepManaged)
    (off,) = steps(made, SetManagement)
    kinds = [type(step) for step in made.steps]
    assert kinds.index(SetManagement) < kinds.index(SetCategory) < kinds.index(KeepManaged)
    assert (off.auto_tmm, keep.auto_tmm) == (False, True)


@pytest.mark.parametrize("where", ["", "/pool/elsewhere"])
def test_management_goes_off_where_the_client_would_move_the_data(scene: Stage, where: str) -> None:
    scene.keep_managed = True
    scene.client.filed = {"films": where}
    made = managed(scene)
    assert not made.torrents[0].target_auto_tmm
    assert not steps(made, KeepManaged)


# -- carried out


def test_a_demoted_film_has_its_new_category_and_stays_managed(lab: SimulatedLab) -> None:
    api = lab.client.api
    (lab.seeding / "films").mkdir()
    api.torrents_create_category("films", save_path=str(lab.seeding / "films"))
    api.torrents_create_category("cold", save_path=str(lab.pool_seeding / "cold"))
    made = lab.seed("Film", {"f.mkv": 5000}, below="films", category="films", auto_tmm=True)
    plain = another_film(lab)
    change_config(
        lab,
        auto_tmm="keep-by-category",
        save_paths=[
            {
                "category": "films",
                "stash": str(lab.seeding / "films"),
                "pool": str(lab.pool_seeding / "cold"),
                "pool_category": "cold",
            }
        ],
    )
    lab.look()
    before = lab.seen().torrents
    lab.apply(lab.plan(made))
    after = lab.seen().torrents
    assert after[made] == before[made] | {
        "save_path": str(lab.pool_seeding / "cold"),
        "category": "cold",
    }
    assert after[plain] == before[plain]
    assert (lab.pool_seeding / "cold/Film/f.mkv").is_file()
    assert lab.bad_states() == set()
    with lab.app() as app:
        assert app.plan(made).verdict is Verdict.SKIP


def change_config(lab: SimulatedLab, **rehome: Any) -> None:
    config = json.loads(lab.config.read_text())
    config["rehome"].update(rehome)
    lab.config.write_text(json.dumps(config))
