"""PgBouncer in transaction mode before a private PostgreSQL: what many databases are reached through."""
import os
import pathlib
import shutil
import subprocess

from private_postgres import binaries, free_port, unprivileged_user, with_parent

from .paths import ROOT
from .tenancy import connect
from .wait import eventually


def executable():
    """Installed, or unpacked by scripts/test into .build/tools; None when neither."""
    for each in (shutil.which("pgbouncer"), "/usr/sbin/pgbouncer", ROOT / ".build" / "tools" / "pgbouncer"):
        if each and os.path.exists(each):
            return pathlib.Path(each)
    return None


class PgBouncer:
    """A running one. `pool` is how many server connections it keeps for each database."""

    def __init__(self, folder, server, pool=4, total=60):
        self.port = free_port()
        self.server = server
        folder = pathlib.Path(folder)
        user = unprivileged_user()
        self.log = folder / "pgbouncer.log"
        users = folder / "users.txt"
        # What the server has, not the password: PgBouncer would derive that from it for each client, 4,096 rounds every time.
        with connect(server.url()) as administrator:
            verifier = administrator.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'").fetchone()[0]
        users.write_text(f'"postgres" "{verifier}"\n')
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(f"""[databases]
* = host=127.0.0.1 port={server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = 2000
max_db_connections = {total}
logfile = {self.log}
""")
        self.log.touch()
        if user:
            for each in (folder, users, configuration, self.log):
                os.chown(each, user.pw_uid, user.pw_gid)
        self.process = None
        self._command = with_parent(executable(), configuration, ending="INT", user=user)
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        )

        def alive():
            assert self.process.poll() is None, f"PgBouncer ended: {self.log.read_text()[-2000:]}"
            ready = [binaries() / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-d", "postgres"]
            return subprocess.run(ready, check=False, stdin=subprocess.DEVNULL).returncode == 0

        eventually(alive, "PgBouncer answers")

    def url(self, database):
        return f"postgresql://postgres:{self.server.password}@127.0.0.1:{self.port}/{database}"

    def stop(self):
        """At once: connections break."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
