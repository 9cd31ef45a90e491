"""What rehome has to be told before it moves anything."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from rehome.config import layout_from
from seedkeep.errors import Misused
from seedkeep.settings import BadSetting, load

HOME = {"HOME": "/home/somebody"}


def layout(**flags: object) -> object:
    given = {"rehome_stash_seeding_root": "/stash/seeding", "rehome_pool_seeding_root": "/pool"}
    return layout_from(load("rehome", given | flags, HOME))


def test_both_seeding_roots_are_named_when_both_are_missing() -> None:
    with pytest.raises(Misused) as refused:
        layout_from(load("rehome", {}, HOME))
    assert "rehome.stash_seeding_root and rehome.pool_seeding_root" in refused.value.brief
    assert "--stash-seeding-root" in refused.value.hint
    assert "`rehome config init`" in refused.value.hint


@pytest.mark.parametrize("missing", ["stash", "pool"])
def test_only_the_missing_root_is_named(missing: str) -> None:
    other = "pool" if missing == "stash" else "stash"
    with pytest.raises(Misused) as refused:
        layout_from(load("rehome", {f"rehome_{other}_seeding_root": "/there"}, HOME))
    assert refused.value.brief == f"rehome does not know rehome.{missing}_seeding_root"


@pytest.mark.parametrize(
    ("stash", "pool"),
    [
        ("/data/seeding", "/data/seeding"),
        ("/data/seeding", "/data/seeding/pool"),
        ("/data/seeding/stash", "/data/seeding"),
        ("/data/seeding/", "/data//seeding"),
        ("/data", "/"),
    ],
)
def test_seeding_roots_that_overlap_are_refused_with_both(stash: str, pool: str) -> None:
    with pytest.raises(Misused, match="overlap") as refused:
        layout(rehome_stash_seeding_root=stash, rehome_pool_seeding_root=pool)
    assert refused.value.detail == f"{Path(stash)} and {Path(pool)}"


def test_roots_whose_names_begin_alike_do_not_overlap() -> None:
    made = layout_from(
        load(
            "rehome",
            {"rehome_stash_seeding_root": "/data/seed", "rehome_pool_seeding_root": "/data/seed2"},
            HOME,
        )
    )
    assert (made.stash_seeding_root, made.pool_seeding_root) == (
        Path("/data/seed"),
        Path("/data/seed2"),
    )


@pytest.mark.parametrize("library", ["/stash/seeding", "/stash/seeding/movies"])
def test_promise_2_a_library_in_the_seeding_root_is_refused(library: str) -> None:
    with pytest.raises(Misused, match="lies in the seeding root"):
        layout(rehome_library_roots=[library])


def test_a_library_root_may_hold_the_seeding_root() -> None:
    made = layout_from(
        load(
            "rehome",
            {
                "rehome_stash_seeding_root": "/stash/seeding",
                "rehome_pool_seeding_root": "/pool",
                "rehome_library_roots": ["/stash"],
            },
            HOME,
        )
    )
    assert made.library_roots == (Path("/stash"),)


@pytest.mark.parametrize("root", ["/stash/../pool/x", "/stash/.."])
def test_a_root_with_dots_is_refused_because_it_could_hide_an_overlap(root: str) -> None:
    with pytest.raises(Misused, match=r"has \.\. in it"):
        layout(rehome_stash_seeding_root=root)


@pytest.mark.parametrize("setting", ["stash_seeding_root", "pool_seeding_root", "library_roots"])
def test_a_relative_root_is_refused_because_its_meaning_would_move(setting: str) -> None:
    value: object = ["media"] if setting == "library_roots" else "media"
    with pytest.raises(BadSetting, match="'media' is not an absolute path"):
        layout(**{f"rehome_{setting}": value})


def test_limits_and_path_map_come_from_the_settings() -> None:
    made = layout_from(
        load(
            "rehome",
            {
                "rehome_stash_seeding_root": "~/seeding",
                "rehome_pool_seeding_root": "/pool",
                "rehome_path_map": ["/downloads=/home/somebody/seeding"],
                "rehome_max_scan_age": "2h",
                "rehome_space_margin": "5GiB",
            },
            HOME,
        )
    )
    assert made.stash_seeding_root == Path("/home/somebody/seeding")
    assert made.path_map.to_ours("/downloads/x") == Path("/home/somebody/seeding/x")
    assert made.max_scan_age == timedelta(hours=2)
    assert made.space_margin == 5 * 2**30


@pytest.mark.parametrize(("given", "least"), [({}, 86_400), ({"rehome_min_age": "0"}, 0)])
def test_a_group_has_to_be_a_day_old_unless_somebody_says_otherwise(
    given: dict[str, object], least: int
) -> None:
    roots = {"rehome_stash_seeding_root": "/stash/seeding", "rehome_pool_seeding_root": "/pool"}
    assert layout_from(load("rehome", roots | given, HOME)).min_age == timedelta(seconds=least)
