"""An OPC UA server of counters for the tests, on asyncua, in a process of its own. Run by support.opcua, not by hand.

Reads commands as JSON lines on standard input, answers each with one JSON line on standard output, ends when the input
ends. Every tag is a Double that counts 0, 1, 2, …; every value carries an explicit source timestamp that no other value
of the server carries; whatever was written is kept, exactly, and can be asked for.
"""
import asyncio
import dataclasses
import datetime
import json
import logging
import pathlib
import sys
import time

from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.history import HistoryDict
from asyncua.server.internal_subscription import InternalSubscription
from asyncua.server.user_managers import UserManager
from cryptography.hazmat.primitives import serialization

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
NAMESPACE = "urn:scada-ingestion:system-tests"


class KeptHistory(HistoryDict):
    """Survives a restart of the server object: what a historian on disk does."""

    async def new_historized_node(self, node_id, period, count=0):
        if node_id not in self._datachanges:
            await super().new_historized_node(node_id, period, count)


class Users(UserManager):
    """Names with their passwords, and the DER of users' certificates. Where there are none everybody is welcome."""

    def __init__(self, known, certificates):
        self.known = known
        self.certificates = certificates

    def get_user(self, iserver, username=None, password=None, certificate=None):
        if username is not None:
            welcome = not self.known or self.known.get(username) == password
        elif self.certificates:
            # An anonymous user comes with the application's certificate.
            if certificate is not None and not isinstance(certificate, bytes):
                certificate = certificate.public_bytes(serialization.Encoding.DER)
            welcome = certificate in self.certificates
        else:
            welcome = not self.known
        return User(role=UserRole.User) if welcome else None


def complete_transfer(service):
    """asyncua 2.1.0 leaves a transferred subscription asking the old connection for publish requests: it never publishes
    again, which Part 4, 5.14.7 does not allow. This gives it the new connection's, as a reactivated session gets them.
    """
    transfer = service.transfer_subscriptions

    async def transfer_subscriptions(parameters, session_id, callback):
        results = await transfer(parameters, session_id, callback)
        for number, result in zip(parameters.SubscriptionIds, results):
            if result.StatusCode.is_good():
                service.subscriptions[int(number)].pub_request_callback = callback.__self__.get_publish_request
        return results

    service.transfer_subscriptions = transfer_subscriptions


def mark_overflows():
    """asyncua 2.1.0 drops the oldest value of a full queue without a word. Part 4, 5.13.1.5 wants the overflow bit on the
    value after the hole, and a client can only record or heal what it is told.
    """
    enqueue = InternalSubscription._enqueue_event
    overflow = 0x0000_0480  # InfoType DataValue, Overflow (Part 4, 7.39.1)

    async def _enqueue_event(self, mid, event, size, queue):
        drops = size != 0 and len(queue.get(mid, ())) >= size
        await enqueue(self, mid, event, size, queue)
        if drops and size > 1 and isinstance(queue[mid][0], ua.MonitoredItemNotification):
            oldest = queue[mid][0]
            value = dataclasses.replace(oldest.Value, StatusCode=ua.StatusCode(oldest.Value.StatusCode.value | overflow))
            queue[mid][0] = ua.MonitoredItemNotification(ClientHandle=oldest.ClientHandle, Value=value)

    InternalSubscription._enqueue_event = _enqueue_event


