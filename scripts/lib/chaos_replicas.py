"""The daemons of scripts/chaos: one, or several that share the work, each with its own journals and way to the master database."""
import os
import signal
import time

from support.daemon import Daemon
from support.proxy import Proxy

# Short, so that several takeovers happen in minutes; long enough for a busy machine.
LEASE_MS = 5000


class Replica:
    """A daemon, with what faults have done to it."""

    def __init__(self, folder, name, master_url, port, journals, is_alone, is_direct=False, **variables):
        """`is_direct`: nothing between it and the master database that could misbehave."""
        self.name = name
        self.to_master = None
        if not is_alone:
            variables = {"REPLICA_ID": name, "LEASE_MS": LEASE_MS} | variables
        if not is_alone and not is_direct:
            self.to_master = Proxy(port)
            master_url = master_url.replace(f":{port}/", f":{self.to_master.port}/")
        self.daemon = Daemon(folder, master_url, JOURNAL_DIR=journals, **variables)
        self.is_up = self.is_frozen = False
        self.starts = 0

    @property
    def process(self):
        return self.daemon.process

    @property
    def answers(self):
        return self.is_up and not self.is_frozen

    def start(self, **variables):
        self.daemon.start(ready=False, **variables)
        self.is_up = True
        self.starts += 1

    def kill(self):
        self.is_up = self.is_frozen = False
        self.daemon.kill()

    def tell_to_end(self):
        self.thaw()
        # On a busy machine it may have been started a moment ago: what is no program of ours yet knows no signals.
        deadline = time.monotonic() + 30
        while self.process.poll() is None and self.daemon.http("/healthz")[0] is None and time.monotonic() < deadline:
            time.sleep(0.1)
        self.is_up = False
        self.process.terminate()

    def freeze(self):
        if self.is_up:
            os.kill(self.process.pid, signal.SIGSTOP)
            self.is_frozen = True

    def thaw(self):
        if self.is_frozen:
            os.kill(self.process.pid, signal.SIGCONT)
            self.is_frozen = False

    def calm(self):
        self.thaw()
        if self.to_master:
            self.to_master.thaw()

    def close(self):
        self.calm()
        self.daemon.close()
        if self.to_master:
            self.to_master.close()
