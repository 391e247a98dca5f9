# Shared by the scripts beside this folder; sourced, not run. Sets ROOT and VENV, defines the functions below.
# shellcheck shell=bash

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
VENV="$ROOT/.venv"
REQUIREMENTS="$ROOT/Tests/System/requirements.txt"

# What the scripts say goes to standard error; standard output belongs to results.
say() { printf '%s\n' "$*" >&2; }
step() { printf '== %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$1" >&2; exit "${2:-1}"; }

# Exit codes of sysexits.h, as the daemon uses them.
# shellcheck disable=SC2034
EX_USAGE=64
EX_UNAVAILABLE=69

# The comment at the top of the script that runs: its help.
help_text() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; }

# usage [WHAT IS WRONG]: says so, prints the help and ends.
usage() {
    [ $# = 0 ] || say "error: $1"
    help_text >&2
    exit "$EX_USAGE"
}

# offer_help "$@": prints the help and ends when it is asked for.
offer_help() {
    local argument
    for argument in "$@"; do
        case "$argument" in -h | --help) help_text; exit 0 ;; esac
    done
}

# Of the option $1: that a value follows; that it is a number; that it is a whole one; that it is among the rest.
need_value() { [ $# -ge 2 ] || usage "$1 needs a value"; }
need_number() { need_value "$@"; [[ $2 =~ ^[0-9]+(\.[0-9]+)?$ ]] || usage "$1 needs a number, not '$2'"; }
need_integer() { need_value "$@"; [[ $2 =~ ^[0-9]+$ ]] || usage "$1 needs a whole number, not '$2'"; }
need_one_of() {
    local option=$1 value=$2 each
    shift 2
    for each in "$@"; do [ "$value" != "$each" ] || return 0; done
    usage "$option is one of $*, not '$value'"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "'$*' needs root, and there is no sudo: run scripts/bootstrap as root once" "$EX_UNAVAILABLE"
    fi
}

# Prints those of the named Debian packages that are not installed.
missing_packages() {
    local package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -q '^installed$' || printf '%s\n' "$package"
    done
}

# Installs the named Debian packages that are missing. apt's own words are shown only when it fails.
install_packages() {
    local missing log
    command -v apt-get >/dev/null && command -v dpkg-query >/dev/null || return 0
    mapfile -t missing < <(missing_packages "$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    step "Installing ${missing[*]}"
    log="$(mktemp)"
    if ! { as_root apt-get update -q \
        && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
    } >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        die "apt-get could not install: ${missing[*]}" "$EX_UNAVAILABLE"
    fi
    rm -f "$log"
}

# Swift 6.2 or later on the PATH, or a message that says what to do.
require_swift() {
    local hint="install a Swift toolchain 6.2 or later from https://www.swift.org/install and put it on the PATH"
    command -v swift >/dev/null || die "swift was not found: $hint" "$EX_UNAVAILABLE"
    local version
    version="$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\)\.\([0-9]*\).*/\1 \2/p' | head -n 1)"
    [ -n "$version" ] || die "'swift --version' tells no version: $hint" "$EX_UNAVAILABLE"
    local major=${version% *} minor=${version#* }
    if [ "$major" -lt 6 ] || { [ "$major" = 6 ] && [ "$minor" -lt 2 ]; }; then
        die "Swift $major.$minor is too old: $hint" "$EX_UNAVAILABLE"
    fi
}

# A Python for the virtual environment: 3.10 or later with the venv module.
find_python() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
    die "no Python 3.10 or later with the venv module was found (package python3-venv)" "$EX_UNAVAILABLE"
}

# Makes the virtual environment with exactly the packages of Tests/System/requirements.txt; quiet when it is there.
ensure_venv() {
    local python wanted
    python="$(find_python)"
    wanted="$("$python" -c 'import sys; print(sys.version)' | tr -d '\n') $(sha256sum < "$REQUIREMENTS")"
    if [ -x "$VENV/bin/python" ] && [ "$(cat "$VENV/scada-stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
    step "Python packages for the system tests, into .venv"
    rm -rf "$VENV"
    "$python" -m venv "$VENV"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r "$REQUIREMENTS" >&2
    printf '%s' "$wanted" > "$VENV/scada-stamp"
}

# ensure_tool PROGRAM PACKAGE: a program without the service that Debian's package would start with it: unpacked into
# .build/tools, not installed. Where it cannot be had, the tests that use it say that they were skipped.
ensure_tool() {
    local tools="$ROOT/.build/tools" work found
    if command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || [ -x "$tools/$1" ] || ! command -v apt-get >/dev/null; then
        return
    fi
    step "$1, into .build/tools"
    work="$(mktemp -d)"
    if (cd "$work" && apt-get download -q "$2" && dpkg-deb -x "$2"_*.deb unpacked) >"$work/log" 2>&1 \
        && found="$(find "$work/unpacked" -type f -name "$1" -path '*bin/*' -print -quit)" && [ -n "$found" ]; then
        mkdir -p "$tools"
        cp "$found" "$tools/"
    else
        say "$1 could not be had: $(tail -n 1 "$work/log")"
    fi
    rm -rf "$work"
}
