"""A TCP proxy that can cut, freeze, delay, mute and refuse: the network's moods, on demand."""
import contextlib
import socket
import threading
import time

from private_postgres import free_port


class Proxy:
    """Forwards connections to a loopback port. Thread-safe."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.port = free_port()
        self.accepted = 0
        # Seconds that each piece of at most 64 KiB takes longer.
        self.delay = 0
        self._is_muted = False
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._pairs = []
        self._listener = None
        self.accept()

    def accept(self):
        """Listens (again)."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self._listener = listener
        threading.Thread(target=self._accept_loop, args=(listener,), daemon=True).start()

    def refuse(self):
        """New connections are refused; those that stand go on."""
        if self._listener:
            # shutdown wakes the thread that waits in accept; close alone would leave it there.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def cut(self):
        """Every connection is closed, in both directions, at once."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for each in pair:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def freeze(self):
        """Connections stay open and new ones are accepted, but no byte passes: half-open."""
        self._flowing.clear()

    def thaw(self):
        self._flowing.set()

    def mute(self):
        """What clients send arrives, the answers are lost."""
        self._is_muted = True

    def unmute(self):
        self._is_muted = False

    def close(self):
        self.refuse()
        self._flowing.set()
        self.cut()

    def _accept_loop(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port), timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self.accepted += 1
                self._pairs.append((client, server))
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(source, sink, answers), daemon=True).start()

    def _pump(self, source, sink, answers):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.delay:
                    time.sleep(self.delay)
                self._flowing.wait()
                if not (answers and self._is_muted):
                    sink.sendall(data)
        # One end closed, so does the other.
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
