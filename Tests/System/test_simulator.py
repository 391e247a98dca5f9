"""scada-simulator against asyncua as a client: every policy and mode, every kind of user."""
import asyncio
import itertools
import socket
import struct

import pytest
from asyncua import Client, ua
from asyncua.crypto import security_policies

from support import certificates

POLICIES = ["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"]
CLASSES = {name: getattr(security_policies, "SecurityPolicy" + name.replace("_", "")) for name in POLICIES}
CLIENT_URI = "urn:scada-ingestion:system-tests:client"


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    return {
        "client": certificates.make(folder, "client", uri=CLIENT_URI),
        "user": certificates.make(folder, "user"),
        "stranger": certificates.make(folder, "stranger"),
    }


async def read(url, people, policy, mode, user=None, password=None, certificate=None):
    """Opens a session and reads a tag; returns its value."""
    client = Client(url, timeout=20)
    client.application_uri = CLIENT_URI
    if policy != "None":
        own = people["client"]
        await client.set_security(
            CLASSES[policy], str(own.der), str(own.key), mode=ua.MessageSecurityMode[mode + "_"] if mode == "None"
            else ua.MessageSecurityMode[mode],
        )
    if user:
        client.set_user(user)
        client.set_password(password)
    if certificate:
        await client.load_client_certificate(str(certificate.der))
        await client.load_private_key(str(certificate.key))
    async with client:
        value = await client.get_node("ns=2;s=Well-00001.CasingPressure").read_value()
        await client.get_namespace_array()
        return value


@pytest.fixture
def simulator(make_simulator, people):
    return make_simulator(
        "--security", "all", "--user", "operator:correct-horse", "--user-certificate", people["user"].der, wells=1
    )


@pytest.mark.parametrize("policy,mode", [("None", "None"), *itertools.product(POLICIES, ["Sign", "SignAndEncrypt"])])
def test_every_policy_mode_and_identity(simulator, people, policy, mode):
    assert asyncio.run(read(simulator.url, people, policy, mode)) is not None
    assert asyncio.run(read(simulator.url, people, policy, mode, "operator", "correct-horse")) is not None
    with pytest.raises(ua.uaerrors.BadUserAccessDenied):
        asyncio.run(read(simulator.url, people, policy, mode, "operator", "wrong"))
    if policy != "None":
        assert asyncio.run(read(simulator.url, people, policy, mode, certificate=people["user"])) is not None
        with pytest.raises(ua.UaError):
            asyncio.run(read(simulator.url, people, policy, mode, certificate=people["stranger"]))


def test_what_is_not_offered_is_refused(make_simulator, people):
    simulator = make_simulator("--security", "Basic256Sha256:SignAndEncrypt", "--no-anonymous", wells=1)
    allowed = ("Basic256Sha256", "SignAndEncrypt", "anybody", "anything")
    assert asyncio.run(read(simulator.url, people, *allowed)) is not None
    for refused in [("Basic256Sha256", "SignAndEncrypt"), ("Basic256Sha256", "Sign", "a", "b"), ("None", "None", "a", "b")]:
        with pytest.raises((ua.UaError, ConnectionError, TimeoutError)):
            asyncio.run(read(simulator.url, people, *refused))


def test_a_client_is_dialled(make_simulator):
    """Reverse connect, byte by byte (Part 6, 7.1.2.6): ReverseHello, and after the client's Hello the next connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        simulator = make_simulator("--reverse-connect", f"127.0.0.1:{listener.getsockname()[1]}", wells=1)
        for _ in range(2):
            # What is closed unused comes again.
            connection, _ = listener.accept()
            connection.close()
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(20)
            uri, url = f"urn:scada-simulator:{simulator.port}".encode(), simulator.url.encode()
            fields = struct.pack("<I", len(uri)) + uri + struct.pack("<I", len(url)) + url
            message = b"RHEF" + struct.pack("<I", 8 + len(fields)) + fields
            assert receive(connection, len(message)) == message
            connection.sendall(b"HELF" + struct.pack("<IIIIIIi", 32, 0, 65535, 65535, 0, 0, -1))
            assert receive(connection, 28)[:8] == b"ACKF" + struct.pack("<I", 28)
            # In use: the next connection waits for when it ends.
            following, _ = listener.accept()
            with following:
                following.settimeout(20)
                assert receive(following, 4) == b"RHEF"


def receive(connection, count):
    received = b""
    while len(received) < count:
        more = connection.recv(count - len(received))
        assert more, f"the connection ended after {received!r}"
        received += more
    return received


def test_a_client_has_to_be_trusted_where_that_is_asked(make_simulator, people, tmp_path):
    pki = tmp_path / "simulator-pki"
    simulator = make_simulator("--security", "all", "--pki-dir", pki, "--trust-clients", wells=1)
    with pytest.raises((ua.UaError, ConnectionError, TimeoutError)):
        asyncio.run(read(simulator.url, people, "Basic256Sha256", "Sign"))
    rejected = list((pki / "rejected" / "certs").iterdir())
    assert [each.read_bytes() for each in rejected] == [people["client"].der.read_bytes()]
    rejected[0].rename(pki / "trusted" / "certs" / "client.der")
    assert asyncio.run(read(simulator.url, people, "Basic256Sha256", "Sign")) is not None
