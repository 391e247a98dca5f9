"""The files for operators against the running daemon: alert rules, dashboard, and what provisions them."""
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse

import pytest
import yaml

from support.metrics import get
from support.paths import ROOT
from support.tools import tool
from support.wait import eventually

from private_postgres import free_port, with_parent

RULES = ROOT / "Config" / "prometheus" / "scada-ingestion.rules.yml"
DASHBOARD = ROOT / "Config" / "grafana" / "dashboards" / "scada-ingestion.json"
ADDED_BY_PROMETHEUS = {"instance", "job", "le", "quantile"}


def rules():
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard():
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def panels():
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions():
    """(where, expression) of everything that asks Prometheus."""
    board = dashboard()
    return (
        [(f"alert {rule['alert']}", rule["expr"]) for rule in rules()]
        + [(f"panel {panel['title']}", target["expr"]) for panel in panels() for target in panel["targets"]]
        + [(f"variable {each['name']}", each["definition"]) for each in board["templating"]["list"] if "definition" in each]
        + [(f"annotation {each['name']}", each["expr"]) for each in board["annotations"]["list"]]
    )


def metric_names(expression):
    return set(re.findall(r"\b(?:scada|process)_[a-z0-9_]+", expression))


def labels(expression):
    """Labels that an expression groups by or selects."""
    grouped = re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", expression)
    selected = re.findall(r"\{([^}]*)\}", expression)
    asked = re.findall(r"label_values\(\w+,\s*(\w+)\)", expression)
    return (
        {name.strip() for names in grouped for name in names.split(",") if name.strip()}
        | {name for names in selected for name in re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", names)}
        | set(asked)
    )


@pytest.fixture
def flowing(tenant, daemon, make_server):
    """A daemon with a live connection and one that finds nobody."""
    server = make_server(10)
    tenant.add_connection(server)
    tenant.add_connection(server, names=[], url="opc.tcp://127.0.0.1:1/nobody")
    # Alone, but with the metrics of replicas.
    daemon.start(REPLICA_ID="a")
    server.write(interval=0.1)
    tenant.wait_for_count(200, watch=daemon.must_live)
    daemon.api.HealthCheck()
    eventually(lambda: daemon.scrape().total("scada_connection_errors_total"), "an error is counted", watch=daemon.must_live)
    return daemon


def test_every_metric_and_label_that_the_rules_and_the_dashboard_name_exists(flowing):
    scrape = flowing.scrape()
    known = {}
    for line in scrape.text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            for suffix in ("_bucket", "_sum", "_count") if kind == "histogram" else ("",):
                known[name + suffix] = set()
    for sample in scrape.samples:
        known.setdefault(sample.name, set()).update(sample.labels)
    for where, expression in expressions():
        names = metric_names(expression)
        assert names or "up{" in expression, f"{where} names no metric: {expression}"
        missing = names - known.keys()
        assert not missing, f"{where} names what /metrics does not have: {missing}"
        # A family without a sample yet (no gap, no refusal) shows no labels.
        if all(known[name] for name in names):
            foreign = labels(expression) - ADDED_BY_PROMETHEUS - set().union(*(known[name] for name in names))
            assert not foreign, f"{where} names labels that its metrics do not have: {foreign}"


def test_the_dashboard_shows_every_metric(flowing):
    shown = {name for _, expression in expressions() for name in metric_names(expression)}
    told = {line.split()[2] for line in flowing.scrape().text.splitlines() if line.startswith("# TYPE scada_")}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} | shown
    assert told <= shown, f"on no panel and in no alert: {told - shown}"


def test_every_alert_has_a_severity_and_a_line_in_the_runbook():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    anchors = set(re.findall(r'<a id="([a-z]+)"></a>', readme))
    named = set()
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert file == "README.md" and anchor in anchors, f"{rule['alert']}: README has no {rule['annotations']['runbook']}"
        assert rule["annotations"]["summary"], rule
        named.add(anchor)
    assert named == anchors, f"in the runbook and in no alert: {anchors - named}"


