"""The faults of scripts/chaos: how each is done to the running whole, and undone.

A fault `kill-daemon` is the methods `begin_kill_daemon` and `end_kill_daemon` of Faults, or `once_…` for a moment's fault,
called with the Field's tenant or replica that it strikes, or nothing where that is all. Everything that a fault touches was started by this program and is known by
its process id.
"""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import time

import psycopg

from private_postgres import Unavailable

# Room for the journals of one daemon where a small disk of their own can be had.
JOURNAL_DISK = 96 << 20


class JournalDisk:
    """A small file system for the journals, so that it can be filled; needs root. Else `mounted` is false, and a full journal
    is one of the smallest size.
    """

    def __init__(self, folder, wanted=True, journals=1):
        self.size = JOURNAL_DISK * journals
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(mode=0o700)
        self.ballast = self.folder / "ballast"
        self.mounted = wanted and os.geteuid() == 0 and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={self.size},mode=700", "scada-chaos", self.folder],
            check=False, capture_output=True,
        ).returncode == 0

    @property
    def journals(self):
        return self.folder / "journal"

    def fill(self):
        file = os.open(self.ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with contextlib.suppress(OSError):
            while os.write(file, bytes(1 << 16)):
                pass
        os.close(file)

    def empty(self):
        self.ballast.unlink(missing_ok=True)

    def close(self, keep_in=None):
        """Unmounts; what the journals hold is copied first where it is wanted for looking into."""
        if not self.mounted:
            return
        self.empty()
        if keep_in and self.journals.exists():
            shutil.copytree(self.journals, keep_in, dirs_exist_ok=True)
        subprocess.run(["umount", self.folder], check=False, capture_output=True)
        self.mounted = False


class Faults:
    """Does and undoes faults on a `field`: its server, daemons, tenants (each with proxies and a simulator) and disk."""

    def __init__(self, field):
        self.field = field
        self.dropped = set()
        self.saved = set()

    def perform(self, event):
        whom = ()
        if event.tenant is not None:
            whom = (self.field.tenants[event.tenant],)
        elif event.replica is not None:
            whom = (self.field.replicas[event.replica],)
        getattr(self, f"{event.phase}_{event.kind.replace('-', '_')}")(*whom)

    # The daemon

    def begin_kill_daemon(self, replica):
        replica.kill()

    def end_kill_daemon(self, replica):
        replica.start()

    def begin_stop_daemon(self, replica):
        """Told to end; other faults go on meanwhile."""
        replica.tell_to_end()

    def end_stop_daemon(self, replica):
        self.field.await_end(replica)
        replica.start()

    def begin_freeze_daemon(self, replica):
        replica.freeze()

    def end_freeze_daemon(self, replica):
        replica.thaw()

    def begin_cut_master(self, replica):
        """The way to the master database is half-open."""
        replica.to_master.freeze()

    def end_cut_master(self, replica):
        replica.to_master.thaw()

    # PostgreSQL

    def begin_stop_postgresql(self):
        self.field.server.stop()

    def end_stop_postgresql(self):
        self.start_postgresql()

    def begin_kill_postgresql(self):
        """The postmaster and all its children, at once, as when the machine's memory runs out for good."""
        process = self.field.server.process
        children = [int(each) for each in pathlib.Path(
            f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        for each in (process.pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        process.wait(30)

    def end_kill_postgresql(self):
        self.start_postgresql()

    def start_postgresql(self):
        """Children of a killed server may hold its memory for a moment longer."""
        deadline = time.monotonic() + 60
        port = self.field.server.port
        while True:
            try:
                self.field.server.start()
                break
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        if self.field.server.port != port:
            raise Unavailable(f"port {port} of PostgreSQL was taken by somebody else")

    def once_kill_backend(self, tenant):
        """PostgreSQL then ends all its sessions and recovers, as after any crash."""
        with self.administrator() as sql:
            row = sql.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
                " ORDER BY state = 'active' DESC, random() LIMIT 1", [tenant.database],
            ).fetchone()
        if row:
            with contextlib.suppress(ProcessLookupError):
                os.kill(row[0], signal.SIGKILL)

    def begin_slow_database(self, tenant):
        tenant.to_database.delay = 0.2

    def end_slow_database(self, tenant):
        tenant.to_database.delay = 0

    def begin_freeze_database(self, tenant):
        tenant.to_database.freeze()

    def end_freeze_database(self, tenant):
        tenant.to_database.thaw()

    def begin_mute_database(self, tenant):
        """Requests arrive, answers do not: among them that of COMMIT."""
        tenant.to_database.mute()

    def end_mute_database(self, tenant):
        tenant.to_database.cut()
        tenant.to_database.unmute()

    def once_cut_database(self, tenant):
        tenant.to_database.cut()

    # A tenant's database, dropped and restored

    def administrator(self):
        return psycopg.connect(self.field.server.url(), autocommit=True, connect_timeout=10)

    def once_save_database(self, tenant):
        """What a backup is: the database as it is now, checkpoint included. PostgreSQL copies only what nobody uses."""
        copy = tenant.database + "_saved"
        with self.administrator() as sql:
            sql.execute(f"DROP DATABASE IF EXISTS {copy}")
            sql.execute(f"ALTER DATABASE {tenant.database} ALLOW_CONNECTIONS false")
            try:
                self._copy(sql, tenant.database, copy)
            finally:
                sql.execute(f"ALTER DATABASE {tenant.database} ALLOW_CONNECTIONS true")
        self.saved.add(tenant)

    @staticmethod
    def _copy(sql, source, target):
        deadline = time.monotonic() + 60
        while True:
            sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [source])
            try:
                sql.execute(f"CREATE DATABASE {target} TEMPLATE {source}")
                return
            except psycopg.errors.ObjectInUse:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def begin_drop_database(self, tenant):
        if tenant not in self.saved:
            self.once_save_database(tenant)
        tenant.close()
        with self.administrator() as sql:
            # Without its background workers, which FORCE does not end.
            sql.execute(f"ALTER DATABASE {tenant.database} ALLOW_CONNECTIONS false")
            sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [tenant.database])
            sql.execute(f"DROP DATABASE {tenant.database} WITH (FORCE)")
        self.dropped.add(tenant)

    def end_drop_database(self, tenant):
        if tenant not in self.dropped:
            # It could not be dropped, because another fault was on.
            return self.open_database(tenant)
        # Made under another name: nobody may come in while it is incomplete.
        restored = tenant.database + "_restored"
        with self.administrator() as sql:
            sql.execute(f"DROP DATABASE IF EXISTS {restored}")
            self._copy(sql, tenant.database + "_saved", restored)
            sql.execute(f"ALTER DATABASE {restored} RENAME TO {tenant.database}")
        self.dropped.discard(tenant)
        return None

    def open_database(self, tenant):
        """Lets sessions in, should a fault have kept them out."""
        with self.administrator() as sql:
            sql.execute(f"ALTER DATABASE {tenant.database} ALLOW_CONNECTIONS true")

    # OPC UA servers and the network to them

    def begin_freeze_server(self, tenant):
        tenant.simulator.command("freeze")

    def end_freeze_server(self, tenant):
        tenant.simulator.command("thaw")

    def begin_restart_server(self, tenant):
        tenant.simulator.command("restart 500")

    def end_restart_server(self, tenant):
        """It is up again by itself."""

    def begin_freeze_network(self, tenant):
        tenant.to_server.freeze()

    def end_freeze_network(self, tenant):
        tenant.to_server.thaw()

    def once_cut_network(self, tenant):
        tenant.to_server.cut()

    def once_drop_connections(self, tenant):
        tenant.simulator.command("drop")

    def once_lose_subscriptions(self, tenant):
        tenant.simulator.command("lose-subscriptions")

    # The journal's disk

    def begin_fill_journal(self):
        if self.field.disk.mounted:
            self.field.disk.fill()
            return
        # No disk of our own to fill: a journal of the smallest size, and databases that take nothing.
        self.field.stop_daemon()
        for tenant in self.field.tenants:
            tenant.to_database.freeze()
        self.field.start_daemon(JOURNAL_MAX_BYTES="1MiB")

    def end_fill_journal(self):
        if self.field.disk.mounted:
            self.field.disk.empty()
            return
        for tenant in self.field.tenants:
            tenant.to_database.thaw()
        self.field.stop_daemon()
        self.field.start_daemon(JOURNAL_MAX_BYTES="64MiB")
