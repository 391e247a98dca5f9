"""What README tells others to type works: the client snippets run against the daemon, the files it names are there."""
import json
import re
import subprocess
import sys

import pytest

from support.paths import ROOT
from support.tools import tool

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def stored(tenant, daemon, make_server):
    """A daemon that has stored three readings of each of ten tags of one well."""
    server = make_server(10)
    tenant.add_connection(server)
    daemon.start()
    tenant.wait_for_count(10, watch=daemon.must_live)
    server.write(rounds=2, interval=0.1)
    tenant.wait_for_count(server.wait_until_written(), watch=daemon.must_live)
    return daemon, tenant, server


def answered(stored, command, folder):
    daemon, tenant, server = stored
    done = subprocess.run(
        [*command, tenant.id, str(server.well(server.names[0]))], cwd=folder, capture_output=True, text=True, timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 30, done.stdout
    assert {line[1] for line in lines} == {server.node(name) for name in server.names}
    assert {line[3] for line in lines} == {"Good"}
    stored_values = sorted(value for _, _, value in tenant.readings())
    assert sorted(float(line[2]) for line in lines) == stored_values


def snippet(stored, language):
    code, = blocks(language)
    code, count = re.subn(r"127\.0\.0\.1:50051", f"127.0.0.1:{stored[0].variables['GRPC_PORT']}", code)
    assert count == 1, "the snippet names the API's address once"
    return code


def test_the_python_client_works(stored, tmp_path):
    generate, = re.findall(r"^python (-m grpc_tools\.protoc .*)$", README, re.MULTILINE)
    (tmp_path / "Proto").symlink_to(ROOT / "Proto")
    subprocess.run([sys.executable, *generate.split()], cwd=tmp_path, check=True)
    (tmp_path / "client.py").write_text(snippet(stored, "python"), encoding="utf-8")
    answered(stored, [sys.executable, "client.py"], tmp_path)


def test_the_typescript_client_is_sound(tmp_path):
    """Without its annotations it is JavaScript that node can read."""
    node = tool("node")
    code, = blocks("typescript")
    (tmp_path / "client.mjs").write_text(re.sub(r": (any|string)(?=[,)\s])", "", code), encoding="utf-8")
    done = subprocess.run([node, "--check", "client.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_typescript_client_works(stored, tmp_path):
    node, npm = tool("node"), tool("npm")
    packages, = re.findall(r"`npm install ([^`]*)`", README)
    done = subprocess.run(
        [npm, "install", "--silent", "--no-audit", "--no-fund", "--fetch-retries=0", *packages.split()], cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"npm cannot install {packages}: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    (tmp_path / "Proto").symlink_to(ROOT / "Proto")
    code = re.sub(r": (any|string)(?=[,)\s])", "", snippet(stored, "typescript"))
    (tmp_path / "client.mjs").write_text(code, encoding="utf-8")
    answered(stored, [node, "client.mjs"], tmp_path)


def test_what_readme_names_is_there():
    anchors = set(re.findall(r'<a id="([^"]+)">', README)) | {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("http"):
            assert (ROOT / target.split("#")[0]).exists(), target
    for script in set(re.findall(r"\b(scripts/[a-z-]+)", README)):
        assert (ROOT / script).exists(), script
    settings = (ROOT / "Config" / "scada-ingestion.env.example").read_text(encoding="utf-8")
    known = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", settings, re.MULTILINE))
    named = set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", README))
    foreign = {each for each in named - known if not each.endswith("_FILE") and not each.startswith("SCADA_")}
    assert not foreign, f"README names settings that there are not: {foreign}"


def test_the_query_of_the_example_is_a_request_of_the_api():
    """The JSON for grpcurl names fields of the proto file."""
    proto = (ROOT / "Proto" / "scada.proto").read_text(encoding="utf-8")
    body = re.search(r"grpcurl -plaintext -d '([^']*)'", README).group(1)
    request = re.search(r"message QueryReadingsRequest \{(.*?)^\}", proto, re.MULTILINE | re.DOTALL).group(1)
    for field in json.loads(body):
        assert re.search(rf"\b{field} = \d+", request), field
