"""What examples/ tells people to copy works with this version: names, values, paths, metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from pydantic import BaseModel
from tests.support.compose import Service, services
from tests.support.rules_app import Api

from qbt_rules.api_models import StatsAnswer
from seedkeep import settings
from seedkeep.settings import UnknownSetting
from seedkeep.settings_qbt_rules import (
    CONFIG_DIR,
    QBT_RULES,
    QUEUE_BACKEND,
    QUEUE_REDIS_URL,
    SERVER_API_KEY,
    SERVER_PORT,
)
from seedkeep.settings_table import HASHALL, QBIT_HOST, QBIT_PASSWORD, REHOME, SETTINGS

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
COMPOSE = sorted((EXAMPLES / "docker-compose").glob("*.yml"))
GIVEN = {"API_KEY": "a-key-of-more-than-sixteen-characters"}
OF_THE_IMAGE = {"PUID", "PGID", "UMASK", "TZ"}  # docker/entrypoint.sh
NAMES = {name for setting in SETTINGS for name in setting.env}
METRIC = re.compile(r"\bqbt_rules_\w+")


def ours(path: Path) -> Service:
    (found,) = [s for s in services(path, GIVEN) if s.body["image"].startswith("seedkeep")]
    return found


def unknown(names: Mapping[str, str]) -> list[str]:
    """Variables that neither the image nor a setting has."""
    bare = {name: name.removeprefix("FILE__").removesuffix("_FILE") for name in names}
    return [n for n, b in bare.items() if not {n, b} & (NAMES | OF_THE_IMAGE)]


def test_the_promised_compose_files_are_there() -> None:
    assert [path.stem for path in COMPOSE] == ["full-stack", "minimal", "with-redis"]


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.stem)
def test_a_compose_file_sets_what_is_a_setting_to_what_it_may_be(
    path: Path, tmp_path: Path
) -> None:
    service = ours(path)
    assert unknown(service.environ) == []
    environ = service.environ
    for name, value in service.environ.items():
        if name.endswith("_FILE") and name not in NAMES:
            assert value in service.secret_files, f"{name} names a file that is not mounted"
            (tmp_path / name).write_text(f"{GIVEN['API_KEY']}\n")
            environ[name] = str(tmp_path / name)
    for program in (HASHALL, REHOME):
        settings.load(program, {}, environ)
    found = settings.load(QBT_RULES, {}, environ)
    assert found[SERVER_API_KEY] == (GIVEN["API_KEY"],)
    assert found.origin(QBIT_HOST) != "default"
    assert found.origin(QBIT_PASSWORD) != "default" or not environ["QBT_RULES_QBITTORRENT_PASSWORD"]
    assert (found[QUEUE_BACKEND] == "redis") == bool(found[QUEUE_REDIS_URL])
    assert str(found[CONFIG_DIR]) in service.mounts
    assert f"{found[SERVER_PORT]}:{found[SERVER_PORT]}" in service.body["ports"]


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.stem)
def test_the_server_gets_the_time_that_it_needs_to_stop(path: Path) -> None:
    body = ours(path).body
    assert body["stop_grace_period"] == "30s"
    assert body["restart"] == "unless-stopped"
    assert (path.parent / body["build"] / "Dockerfile").resolve() == ROOT / "Dockerfile"


@pytest.mark.parametrize("name", ["minimal", "with-redis"])
def test_without_a_key_of_ones_own_nothing_starts(name: str) -> None:
    path = EXAMPLES / f"docker-compose/{name}.yml"
    with pytest.raises(KeyError, match="API_KEY"):
        services(path, {})


def test_in_the_full_stack_both_see_the_same_folders_under_the_same_names() -> None:
    path = EXAMPLES / "docker-compose/full-stack.yml"
    by_name = {service.name: service for service in services(path, GIVEN)}
    client, server = by_name["qbittorrent"], by_name["qbt-rules"]
    shared = {inside: here for inside, here in server.mounts.items() if inside != "/config"}
    assert set(shared) == {"/data", "/pool"}
    assert shared.items() <= client.mounts.items()
    port = client.environ["WEBUI_PORT"]
    assert server.environ["QBT_RULES_QBITTORRENT_HOST"] == f"http://{client.name}:{port}"
    roots = [value for name, value in server.environ.items() if name.startswith("REHOME_")]
    assert [root for root in roots if Path(root).parents[0].as_posix() not in shared] == []
    assert client.environ["PUID"] == server.body["user"].split(":")[0]


def test_in_the_full_stack_the_server_has_no_rights_and_no_secret_in_its_environment() -> None:
    service = ours(EXAMPLES / "docker-compose/full-stack.yml")
    body = service.body
    assert body["read_only"] is True
    assert body["cap_drop"] == ["ALL"]
    assert body["security_opt"] == ["no-new-privileges:true"]
    assert not body["user"].startswith("0")
    secret = {name for setting in SETTINGS if setting.secret for name in setting.env}
    assert secret & set(service.environ) == set()
    assert {f"{name}_FILE" for name in secret} & set(service.environ)


def test_a_variable_that_is_no_setting_is_found() -> None:
    wrong = {"QBT_RULES_SERVER_PROT": "1", "PUID": "1", "QBT_RULES_SERVER_API_KEY_FILE": "/x"}
    assert unknown(wrong) == ["QBT_RULES_SERVER_PROT"]
    with pytest.raises(UnknownSetting, match="QBT_RULES_SERVER_PROT"):
        settings.load(QBT_RULES, {}, wrong)


def test_the_template_for_unraid_sets_what_there_is_and_hides_what_is_secret() -> None:
    template = ElementTree.parse(EXAMPLES / "unraid/seedkeep.xml").getroot()
    entries = {entry.attrib["Target"]: entry.attrib for entry in template.iter("Config")}
    of_kind = {name: entry["Type"] for name, entry in entries.items()}
    assert {name for name, kind in of_kind.items() if kind == "Path"} == {"/config", "/data"}
    assert [name for name, kind in of_kind.items() if kind == "Port"] == [str(SERVER_PORT.default)]
    variables = {name: "" for name, kind in of_kind.items() if kind == "Variable"}
    assert unknown(variables) == []
    secret = {name for setting in SETTINGS if setting.secret for name in setting.env}
    masked = {name for name, entry in entries.items() if entry["Mask"] == "true"}
    assert masked == secret & set(variables)
    needed = {name for name, entry in entries.items() if entry["Required"] == "true"}
    assert {"/config", "QBT_RULES_QBITTORRENT_HOST", "QBT_RULES_SERVER_API_KEY"} <= needed


def fields(mapping: Any, model: type[BaseModel]) -> Iterator[str]:
    """Where a `field:` of Homepage's customapi leads to nothing."""
    name, inner = next(iter(mapping.items())) if isinstance(mapping, dict) else (mapping, None)
    field = model.model_fields.get(name)
    if field is None:
        yield str(name)
    elif inner is not None:
        assert isinstance(field.annotation, type)
        yield from fields(inner, field.annotation)


