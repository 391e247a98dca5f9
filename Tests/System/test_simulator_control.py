"""The control port of scada-simulator over the wire, with asyncua as the client: what a client sees of each fault."""
import asyncio
import contextlib
import socket
import struct

import pytest
from asyncua import Client, ua

from support.wait import eventually

TAG = "ns=2;s=Well-00001.Power"


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


@contextlib.asynccontextmanager
async def connected(simulator, timeout=4):
    client = Client(simulator.url, timeout=timeout)
    await client.connect()
    try:
        yield client
    finally:
        # Its server may be gone or silent: that is what these tests are about.
        with contextlib.suppress(Exception):
            await client.disconnect()


async def is_cut(client):
    """Whether the client's connection ended, though nothing was asked of it."""
    with pytest.raises((ConnectionError, ua.UaError, TimeoutError, asyncio.TimeoutError)):
        for _ in range(200):
            await client.get_node(TAG).read_value()
            await asyncio.sleep(0.05)
    return True


class Values:
    """Keeps what a subscription delivers."""

    def __init__(self):
        self.seen = []

    def datachange_notification(self, node, value, data):
        self.seen.append(value)

    async def until(self, value):
        """Waits until `value` was delivered last."""
        for _ in range(400):
            if self.seen and self.seen[-1] == value:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{value} did not come, but {self.seen}")


def test_drop_cuts_and_the_next_connection_stands(make_simulator):
    async def try_it(simulator):
        async with connected(simulator) as client:
            assert await client.get_node(TAG).read_value() is not None
            simulator.ask("drop")
            assert await is_cut(client)
        async with connected(simulator) as client:
            assert await client.get_node(TAG).read_value() is not None

    run(try_it(make_simulator("--counters")))


def test_frozen_it_takes_connections_and_answers_nothing_until_thawed(make_simulator):
    simulator = make_simulator("--counters")
    simulator.ask("freeze")
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=20) as connection:
        connection.sendall(b"HELF" + bytes([32, 0, 0, 0, 0, 0, 0, 0]) + 2 * bytes([0, 0, 1, 0]) + bytes(8) + 4 * b"\xff")
        connection.settimeout(1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        simulator.ask("thaw")
        connection.settimeout(20)
        assert connection.recv(4) == b"ACKF"


def test_service_level_is_told_and_reported_to_subscribers(make_simulator):
    async def try_it(simulator):
        async with connected(simulator) as client:
            level = client.get_node(ua.ObjectIds.Server_ServiceLevel)
            assert await level.read_value() == 255
            values = Values()
            subscription = await client.create_subscription(50, values)
            await subscription.subscribe_data_change(level)
            await values.until(255)
            simulator.ask("service-level 100")
            await values.until(100)
            assert values.seen == [255, 100]
            assert await level.read_value() == 100

    run(try_it(make_simulator()))


def test_requests_for_types_are_cut(make_simulator):
    async def try_it(simulator):
        simulator.ask("drop-on-types 1")
        async with connected(simulator) as client:
            node = client.get_node(TAG)
            assert await node.read_value() is not None
            with pytest.raises((ConnectionError, ua.UaError, TimeoutError, asyncio.TimeoutError)):
                await node.read_data_type()
        async with connected(simulator) as client:
            assert await client.get_node(TAG).read_data_type() == ua.NodeId(ua.ObjectIds.Double)

    run(try_it(make_simulator()))


def agreed_chunks(simulator):
    """What Acknowledge says of the largest chunks that the simulator takes and sends (Part 6, 7.1.2.4)."""
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=20) as connection:
        connection.sendall(b"HELF" + struct.pack("<IIIIIIi", 32, 0, 65_535, 65_535, 0, 0, -1))
        return struct.unpack_from("<II", connection.recv(28), 12)


