"""What README tells others to type works: the client snippets run against the daemon, the files it names are there."""
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from support import certificates
from support.paths import ROOT
from support.tools import find, tool

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def stored(tenant, daemon, make_server):
    """Starts the daemon, with settings of the API, and lets it store three readings of each of ten tags of one well; beside
    them are more than a page of QueryReadings holds. Gives the daemon and what the clients are asked for.
    """
    def store(**settings):
        server = make_server(10)
        tenant.add_connection(server)
        daemon.start(**settings)
        tenant.wait_for_count(10, watch=daemon.must_live)
        server.write(rounds=2, interval=0.1)
        tenant.wait_for_count(server.wait_until_written(), watch=daemon.must_live)
        well, node = server.well(server.names[0]), server.node(server.names[0])
        tenant.sql.execute(
            "INSERT INTO scada_readings (timestamp, well_id, tag_node_id, value, quality)"
            " SELECT now() - interval '10 minutes' - i * interval '10 ms', %s, %s, i, 'Good' FROM generate_series(1, 10000) i",
            (well, node),
        )
        return daemon, tenant, str(well)

    return store


def ran(stored, command, folder):
    _, tenant, well = stored
    return subprocess.run([*command, tenant.id, well], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def assert_answered(stored, command, folder):
    """Every stored reading is printed once, newest first."""
    done = ran(stored, command, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = [line.split() for line in done.stdout.splitlines()]
    expected = sorted(((micros // 1_000_000, node, value) for node, micros, value in stored[1].readings()))
    assert len(expected) == 10_030
    assert sorted((int(at), node, float(value)) for at, node, value, _ in printed) == expected
    assert {quality for *_, quality in printed} == {"Good"}
    times = [int(at) for at, *_ in printed]
    assert times == sorted(times, reverse=True)


def snippet(language, daemon, **replacements):
    """README's client for this daemon, with some of its expressions replaced. Each must be there, once."""
    code, = blocks(language)
    for old, new in (replacements | {"127.0.0.1:50051": f"127.0.0.1:{daemon.variables['GRPC_PORT']}"}).items():
        assert code.count(old) == 1, f"the snippet has {old!r} once"
        code = code.replace(old, new)
    return code


@pytest.fixture
def secured(stored, tmp_path):
    """`stored` over TLS and with the token "the-token"; the authority to trust is in authority.pem."""
    server = certificates.make(tmp_path / "certificates", "server")
    tokens = tmp_path / "tokens"
    tokens.write_text(f"sha256:{hashlib.sha256(b'the-token').hexdigest()} *\n", encoding="utf-8")
    (tmp_path / "authority.pem").write_bytes(server.pem.read_bytes())
    return stored(GRPC_TLS_CERT=server.pem, GRPC_TLS_KEY=server.key, GRPC_TOKENS_FILE=tokens)


def python_client(code, folder):
    generate, = re.findall(r"^python (-m grpc_tools\.protoc .*)$", README, re.MULTILINE)
    (folder / "Proto").symlink_to(ROOT / "Proto")
    subprocess.run([sys.executable, *generate.split()], cwd=folder, check=True)
    (folder / "client.py").write_text(code, encoding="utf-8")
    return [sys.executable, "client.py"]


def test_the_python_client_works(stored, tmp_path):
    stored = stored()
    assert_answered(stored, python_client(snippet("python", stored[0]), tmp_path), tmp_path)


def test_the_python_client_works_with_tls_and_a_token(secured, tmp_path):
    credentials, metadata = "grpc.ssl_channel_credentials(authority)", 'metadata=[("authorization", "Bearer TOKEN")]'
    assert f"`{credentials}`" in README and f"`{metadata}`" in README
    code = 'authority = open("authority.pem", "rb").read()\n' + snippet("python", secured[0], **{
        "grpc.insecure_channel(": "grpc.secure_channel(", ':50051")': f':50051", {credentials})',
        "timeout=10": f"timeout=10, {metadata}",
    })
    command = python_client(code.replace("TOKEN", "the-token"), tmp_path)
    assert_answered(secured, command, tmp_path)
    (tmp_path / "client.py").write_text(code.replace("TOKEN", "another"), encoding="utf-8")
    refused = ran(secured, command, tmp_path)
    assert refused.returncode != 0 and "UNAUTHENTICATED" in refused.stderr, refused.stdout + refused.stderr


def node_modules(folder):
    """The packages that README names, in `folder`: those in a folder of NODE_PATH, else what npm installs."""
    packages, = re.findall(r"`npm install ([^`]*)`", README)
    for place in filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep)):
        if all((pathlib.Path(place) / package).exists() for package in packages.split()):
            (folder / "node_modules").symlink_to(pathlib.Path(place).resolve())
            return
    done = subprocess.run(
        [tool("npm"), "install", "--loglevel=error", "--no-audit", "--no-fund", "--fetch-retries=0", *packages.split()],
        cwd=folder, capture_output=True, text=True, check=False,
    )
    if done.returncode != 0:
        first = (done.stderr or done.stdout).strip().splitlines()[:1]
        pytest.skip(f"{packages} are in no folder of NODE_PATH, and npm cannot install them: {first}")


def without_types(code):
    return re.sub(r": (any|string)(?=[,)\s])", "", code)


def typescript_client(code, folder):
    """The command that runs it: compiled where there is a compiler, else as it is where node understands TypeScript, else
    without its annotations.
    """
    node, compiler = tool("node"), find("tsc")
    bundled = folder / "node_modules" / "typescript" / "lib" / "tsc.js"
    (folder / "client.mts").write_text(code, encoding="utf-8")
    if compiler or bundled.exists():
        options = ["--strict", "--skipLibCheck", "--target", "es2020", "--module", "nodenext", "--moduleResolution", "nodenext"]
        done = subprocess.run(
            [*([compiler] if compiler else [node, bundled]), *options, "client.mts"], cwd=folder, capture_output=True,
            text=True, check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [node, "client.mjs"]
    understands = subprocess.run([node, "--print", "process.features.typescript"], capture_output=True, text=True, check=True)
    if understands.stdout.strip() in ("strip", "transform"):
        return [node, "client.mts"]
    (folder / "client.mjs").write_text(without_types(code), encoding="utf-8")
    return [node, "client.mjs"]


def test_the_typescript_client_is_sound(tmp_path):
    """Without its annotations it is JavaScript that node can read."""
    node = tool("node")
    code, = blocks("typescript")
    (tmp_path / "client.mjs").write_text(without_types(code), encoding="utf-8")
    done = subprocess.run([node, "--check", "client.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_typescript_client_works(tmp_path, request):
    node_modules(tmp_path)
    stored = request.getfixturevalue("stored")()
    (tmp_path / "Proto").symlink_to(ROOT / "Proto")
    assert_answered(stored, typescript_client(snippet("typescript", stored[0]), tmp_path), tmp_path)


def test_the_typescript_client_works_with_tls_and_a_token(tmp_path, request):
    node_modules(tmp_path)
    secured = request.getfixturevalue("secured")
    credentials, set_token = "grpc.credentials.createSsl(authority)", 'metadata.set("authorization", "Bearer TOKEN")'
    assert f"`{credentials}`" in README and f"`{set_token}`" in README
    code = snippet("typescript", secured[0], **{
        "grpc.credentials.createInsecure()": credentials, "QueryReadings(request, ": "QueryReadings(request, metadata, ",
        'import * as grpc from "@grpc/grpc-js";': 'import * as grpc from "@grpc/grpc-js";\nimport { readFileSync } from "fs";'
        f'\nconst authority = readFileSync("authority.pem");\nconst metadata = new grpc.Metadata();\n{set_token};',
    })
    (tmp_path / "Proto").symlink_to(ROOT / "Proto")
    assert_answered(secured, typescript_client(code.replace("TOKEN", "the-token"), tmp_path), tmp_path)
    refused = ran(secured, typescript_client(code.replace("TOKEN", "another"), tmp_path), tmp_path)
    assert refused.returncode != 0 and "UNAUTHENTICATED" in refused.stderr, refused.stdout + refused.stderr


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
    foreign = {each for each in named - known - {"NODE_PATH"} if not each.endswith("_FILE") and not each.startswith("SCADA_")}
    assert not foreign, f"README names settings that there are not: {foreign}"


def test_the_query_of_the_example_is_a_request_of_the_api():
    """The JSON for grpcurl names fields of the proto file."""
    proto = (ROOT / "Proto" / "scada.proto").read_text(encoding="utf-8")
    body = re.search(r"grpcurl -plaintext -d '([^']*)'", README).group(1)
    request = re.search(r"message QueryReadingsRequest \{(.*?)^\}", proto, re.MULTILINE | re.DOTALL).group(1)
    for field in json.loads(body):
        assert re.search(rf"\b{field} = \d+", request), field