def test_homepage_shows_numbers_that_the_server_gives() -> None:
    ((group,),) = (
        tuple(entry.values())
        for entry in yaml.safe_load((EXAMPLES / "homepage/services.yml").read_text())
    )
    widget = group[0]["qbt-rules"]["widget"]
    assert widget["type"] == "customapi"
    assert widget["url"].endswith("/api/stats")
    assert len(widget["mappings"]) >= 4
    assert [wrong for m in widget["mappings"] for wrong in fields(m["field"], StatsAnswer)] == []
    assert list(fields({"jobs": "lost"}, StatsAnswer)) == ["lost"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    with Api.opened(tmp_path_factory.mktemp("metrics")) as api:
        return set(METRIC.findall(api.ask("GET", "/metrics").text))


def test_grafana_and_prometheus_use_metrics_that_there_are(exported: set[str]) -> None:
    dashboard = json.loads((EXAMPLES / "grafana/dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    alerts = yaml.safe_load((EXAMPLES / "grafana/alerts.yml").read_text())
    asked += [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    used = {name for expression in asked for name in METRIC.findall(expression)}
    assert len(asked) > 12
    assert used - exported == set()
    assert exported - used == set(), "a number that nobody sees"


def test_prometheus_asks_the_page_that_has_the_numbers() -> None:
    (job,) = yaml.safe_load((EXAMPLES / "grafana/prometheus.yml").read_text())["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["authorization"]["type"] == "Bearer"
    assert job["static_configs"][0]["targets"] == [f"qbt-rules:{SERVER_PORT.default}"]
    alerts = (EXAMPLES / "grafana/alerts.yml").read_text()
    assert f'up{{job="{job["job_name"]}"}}' in alerts


def test_the_dashboards_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    panels = json.loads((EXAMPLES / "grafana/dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