def test_promtool_accepts_the_rules_and_their_tests():
    promtool = tool("promtool")
    for arguments in (
        ["check", "config", "prometheus.yml"], ["check", "rules", RULES.name],
        ["test", "rules", "scada-ingestion.rules.test.yml"],
    ):
        done = subprocess.run([promtool, *arguments], cwd=RULES.parent, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"promtool {' '.join(arguments)}:\n{done.stdout}{done.stderr}"


def test_every_alert_is_tested():
    tests = yaml.safe_load((RULES.parent / "scada-ingestion.rules.test.yml").read_text(encoding="utf-8"))["tests"]
    fired, quiet = set(), set()
    for case in (case for test in tests for case in test["alert_rule_test"]):
        (fired if case["exp_alerts"] else quiet).add(case["alertname"])
    alerts = {rule["alert"] for rule in rules()}
    assert fired == alerts, f"never fire in the tests: {alerts - fired}"
    assert quiet == alerts, f"never stay quiet in the tests: {alerts - quiet}"


def test_dashboard_is_whole():
    board = dashboard()
    identities = [panel["id"] for panel in board["panels"]]
    assert len(set(identities)) == len(identities)
    variables = {each["name"] for each in board["templating"]["list"]} | {"__rate_interval", "__all"}
    for panel in panels():
        assert panel["title"] and panel["targets"], panel
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24, panel["title"]
    for where, expression in expressions():
        used = set(re.findall(r"\$\{?(\w+)", expression))
        assert used <= variables, f"{where}: {used - variables}"
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells


@pytest.fixture
def prometheus(flowing, tmp_path):
    """A real Prometheus with the shipped configuration, which scrapes the daemon of the test."""
    program = tool("prometheus")
    shutil.copy(RULES, tmp_path)
    config = (RULES.parent / "prometheus.yml").read_text(encoding="utf-8")
    config, count = re.subn(r"daemon:9090", flowing.http_base.removeprefix("http://"), config)
    assert count == 1
    config = re.sub(r"(scrape|evaluation)_interval: \d+s", r"\1_interval: 1s", config)
    (tmp_path / "prometheus.yml").write_text(config, encoding="utf-8")
    port = free_port()
    with open(tmp_path / "prometheus.log", "wb") as log:
        process = subprocess.Popen(
            with_parent(
                program, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )

    def ask(path, **parameters):
        assert process.poll() is None, (tmp_path / "prometheus.log").read_text(errors="replace")[-2000:]
        try:
            status, _, text = get(f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        except (urllib.error.URLError, ConnectionError) as error:
            raise AssertionError(f"Prometheus does not answer: {error}") from None
        assert status == 200, f"{path} {parameters}: {status} {text}"
        return json.loads(text)["data"]

    eventually(
        lambda: any(each["values"][-1][1] == "1" and len(each["values"]) > 6 for each in ask("query", query="up[1m]")["result"]),
        "Prometheus has scraped the daemon several times",
    )
    yield ask
    process.terminate()
    process.wait(30)


def test_a_real_prometheus_answers_every_panel(prometheus, flowing, tenant):
    nothing_to_show = set()
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "5s").replace("$tenant", ".*").replace("$instance", ".*")
            result = prometheus("query", query=query)["result"]
            if not result:
                nothing_to_show.add(panel["title"])
    # What did not happen in this test has no series.
    assert nothing_to_show <= {
        "Gaps by cause", "Readings the databases refused", "Bad and silent tags",
    }, nothing_to_show
    busy = prometheus("query", query=f'sum(rate(scada_readings_stored_total{{tenant_id="{tenant.id}"}}[5s]))')["result"]
    assert float(busy[0]["value"][1]) > 0


def test_a_real_prometheus_evaluates_every_rule(prometheus):
    def evaluated():
        found = [rule for group in prometheus("rules")["groups"] for rule in group["rules"]]
        assert len(found) == len(rules()) and all(rule["health"] == "ok" for rule in found), found
        return found

    found = eventually(evaluated, "every rule is evaluated")
    # One connection of the test finds nobody: that alert waits for its five minutes, and nothing else is wrong.
    pending = {rule["name"] for rule in found if rule["state"] != "inactive"}
    assert pending <= {"ScadaConnectionDown"}, pending
    eventually(
        lambda: any(
            rule["name"] == "ScadaConnectionDown" and rule["state"] == "pending"
            for group in prometheus("rules")["groups"] for rule in group["rules"]
        ),
        "the missing connection is on its way to an alert",
    )


def test_compose_provisions_what_is_there():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    services = compose["services"]
    assert {"database", "daemon", "simulator", "prometheus", "grafana"} <= services.keys()
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{name} mounts {source}, which is not there"
            else:
                assert source in compose["volumes"], f"{name}: {source}"
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port} to everybody"
        for other in service.get("depends_on", {}):
            assert other in services, f"{name} depends on {other}"
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"] if volume.startswith("."))
    provider = yaml.safe_load(
        (ROOT / "Config/grafana/provisioning/dashboards/scada-ingestion.yml").read_text(encoding="utf-8")
    )
    folder = provider["providers"][0]["options"]["path"]
    assert mounts["./Config/grafana/dashboards"] == folder
    assert mounts["./Config/grafana/provisioning"] == "/etc/grafana/provisioning"
    source = yaml.safe_load(
        (ROOT / "Config/grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8")
    )["datasources"][0]
    variable = next(each for each in dashboard()["templating"]["list"] if each["type"] == "datasource")
    assert variable["current"]["value"] == source["uid"] and source["url"] == "http://prometheus:9090"
