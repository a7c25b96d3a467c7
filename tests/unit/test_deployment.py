"""The files that run Eddy elsewhere: the compose file, Prometheus's configuration and the Grafana dashboard."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from stream import metrics
from stream.settings import Settings

CHECKOUT = Path(__file__).parents[2]
DASHBOARD = json.loads((CHECKOUT / "grafana/dashboards/eddy.json").read_text())
COMPOSE = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"].replace("$__rate_interval", "1m") for panel in PANELS for target in panel["targets"]]
PROMETHEUS_LABELS = {"le", "instance", "job"}

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus")


def series() -> dict[str, set[str]]:
    """The name of every time series that stream/metrics.py exposes, with its labels."""
    found: dict[str, set[str]] = {"up": set()}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            name, labels = metric._name, set(metric._labelnames)
            suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}[metric._type]
            found |= {name + suffix: labels for suffix in suffixes}
    return found


def used(query: str) -> set[str]:
    return set(re.findall(r"\beddy_[a-z0-9_]+|\bup\b", query))


def test_dashboard_shows_only_metrics_that_exist() -> None:
    """A renamed metric leaves an empty panel that looks like a quiet system."""
    assert {name for query in QUERIES for name in used(query)} - set(series()) == set()


def test_dashboard_shows_every_metric() -> None:
    """What is measured and shown nowhere is not looked at; a histogram counts as shown when any of its series is."""
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for query in QUERIES for name in used(query)}

    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in series()} - shown == set()


@pytest.mark.parametrize("name", sorted(name for name, metric in vars(metrics).items() if isinstance(metric, MetricWrapperBase)))
def test_metric_is_fed(name: str) -> None:
    """A metric that nothing sets shows 0, or nothing, whatever happens."""
    sources = [path for folder in ("stream", "agents", "tables") for path in (CHECKOUT / folder).rglob("*.py")]

    uses = [path.name for path in sources if re.search(rf"\b{name}\.(inc|set|observe|time|labels)\w*\(", path.read_text())]

    assert uses


def test_dashboard_groups_by_labels_that_its_metrics_have() -> None:
    """Grouping by an absent label silently sums everything into one line."""
    labels = series()

    for query in QUERIES:
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
        known = set.union(PROMETHEUS_LABELS, *(labels[name] for name in used(query)))
        assert grouped <= known, query


def test_dashboard_panels_say_what_they_show_and_do_not_overlap() -> None:
    """An operator at night reads the panel's own words; two panels on one place hide one."""
    places = [(x, y) for panel in DASHBOARD["panels"] for x in columns(panel) for y in rows(panel)]

    assert [panel["title"] for panel in PANELS if not panel["description"] or not panel["title"]] == []
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def columns(panel: dict[str, Any]) -> range:
    return range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])


def rows(panel: dict[str, Any]) -> range:
    return range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])


def test_dashboard_is_provisioned_with_its_data_source() -> None:
    """Grafana must find the folder that compose mounts, and every panel the data source that is provisioned."""
    source = yaml.safe_load((CHECKOUT / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    provider = yaml.safe_load((CHECKOUT / "grafana/provisioning/dashboards/eddy.yml").read_text())["providers"][0]
    mounts = dict(volume.split(":")[:2] for volume in COMPOSE["services"]["grafana"]["volumes"])

    assert {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]} == {source["uid"]}
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert source["url"].split("/")[2].split(":")[0] in COMPOSE["services"]


def test_compose_sets_only_settings_that_exist() -> None:
    """A misspelt variable is ignored by the process that it was meant for."""
    names = {name for service in COMPOSE["services"].values() for name in service.get("environment", {}) if name.startswith("EDDY_")}

    assert names
    assert {name for name in names if name.removeprefix("EDDY_").lower() not in Settings.model_fields} == set()


def test_compose_is_whole() -> None:
    """Every service says when it is well, every volume is declared, and every mounted file is there."""
    services = COMPOSE["services"]
    mounts = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]

    assert set(services) == {"kafka", "worker", "learner", "prometheus", "grafana"}
    assert [name for name, service in services.items() if "healthcheck" not in service or "restart" not in service] == []
    assert {mount for mount in mounts if not mount.startswith("./")} == set(COMPOSE["volumes"])
    assert [mount for mount in mounts if mount.startswith("./") and not (CHECKOUT / mount).exists()] == []
    assert [port for service in services.values() for port in service.get("ports", []) if not port.startswith("127.0.0.1:")] == []


def test_prometheus_scrapes_the_ports_that_compose_gives() -> None:
    """Two files name the same ports; Prometheus shows a missed one only as a target that is down."""
    scrapes = {job["job_name"]: job for job in yaml.safe_load((CHECKOUT / "grafana/prometheus/prometheus.yml").read_text())["scrape_configs"]}
    services = COMPOSE["services"]

    assert scrapes["worker"]["dns_sd_configs"][0]["port"] == services["worker"]["environment"]["EDDY_WORKER_PORT"]
    assert scrapes["learner"]["static_configs"][0]["targets"] == [f"learner:{services['learner']['environment']['EDDY_LEARNER_PORT']}"]


@needs_promtool
def test_prometheus_accepts_its_configuration() -> None:
    """Prometheus does not start on a file it cannot read."""
    done = subprocess.run(["promtool", "check", "config", CHECKOUT / "grafana/prometheus/prometheus.yml"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_accepts_every_query_of_the_dashboard(tmp_path: Path) -> None:
    """A query that does not parse shows an error where a line should be; as rules, promtool parses all of them."""
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(QUERIES)]}]}))

    done = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
