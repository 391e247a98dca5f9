"""A PostgreSQL server of our own: a cluster in a folder, on a loopback port, with a random password, run as an
unprivileged user (PostgreSQL refuses root), ended by the process id it was started with.

Used by scripts/demo and by the system tests; needs nothing but Python's standard library. As a program:

    private_postgres.py run FOLDER      starts the server, prints its URL, stops it at SIGINT, SIGTERM or end of input
"""
import contextlib
import itertools
import os
import pathlib
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time

PLAIN, TIMESCALE, TIMESCALE_APACHE = "plain", "timescaledb", "timescaledb-apache"


class Unavailable(Exception):
    """A server of that kind cannot run here; the text says why and what to do."""


# Below what the kernel gives to outgoing connections (from 32768), so that none of those takes a port between the answer and its use.
PORTS = range(12_000, 32_000)


def _ports():
    """Every port of PORTS again and again. Where pytest runs in several processes each keeps to an eighth of its own; a process that
    such a one starts is in the same eighth, and begins elsewhere in it.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    share = len(PORTS) // 8
    ports = PORTS[int(worker[2:]) % 8 * share:][:share] if worker[2:].isdigit() else PORTS
    start = os.getpid() * 37 % len(ports)
    return itertools.cycle([*ports[start:], *ports[:start]])


_candidates = _ports()


def free_port():
    """A loopback TCP port that was free a moment ago. The same one comes again only after thousands of others."""
    for port in itertools.islice(_candidates, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free TCP port from {PORTS.start} to {PORTS.stop}")


def with_parent(*command, ending="TERM", user=None):
    """A command line that runs `command` in the same process, and lets the kernel send it a signal when its parent dies,
    however the parent dies. Optionally as another user (an entry of the password database).
    """
    prefix = ["setpriv", f"--pdeathsig={ending}"]
    if user:
        prefix += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [*prefix, "--", *[str(each) for each in command]]


def binaries():
    """The folder of initdb and postgres."""
    folders = []
    if shutil.which("pg_config"):
        answer = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False)
        folders.append(pathlib.Path(answer.stdout.strip() or "/nonexistent"))
    installed = pathlib.Path("/usr/lib/postgresql")
    if installed.is_dir():
        versions = (each for each in installed.iterdir() if each.name.isdigit())
        folders += [each / "bin" for each in sorted(versions, key=lambda each: -int(each.name))]
    folders += [pathlib.Path("/usr/local/pgsql/bin"), pathlib.Path("/usr/local/bin"), pathlib.Path("/usr/bin")]
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise Unavailable("no PostgreSQL server was found: run scripts/bootstrap")


def offers_timescale():
    """Whether TimescaleDB's library lies where this PostgreSQL looks for it."""
    try:
        folder = binaries()
    except Unavailable:
        return False
    answer = subprocess.run([folder / "pg_config", "--pkglibdir"], capture_output=True, text=True, check=False)
    candidates = [answer.stdout.strip()] if answer.returncode == 0 else [str(folder.parent / "lib")]
    return any(os.path.exists(os.path.join(each, "timescaledb.so")) for each in candidates)


