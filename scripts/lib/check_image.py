"""The work behind scripts/check-image, which says what it does. Runs as root in a mount namespace of its own."""
import argparse
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CAPABILITIES = "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"


def say(text):
    print(text, file=sys.stderr, flush=True)


class Failure(Exception):
    """What is wrong with the image, in a line."""


def instructions():
    """(stage, name, rest) of every instruction of the Dockerfile, continued lines joined, comments left out."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    stage = None
    for line in filter(None, (line.strip() for line in text.splitlines())):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            stage = rest.split()[-1]
        yield stage, name, rest.strip()


class Image:
    """A folder that becomes what the image would be, instruction by instruction."""

    def __init__(self, folder, binary):
        self.root, self.binary = folder / "root", binary
        self.environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.arguments, self.labels = {}, {}
        self.user, self.folder, self.volumes = "root", "/", []
        self.entry, self.command, self.health, self.stop = [], [], [], "SIGTERM"

    def expand(self, text):
        known = self.arguments | self.environment
        return re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda each: known.get(each[1] or each[2], each[0]), text)

    def chroot(self, *command, user="root", check=True, **options):
        identity = []
        if user != "root":
            entry = next(
                line.split(":") for line in (self.root / "etc/passwd").read_text().splitlines() if line.startswith(f"{user}:")
            )
            identity = ["setpriv", f"--reuid={entry[2]}", f"--regid={entry[3]}", "--clear-groups", *CAPABILITIES]
        inside = ["chroot", str(self.root), "env", "-i", "-C", self.folder,
                  *(f"{key}={value}" for key, value in (self.environment | options.pop("env", {})).items())]
        if options.pop("start", False):
            return subprocess.Popen([*inside, *identity, *command], **options)
        done = subprocess.run([*inside, *identity, *command], capture_output=True, text=True, check=False, **options)
        if check and done.returncode != 0:
            raise Failure(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"[-3000:])
        return done

    # Instructions

    def begin(self, image):
        distribution, _, version = self.expand(image).partition(":")
        if distribution != "debian":
            raise Failure(f"the run stage is made from {image}, not from Debian")
        suite = version.removesuffix("-slim")
        say(f"== debootstrap {suite}")
        self.root.mkdir()
        subprocess.run(
            ["debootstrap", "--variant=minbase", suite, str(self.root)], check=True, stdout=subprocess.DEVNULL,
        )
        for each in ("proc", "dev"):
            subprocess.run(["mount", "--rbind", f"/{each}", str(self.root / each)], check=True)
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        # This machine's way to the packages, which an engine would have in its network settings.
        for each in ("etc/hosts", "etc/apt/apt.conf.d", "etc/ssl/certs", "usr/local/share/ca-certificates"):
            source = pathlib.Path("/") / each
            if source.is_dir():
                shutil.copytree(source, self.root / each, dirs_exist_ok=True, symlinks=False, ignore_dangling_symlinks=True)
            elif source.exists():
                shutil.copy(source, self.root / each)

    def carry_out(self, name, rest):
        if name == "RUN":
            say(f"== RUN {rest[:100]}")
            self.chroot("sh", "-c", self.expand(rest), user=self.user, env={"DEBIAN_FRONTEND": "noninteractive"})
        elif name == "COPY":
            words = [word for word in rest.split() if not word.startswith("--")]
            if words[:-1] != ["/out/scada-ingestion"] or "--from=build" not in rest:
                raise Failure(f"COPY {rest}: only the executable is expected")
            target = self.root / words[-1].strip("/") / "scada-ingestion"
            shutil.copy(self.binary, target)
            target.chmod(0o755)
            self.copy_runtime()
        elif name == "ENV":
            self.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif name == "LABEL":
            self.labels |= dict(pair.split("=", 1) for pair in shlex.split(self.expand(rest)))
        elif name == "ARG":
            key, _, value = rest.partition("=")
            self.arguments.setdefault(key, value)
        elif name == "WORKDIR":
            (self.root / rest.strip("/")).mkdir(parents=True, exist_ok=True)
            self.folder = rest
        elif name == "USER":
            self.user = rest
        elif name == "VOLUME":
            self.volumes += json.loads(rest)
        elif name == "STOPSIGNAL":
            self.stop = rest
        elif name == "ENTRYPOINT":
            self.entry = json.loads(rest)
        elif name == "CMD":
            self.command = json.loads(rest)
        elif name == "HEALTHCHECK":
            self.health = json.loads(rest[rest.index("CMD ") + 4:])
        elif name not in ("EXPOSE",):
            raise Failure(f"{name}: this script does not know it")

    def copy_runtime(self):
        """An executable of a debug build finds the Swift runtime in the toolchain's folder: copied for this check."""
        linked = subprocess.run(["ldd", str(self.binary)], capture_output=True, text=True, check=True).stdout
        for path in filter(lambda each: "/swift/" in each, re.findall(r"=> (\S+)", linked)):
            say(f"   not in the image, copied for this executable: {path}")
            target = self.root / os.path.normpath(path).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)

    def build(self):
        for stage, name, rest in instructions():
            if stage is None or stage in ("base", "daemon"):
                if name == "FROM":
                    if stage == "base":
                        self.begin(rest.split()[0])
                else:
                    self.carry_out(name, rest)

    # What it must do

    def check(self):
        if self.user == "root":
            raise Failure("the image runs as root")
        version = self.chroot(*self.entry, "version", user=self.user).stdout.split()
        if self.labels.get("org.opencontainers.image.version") not in version:
            raise Failure(f"the version label is {self.labels}, the program says {version}")
        say(f"== {' '.join(version)} runs; label and program agree")
        toolchain = self.chroot("sh", "-c", "command -v swift gcc make || true").stdout.split()
        if toolchain:
            raise Failure(f"the image holds what only the build needs: {toolchain}")
        self.seal()
        self.serve()

    def seal(self):
        """The root becomes read-only; the volumes, filled as an engine fills new ones, stay writable."""
        for volume in self.volumes:
            inside = self.root / volume.strip("/")
            info = inside.stat()
            outside = self.root.parent / volume.strip("/").replace("/", "-")
            outside.mkdir()
            os.chown(outside, info.st_uid, info.st_gid)
            outside.chmod(info.st_mode & 0o7777)
        subprocess.run(["mount", "--bind", str(self.root), str(self.root)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(self.root)], check=True)
        for each in ("proc", "dev"):
            subprocess.run(["mount", "--rbind", f"/{each}", str(self.root / each)], check=True)
        for volume in self.volumes:
            outside = self.root.parent / volume.strip("/").replace("/", "-")
            subprocess.run(["mount", "--bind", str(outside), str(self.root / volume.strip("/"))], check=True)
        if self.chroot("touch", "/usr/local/written", check=False).returncode == 0:
            raise Failure("the root is not read-only")

    def serve(self):
        # No database: the daemon lives, says so, and is not ready.
        settings = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "METRICS_PORT": "19290", "GRPC_PORT": "19291"}
        with open(self.root.parent / "daemon.log", "wb") as log:
            daemon = self.chroot(
                *self.entry, *self.command, user=self.user, env=settings, start=True, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL,
            )
        try:
            deadline = time.monotonic() + 60
            while self.chroot(*self.health, user=self.user, env=settings, check=False).returncode != 0:
                if daemon.poll() is not None or time.monotonic() > deadline:
                    raise Failure(f"not healthy within a minute:\n{(self.root.parent / 'daemon.log').read_text()[-2000:]}")
                time.sleep(0.2)
            say("== HEALTHCHECK passes, with a read-only root, no capability and user " + self.user)
            daemon.send_signal(getattr(signal, self.stop))
            if daemon.wait(60) != 0:
                raise Failure(f"the daemon ended with {daemon.returncode} after {self.stop}")
            say(f"== {self.stop} ends it in order")
        finally:
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()
        if self.chroot(*self.health, user=self.user, env=settings, check=False).returncode == 0:
            raise Failure("HEALTHCHECK passes although nothing runs")
        written = sorted(each.name for each in self.root.parent.glob("var-lib-*/*"))
        if not written:
            raise Failure("nothing was written into the volumes")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("binary", type=pathlib.Path)
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="scada-image-"))
    folder.chmod(0o755)
    image = Image(folder, options.binary)
    try:
        image.build()
        image.check()
        size = subprocess.run(["du", "-smx", str(image.root)], capture_output=True, text=True, check=True).stdout.split()[0]
        say(f"== The image would be {size} MB. All well.")
        return 0
    except (Failure, subprocess.CalledProcessError) as error:
        say(f"error: {error}")
        return 1
    finally:
        if options.keep:
            say(f"   kept: {folder}")
        else:
            for _ in range(2):
                mounts = [line.split()[1] for line in open("/proc/self/mounts", encoding="utf-8")]
                for mount in sorted((each for each in mounts if each.startswith(str(folder))), reverse=True):
                    subprocess.run(["umount", "--lazy", mount], check=False, stderr=subprocess.DEVNULL)
            mounts = [line.split()[1] for line in open("/proc/self/mounts", encoding="utf-8")]
            # Never through a mount: /dev and /proc are this machine's.
            if not any(each.startswith(str(folder)) for each in mounts):
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