class CounterServer:
    def __init__(self):
        self.options = {}
        self.server = None
        self.namespace = 0
        self.tags = {}  # name: node id
        self.counters = {}
        self.last_micros = 0
        self.record = []  # (name, micros, value)
        self.writer = None
        self.storage = None

    async def configure(self, port, tags, history=False, users=None, transfers=True, security=None):
        """Starts serving `tags` counters named Tag00000 … on opc.tcp://127.0.0.1:port/counters.

        Without `transfers` a transferred subscription falls silent for ever, as asyncua has it. `security` is an object:
        `policies` (names of asyncua's SecurityPolicyType), `certificate` and `private_key` (paths), `uri`,
        `users` (paths of DER certificates).
        """
        self.options = {
            "port": port, "history": history, "users": users or {}, "transfers": transfers, "security": security or {},
        }
        self.counters = {f"Tag{number:05}": None for number in range(tags)}
        return await self.start_server()

    async def start_server(self):
        certificates = [pathlib.Path(each).read_bytes() for each in self.options["security"].get("users", [])]
        self.server = Server(user_manager=Users(self.options["users"], certificates))
        await self.server.init()
        self.server.set_endpoint(f"opc.tcp://127.0.0.1:{self.options['port']}/counters")
        self.server.set_server_name("counters")
        security = self.options["security"]
        names = security.get("policies", ["NoSecurity"])
        self.server.set_security_policy([getattr(ua.SecurityPolicyType, name) for name in names])
        if security:
            await self.server.set_application_uri(security["uri"])
            await self.server.load_certificate(security["certificate"])
            await self.server.load_private_key(security["private_key"])
            tokens = [ua.AnonymousIdentityToken, ua.UserNameIdentityToken, ua.X509IdentityToken]
            self.server.set_identity_tokens(tokens)
        self.namespace = await self.server.register_namespace(NAMESPACE)
        self.tags = {}
        for name in list(self.counters):
            await self.add_node(name)
        if self.options["history"]:
            self.storage = self.storage or KeptHistory()
            await self.storage.init()
            self.server.iserver.history_manager.set_storage(self.storage)
        if self.options["transfers"]:
            complete_transfer(self.server.iserver.subscription_service)
        await self.server.start()
        if self.options["history"]:
            nodes = [self.server.get_node(node_id) for node_id in self.tags.values()]
            await self.server.historize_node_data_change(nodes, period=datetime.timedelta(hours=2))
        return {"namespace": self.namespace}

    async def stop_server(self):
        await self.pause()
        try:
            await asyncio.wait_for(self.server.stop(), 45)
        except TimeoutError:
            # Into the log of this process, which a failing test names.
            for task in asyncio.all_tasks():
                task.print_stack()
            raise
        self.server = None
        return {}

    def _stamp(self):
        self.last_micros = max(self.last_micros + 1, time.time_ns() // 1000)
        return self.last_micros

    def _value(self, count, micros):
        stamp = EPOCH + datetime.timedelta(microseconds=micros)
        return ua.DataValue(
            ua.Variant(float(count), ua.VariantType.Double), SourceTimestamp=stamp, ServerTimestamp=stamp
        )

    async def add_node(self, name):
        """Adds a counter, or puts back one that was removed; it goes on where it stood."""
        node_id = ua.NodeId(name, self.namespace)
        before = self.counters.get(name)
        count, micros = before if before else (0, self._stamp())
        if not before:
            self.counters[name] = (count, micros)
            self.record.append((name, micros, count))
        await self.server.nodes.objects.add_variable(node_id, ua.QualifiedName(name, self.namespace), 0.0)
        await self.server.write_attribute_value(node_id, self._value(count, micros))
        self.tags[name] = node_id
        return {}

    async def remove_node(self, name):
        node_id = self.tags.pop(name)
        await self.server.delete_nodes([self.server.get_node(node_id)])
        return {}

    async def write(self, rounds=None, interval=0.5, quiet=()):
        """Begins to write every tag but the `quiet` ones once a round; without `rounds` until paused."""
        await self.pause()
        self.writer = asyncio.create_task(self._rounds(rounds, interval, set(quiet)))
        return {}

    async def _rounds(self, rounds, interval, quiet):
        due = time.monotonic()
        done = 0
        while rounds is None or done < rounds:
            for number, (name, node_id) in enumerate(list(self.tags.items())):
                if name not in self.tags or name in quiet:
                    continue
                count, micros = self.counters[name][0] + 1, self._stamp()
                self.counters[name] = (count, micros)
                # Recorded first: a value can be seen outside before this line returns.
                self.record.append((name, micros, count))
                await self.server.write_attribute_value(node_id, self._value(count, micros))
                if number % 50 == 49:
                    await asyncio.sleep(0)
            done += 1
            due += interval
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def pause(self):
        if self.writer:
            # Not cancelled in the middle of a round: a value is written and recorded, or neither.
            writer, self.writer = self.writer, None
            if writer.done():
                writer.result()
            else:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
        return await self.status()

    async def status(self):
        if self.writer and self.writer.done():
            self.writer.result()  # an error of the writer becomes the answer
        sessions = subscriptions = 0
        if self.server:
            sessions = len(self.server.bserver.clients)
            subscriptions = sum(
                1 for each in self.server.iserver.subscription_service.subscriptions.values() if each.pub_request_callback
            )
        return {
            "writing": bool(self.writer and not self.writer.done()),
            "recorded": len(self.record),
            "in_history": sum(map(len, self.storage._datachanges.values())) if self.storage else 0,
            "clients": sessions,
            "subscriptions": subscriptions,
        }

    async def dump(self, path):
        """Writes the record to a file, a line of tag, microseconds since 1970 and value for each."""
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"{name}\t{micros}\t{value}\n" for name, micros, value in self.record)
        return {"recorded": len(self.record)}


async def main():
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    mark_overflows()
    counters = CounterServer()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        request = json.loads(line)
        method = getattr(counters, request.pop("command"))
        try:
            answer = {"ok": True} | await method(**request)
        except Exception as error:  # noqa: BLE001: whatever it is, the test must read it
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
