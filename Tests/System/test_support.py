"""The rulers are measured first: what the OPC UA server says it wrote is what a client nobody here wrote receives."""
import asyncio
import collections
import datetime
import socket

import asyncua

from support.opcua import CounterServer
from support.proxy import Proxy
from support.wait import eventually

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class Collector:
    def __init__(self):
        self.seen = collections.Counter()

    def datachange_notification(self, node, value, data):
        stamp = data.monitored_item.Value.SourceTimestamp
        if stamp.tzinfo is None:
            stamp = stamp.replace(tzinfo=datetime.timezone.utc)
        micros = (stamp - EPOCH) // datetime.timedelta(microseconds=1)
        self.seen[(node.nodeid.Identifier, micros, value)] += 1


def test_the_counter_server_keeps_an_exact_record(tmp_path):
    server = CounterServer(tmp_path, tags=50, history=True)
    proxy = Proxy(server.port)

    async def watch():
        collector = Collector()
        async with asyncua.Client(f"opc.tcp://127.0.0.1:{proxy.port}/counters") as client:
            subscription = await client.create_subscription(100, collector)
            nodes = [client.get_node(server.node(name)) for name in server.names]
            await subscription.subscribe_data_change(nodes, queuesize=100)
            server.write(rounds=20, interval=0.05)
            recorded = await asyncio.to_thread(server.wait_until_written)
            assert recorded == 50 * 21, "an initial value and 20 rounds for each tag"
            deadline = asyncio.get_running_loop().time() + 30
            while collector.seen.total() < recorded and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.05)
            history = await nodes[0].read_raw_history(EPOCH, EPOCH.replace(year=2100), 1000)
            assert [each.Value.Value for each in history] == [float(count) for count in range(21)]
        return collector.seen

    try:
        seen = asyncio.run(watch())
        assert seen == collections.Counter(server.record())
        server.remove_node("Tag00007")
        server.stop_server()
        server.start_server()
        assert server.status()["clients"] == 0
    finally:
        proxy.close()
        server.close()


def test_the_counter_server_marks_a_queue_that_overflowed(tmp_path):
    server = CounterServer(tmp_path, tags=1)

    async def watch():
        values = []

        class Handler:
            def datachange_notification(self, node, value, data):
                values.append((value, data.monitored_item.Value.StatusCode.value))

        async with asyncua.Client(server.url) as client:
            # Longer than the writing takes: the values meet in the queue.
            subscription = await client.create_subscription(3_000, Handler())
            await subscription.subscribe_data_change(client.get_node(server.node("Tag00000")), queuesize=3)
            while not values:
                await asyncio.sleep(0.05)
            server.write(rounds=10, interval=0.01)
            await asyncio.to_thread(server.wait_until_written)
            while len(values) < 4:
                await asyncio.sleep(0.05)
        return values

    try:
        values = asyncio.run(asyncio.wait_for(watch(), 60))
        assert values[-3:] == [(8.0, 0x480), (9.0, 0), (10.0, 0)]
    finally:
        server.close()


def test_the_proxy_cuts_freezes_and_refuses(tmp_path):
    echo = socket.create_server(("127.0.0.1", 0))
    proxy = Proxy(echo.getsockname()[1])
    try:
        near = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
        far, _ = echo.accept()
        near.sendall(b"one")
        assert far.recv(10) == b"one"
        proxy.freeze()
        near.sendall(b"two")
        far.setblocking(False)
        try:
            assert far.recv(10) != b"two", "nothing passes while frozen"
        except BlockingIOError:
            pass
        proxy.thaw()
        far.settimeout(10)
        assert far.recv(10) == b"two"
        proxy.cut()
        assert near.recv(10) == b"" and far.recv(10) == b""
        proxy.refuse()

        def refused():
            try:
                socket.create_connection(("127.0.0.1", proxy.port), timeout=10).close()
            except ConnectionRefusedError:
                return True
            return False

        eventually(refused, "new connections are refused", 10)
        proxy.accept()
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10).close()
    finally:
        proxy.close()
        echo.close()