def test_limits_hold(make_simulator):
    async def try_it(simulator):
        async with connected(simulator) as client:
            nodes = [client.get_node(f"ns=2;s=Well-00001.{name}") for name in ("Power", "Vibration", "CasingPressure")]
            simulator.ask("limit nodes 2")
            with pytest.raises(ua.uaerrors.BadTooManyOperations):
                await client.read_values(nodes)
            simulator.ask("limit items 2")
            subscription = await client.create_subscription(100, Values())
            with pytest.raises(ua.uaerrors.BadTooManyOperations):
                await subscription.subscribe_data_change(nodes)
            simulator.ask("reset-limits")
            assert len(await client.read_values(nodes)) == 3
            simulator.ask("limit sessions 1")
            with pytest.raises(ua.uaerrors.BadTooManySessions):
                async with connected(simulator):
                    pass
        simulator.ask("reset-limits")
        assert agreed_chunks(simulator) == (65_535, 65_535)
        simulator.ask("limit chunk 8192")
        assert agreed_chunks(simulator) == (8_192, 8_192)
        async with connected(simulator) as client:
            many = [client.get_node(TAG)] * 1_000
            assert len(await client.read_values(many)) == 1_000
        simulator.ask("limit message 8192")
        async with connected(simulator) as client:
            with pytest.raises((ua.UaError, ConnectionError, TimeoutError, asyncio.TimeoutError)):
                await client.read_values(many)

    run(try_it(make_simulator()))


def test_a_removed_tag_and_a_moved_namespace(make_simulator):
    async def try_it(simulator):
        async with connected(simulator) as client:
            node = client.get_node(TAG)
            simulator.ask("remove-node Well-00001.Power")
            with pytest.raises(ua.uaerrors.BadNodeIdUnknown):
                await node.read_value()
            simulator.ask(f"restore-node {TAG}")
            assert await node.read_value() is not None
            before = await client.get_namespace_array()
            simulator.ask("move-namespaces")
            after = await client.get_namespace_array()
            index = after.index(before[2])
            assert index != 2
            assert await client.get_node(TAG.replace("ns=2", f"ns={index}")).read_value() is not None
            with pytest.raises(ua.uaerrors.BadNodeIdUnknown):
                await node.read_value()

    run(try_it(make_simulator()))


def test_refused_deadbands(make_simulator):
    async def try_it(simulator):
        async with connected(simulator) as client:
            subscription = await client.create_subscription(100, Values())
            node = client.get_node(TAG)
            simulator.ask("refuse-deadband on")
            with pytest.raises(ua.uaerrors.BadFilterNotAllowed):
                await subscription.deadband_monitor(node, 1.0)
            simulator.ask("refuse-deadband off")
            await subscription.deadband_monitor(node, 1.0)

    run(try_it(make_simulator()))


@pytest.mark.parametrize("command", ["corrupt 1", "corrupt-one-in 3"])
def test_corrupted_messages_differ_from_those_that_are_not(make_simulator, command):
    """The same request over and over: its answers are alike but for time stamps, until bytes are flipped."""
    simulator = make_simulator("--counters", rate=0)

    def exchange():
        with socket.create_connection(("127.0.0.1", simulator.port), timeout=20) as connection:
            connection.sendall(
                b"HELF" + (32).to_bytes(4, "little") + bytes(4) + 2 * (65535).to_bytes(4, "little") + bytes(8) + 4 * b"\xff")
            assert connection.recv(28)[:4] == b"ACKF"
            policy = b"http://opcfoundation.org/UA/SecurityPolicy#None"
            body = (
                len(policy).to_bytes(4, "little") + policy + 8 * b"\xff" + (1).to_bytes(4, "little") * 2
                + b"\x01\x00\xbe\x01" + bytes(2) + bytes(8) + (7).to_bytes(4, "little") + bytes(4) + 4 * b"\xff" + bytes(4)
                + bytes(3) + bytes(4) + bytes(4) + (1).to_bytes(4, "little") + 4 * b"\xff" + (60_000).to_bytes(4, "little")
            )
            connection.sendall(b"OPNF" + (12 + len(body)).to_bytes(4, "little") + bytes(4) + body)
            answer = b""
            # What is damaged in its length or anywhere else is as many bytes as before.
            while not answer or len(answer) < size[0]:
                more = connection.recv(4096)
                if not more:
                    break
                answer += more
            return answer

    size = [0]
    size[0] = len(exchange())

    def shape(answer):
        """Without channel and token ids and times."""
        return answer[:8] + answer[12:83]

    whole = shape(exchange())
    assert whole == shape(exchange()), "unharmed answers are alike"
    assert whole.startswith(b"OPNF") and size[0] > 91

    def is_damaged():
        # Damage may be where answers differ anyway: it is asked for again.
        simulator.ask(command)
        return shape(exchange()) != whole

    eventually(is_damaged, "an answer is damaged")
    simulator.ask("corrupt 0")
    simulator.ask("corrupt-one-in 0")
    assert shape(exchange()) == whole