def unprivileged_user():
    """Who runs the server when we are root; None when we are not."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise Unavailable("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")


class PrivatePostgres:
    """One server. `folder` is made when missing and used again when it holds a cluster already."""

    def __init__(self, folder, flavour=None, durable=True, settings=None):
        self.folder = pathlib.Path(folder).resolve()
        self.flavour = flavour or (TIMESCALE if offers_timescale() else PLAIN)
        if self.flavour != PLAIN and not offers_timescale():
            raise Unavailable("this PostgreSQL does not offer the extension timescaledb")
        self.durable = durable
        self.settings = settings or {}
        self.data = self.folder / "data"
        self.log = self.folder / "postgresql.log"
        self.password = None
        self.port = None
        self.process = None
        self._bin = binaries()
        self._user = unprivileged_user()

    # Processes

    def _command(self, *command, ending="TERM"):
        """The command line that runs `command` as somebody other than root."""
        return with_parent(*command, ending=ending, user=self._user)

    def _run(self, *command):
        done = subprocess.run(
            self._command(*command), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, cwd="/"
        )
        if done.returncode != 0:
            raise Unavailable(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    # The cluster

    def _make_folder(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._user:
            return
        os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        if subprocess.run(self._command("test", "-w", self.folder), check=False, cwd="/").returncode != 0:
            raise Unavailable(f"user {self._user.pw_name}, who runs PostgreSQL, cannot enter {self.folder}")

    def _initialise(self):
        secret = self.folder / "password"
        if (self.data / "PG_VERSION").exists():
            version = (self.data / "PG_VERSION").read_text().strip()
            ours = re.search(r"\d+", self._run(self._bin / "postgres", "--version")).group()
            if version != ours:
                raise Unavailable(f"{self.folder} was made by PostgreSQL {version}, here is {ours}: remove the folder")
            self.password = secret.read_text().strip()
            return
        # An attempt that was interrupted left a torso.
        shutil.rmtree(self.data, ignore_errors=True)
        self.password = secrets.token_urlsafe(18)
        secret.touch(mode=0o600)
        secret.write_text(self.password + "\n")
        if self._user:
            os.chown(secret, self._user.pw_uid, self._user.pw_gid)
        self._run(
            self._bin / "initdb", "-D", self.data, "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}",
            "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions",
        )
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write("\ninclude 'private.conf'\n")

    def _configure(self):
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 100,
            "shared_buffers": "128MB",
            "log_min_messages": "warning",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        if self.flavour != PLAIN:
            settings |= {
                "shared_preload_libraries": "timescaledb",
                "timescaledb.telemetry_level": "off",
                "max_worker_processes": 24,
            }
        if self.flavour == TIMESCALE_APACHE:
            settings["timescaledb.license"] = "apache"
        settings |= self.settings
        file = self.data / "private.conf"
        file.write_text("".join(f"{name} = '{value}'\n" for name, value in settings.items()), encoding="utf-8")
        if self._user:
            os.chown(file, self._user.pw_uid, self._user.pw_gid)

    def start(self, timeout=60):
        """Starts the server on the port it had before, or a free one, and waits until it answers."""
        self._make_folder()
        self._initialise()
        self._end_leftover()
        if self.port is None or not self._is_free(self.port):
            self.port = free_port()
        self._configure()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self._command(self._bin / "postgres", "-D", self.data, ending="INT"),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
            )
        deadline = time.monotonic() + timeout
        ready = [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False, stdin=subprocess.DEVNULL).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                tail = self.log.read_text(errors="replace").splitlines()[-20:]
                raise Unavailable("PostgreSQL did not start:\n" + "\n".join(tail))
            time.sleep(0.05)
        return self

    @staticmethod
    def _is_free(port):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
            return True

    def _end_leftover(self):
        """A server of an earlier run that still holds this very folder is ended, by the id in its lock file."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n")[0])
            command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return
        if str(self.data).encode() not in command:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + 30
        while os.path.exists(f"/proc/{pid}"):
            if time.monotonic() > deadline:
                raise Unavailable(f"a PostgreSQL server (process {pid}) holds {self.folder} and does not end")
            time.sleep(0.05)

    def stop(self, how=signal.SIGINT):
        """SIGINT is a fast shutdown; SIGQUIT an immediate one, as good as a crash. Safe to call twice."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait(30)
        self.process = None

    def __enter__(self):
        return self if self.process else self.start()

    def __exit__(self, *_):
        self.stop()

    # Databases

    def url(self, database="postgres"):
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def psql(self, sql, database="postgres"):
        """Runs SQL, stopping at the first error; returns unaligned rows without a header."""
        environment = os.environ | {"PGPASSWORD": self.password, "PGOPTIONS": "-c client_min_messages=warning"}
        done = subprocess.run(
            [self._bin / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port),
             "-U", "postgres", "-d", database, "-f", "-"],
            input=sql, capture_output=True, text=True, check=False, env=environment,
        )
        if done.returncode != 0:
            raise RuntimeError(f"psql: {done.stderr.strip()}")
        return done.stdout.strip()

    def time_psql(self, sql, database):
        """Seconds that psql says the statement took, its answer received and thrown away."""
        environment = os.environ | {"PGPASSWORD": self.password}
        done = subprocess.run(
            [self._bin / "psql", "-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database,
             "-f", "-"],
            input=f"\\timing on\n\\o /dev/null\n{sql};\n", capture_output=True, text=True, check=True, env=environment,
        )
        return float(re.search(r"Time: ([0-9.]+) ms", done.stdout).group(1)) / 1000

    def has_database(self, name):
        return self.psql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'") == "1"

    def create_database(self, name):
        """Makes a database unless it is there; returns its URL."""
        if not self.has_database(name):
            self.psql(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return self.url(name)


def main(arguments):
    if len(arguments) != 2 or arguments[0] != "run":
        print(__doc__, file=sys.stderr)
        return 64

    def interrupt(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        with PrivatePostgres(arguments[1]) as server:
            print(server.url(), flush=True)
            sys.stdin.read()
    except KeyboardInterrupt:
        pass
    except Unavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 69
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
