"""What deploys the daemon: Dockerfile, compose, Kubernetes, Azure. As far as can be told without an engine or a cluster."""
import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

from support.daemon import run
from support.paths import ROOT

KUBERNETES = ROOT / "Config" / "kubernetes" / "scada-ingestion.yaml"
AZURE = ROOT / "Config" / "azure" / "containerapp.yaml"
COMPOSE = ROOT / "docker-compose.yml"


def documents():
    return list(yaml.safe_load_all(KUBERNETES.read_text(encoding="utf-8")))


def kind(name):
    return next(each for each in documents() if each["kind"] == name)


def settings():
    """Every variable with its default, as the example file has them."""
    text = (ROOT / "Config" / "scada-ingestion.env.example").read_text(encoding="utf-8")
    return dict(re.findall(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", text, re.MULTILINE))


def azure():
    return yaml.safe_load(AZURE.read_text(encoding="utf-8"))["properties"]


def containers():
    """(where, container, its volumes' names, grace in seconds)."""
    pod = kind("StatefulSet")["spec"]
    claims = [each["metadata"]["name"] for each in pod["volumeClaimTemplates"]]
    pod = pod["template"]["spec"]
    yield (
        "Kubernetes", pod["containers"][0], claims + [each["name"] for each in pod["volumes"]],
        pod["terminationGracePeriodSeconds"],
    )
    template = azure()["template"]
    yield (
        "Azure", template["containers"][0], [each["name"] for each in template["volumes"]],
        template["terminationGracePeriodSeconds"],
    )


@pytest.mark.parametrize("document", documents(), ids=lambda each: each["kind"])
def test_kubernetes_manifests_follow_their_schema(document):
    kubernetes_validate.validate(document, "1.32", strict=True)


def test_containers_get_settings_that_there_are_and_volumes_that_are_mounted():
    known = settings()
    for where, container, volumes, grace in containers():
        given = {each["name"]: each.get("value") for each in container["env"]}
        assert given.keys() <= known.keys(), f"{where}: {given.keys() - known.keys()}"
        assert "DATABASE_URL" in given and given["DATABASE_URL"] is None, f"{where}: the URL comes from a secret"
        assert grace * 1000 > int(known["SHUTDOWN_GRACE_MS"]), f"{where}: {grace} s cut the last flush off"
        mounts = {each.get("name") or each["volumeName"]: each["mountPath"] for each in container["volumeMounts"]}
        assert mounts.keys() == set(volumes), f"{where}: {mounts.keys()} are mounted of {volumes}"
        for variable in ("JOURNAL_DIR", "OPC_PKI_DIR", "GRPC_TOKENS_FILE"):
            assert any(given[variable].startswith(path) for path in mounts.values()), f"{where}: {variable} is on no volume"


def test_the_configuration_of_the_manifests_can_be_used(tmp_path):
    """`check` with the manifests' own settings complains about nothing but what is not there."""
    for where, container, _, _ in containers():
        given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        given = {
            name: str(tmp_path / value.lstrip("/")) if value.startswith("/") else value for name, value in given.items()
        }
        done = run("check", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none", METRICS_PORT=0, GRPC_PORT=0, **given)
        assert "every variable can be used" in done.stdout, f"{where}: {done.stdout}{done.stderr}"
        assert "may add and remove connections of every tenant" not in done.stdout, f"{where}: the API asks for no token"


def test_probes_ask_what_the_daemon_serves():
    pod = kind("StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    assert pod["startupProbe"]["httpGet"]["path"] == pod["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert pod["readinessProbe"]["httpGet"]["path"] == "/readyz"
    probes = {each["type"]: each["httpGet"] for each in azure()["template"]["containers"][0]["probes"]}
    assert probes["Startup"]["path"] == probes["Liveness"]["path"] == "/healthz" and probes["Readiness"]["path"] == "/readyz"
    ports = {each["name"]: each["containerPort"] for each in pod["ports"]}
    assert str(ports["metrics"]) == settings()["METRICS_PORT"] and str(ports["grpc"]) == settings()["GRPC_PORT"]
    assert {each["port"] for each in probes.values()} == {9090} and azure()["configuration"]["ingress"]["targetPort"] == 50051


def test_kubernetes_parts_belong_together():
    labels = kind("StatefulSet")["spec"]["template"]["metadata"]["labels"].items()
    assert kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels
    assert kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items() <= labels
    services = [each for each in documents() if each["kind"] == "Service"]
    assert all(each["spec"]["selector"].items() <= labels for each in services)
    assert kind("StatefulSet")["spec"]["serviceName"] in {each["metadata"]["name"] for each in services}
    pod = kind("StatefulSet")["spec"]["template"]["spec"]
    container = pod["containers"][0]["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] and container["readOnlyRootFilesystem"]
    assert container["capabilities"] == {"drop": ["ALL"]} and not container["allowPrivilegeEscalation"]


def test_the_dockerfile_is_of_this_version_and_not_of_root():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    daemon = text[text.index("AS daemon"):]
    version, = re.findall(r"^ARG VERSION=(.+)$", daemon, re.MULTILINE)
    assert version in run("version").stdout.split()
    assert f"scada-ingestion:{version}" in KUBERNETES.read_text(encoding="utf-8")
    assert f"scada-ingestion:{version}" in AZURE.read_text(encoding="utf-8")
    user, = re.findall(r"--uid (\d+)", text)
    assert kind("StatefulSet")["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == int(user) > 0
    assert "HEALTHCHECK" in daemon and "STOPSIGNAL SIGTERM" in daemon and "VOLUME" in daemon
    assert re.findall(r"^USER (\w+)$", text, re.MULTILINE)[-1] == "scada"
    for packages in re.findall(r"apt-get install -y ([^\\&]*)", text):
        assert "--no-install-recommends" in packages, packages


def test_compose_accepts_its_file():
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            break
    else:
        pytest.skip("neither docker compose nor docker-compose is here")
    done = subprocess.run(
        [*command, "-f", COMPOSE, "config", "--quiet"], capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
