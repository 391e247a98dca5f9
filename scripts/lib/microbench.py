"""Counts for scripts/microbench, which tells what they are for. Needs Python's own library only."""
import argparse
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASELINE = ROOT / "Tests" / "Baselines" / "microbench.json"
# How often each step is repeated: the difference between the two runs is free of what starting costs. Threads make starting
# cost a little more or less, by chance; the cheaper a round, the more of them it takes for that to be lost among them.
ROUNDS = {
    "decode": (2, 12), "decode-small": (100, 1100), "journal": (2, 22), "journal-small": (20, 220), "read-back": (2, 202),
    "read-memory": (2, 402), "channel": (2, 12), "sort": (1, 4),
}
ALLOCATORS = {"malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"}
# Instructions may grow by so much: the compiler's next version moves them a little.
TOLERANCE = 0.10
# Allocations are few. How the journal's thread groups what it writes is chance, and moves theirs by some thousandths; an
# allocation for each reading would be a whole one.
SLACK = 0.01
# A profile is of this many times as many rounds, so that starting is lost in it.
PROFILED = 30


def parse_callgrind(text):
    """Instructions and calls of the allocator in a file that callgrind wrote."""
    names, called, allocations, instructions = {}, None, 0, None
    for line in text.splitlines():
        if match := re.match(r"c?fn=\((\d+)\)(?: (.*))?$", line):
            number, name = match.groups()
            # A name is written once; recursion is counted under the name with a number behind.
            if name is not None:
                names[number] = name.split("'")[0]
            if line.startswith("cfn"):
                called = names.get(number)
        elif line.startswith("calls="):
            if called in ALLOCATORS:
                allocations += int(line[6:].split()[0])
        elif line.startswith(("totals:", "summary:")):
            instructions = int(line.split()[1])
    if instructions is None:
        raise ValueError("callgrind wrote no total")
    return instructions, allocations


def per_reading(first, second):
    """From two runs, each (readings, instructions, allocations): what one reading takes."""
    readings = second[0] - first[0]
    if readings <= 0:
        raise ValueError("the second run must be longer")
    return {
        "instructions": round((second[1] - first[1]) / readings, 2),
        "allocations": round((second[2] - first[2]) / readings, 5),
    }


def complaints(baseline, measured):
    """What got worse, a line each. A step that the baseline does not know is one of them: it has to get there."""
    lines = []
    for step, counts in measured.items():
        if (before := baseline.get(step)) is None:
            lines.append(f"{step}: not in the baseline")
            continue
        if counts["instructions"] > before["instructions"] * (1 + TOLERANCE):
            growth = counts["instructions"] / before["instructions"] - 1 if before["instructions"] else float("inf")
            lines.append(
                f"{step}: {counts['instructions']:,.1f} instructions a reading, {growth:+.0%} against"
                f" {before['instructions']:,.1f}"
            )
        if counts["allocations"] > before["allocations"] + SLACK:
            lines.append(
                f"{step}: {counts['allocations']:.4f} allocations a reading, {before['allocations']:.4f} before"
            )
    return lines


def callgrind(program, step, rounds, folder):
    """Runs a step; (readings, instructions, allocations)."""
    output = folder / f"{step}-{rounds}"
    journal = folder / f"journal-{step}-{rounds}"
    journal.mkdir()
    # Hashes seeded alike, and no variable of the caller's that a library might read.
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "SWIFT_DETERMINISTIC_HASHING": "1"}
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}", program, step, str(rounds), "--folder", journal,
         "--keys", ROOT / "Tests" / "Fixtures" / "OPCUASecurity" / "vectors.json"],
        env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{step}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    instructions, allocations = parse_callgrind(output.read_text(errors="replace"))
    return int(done.stdout.split()[-1]), instructions, allocations


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("steps", nargs="*")
    options = parser.parse_intermixed_args()
    if unknown := set(options.steps) - set(ROUNDS):
        print(f"error: no step is named {', '.join(sorted(unknown))}; there are {', '.join(ROUNDS)}", file=sys.stderr)
        return 64
    architecture = platform.machine()
    known = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    baseline = known.get(architecture, {})
    measured = {}
    with tempfile.TemporaryDirectory(prefix="scada-microbench-") as name:
        folder = pathlib.Path(name)
        print(f"{'a reading takes':16}{'instructions':>14}{'before':>10}{'allocations':>14}{'before':>10}")
        for step in options.steps or ROUNDS:
            first, second = (callgrind(options.program, step, rounds, folder) for rounds in ROUNDS[step])
            counts = measured[step] = per_reading(first, second)
            before = baseline.get(step, {"instructions": float("nan"), "allocations": float("nan")})
            print(f"{step:16}{counts['instructions']:14,.1f}{before['instructions']:10,.1f}"
                  f"{counts['allocations']:14.4f}{before['allocations']:10.4f}", flush=True)
            if options.profile:
                rounds = ROUNDS[step][1] * PROFILED
                callgrind(options.program, step, rounds, folder)
                subprocess.run(["callgrind_annotate", "--auto=no", folder / f"{step}-{rounds}"], check=True)
    if options.update:
        known[architecture] = baseline | measured
        BASELINE.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
        return 0
    if not baseline:
        print(f"There is no baseline for {architecture} to compare with: nothing was judged.", file=sys.stderr)
        return 0
    worse = complaints(baseline, measured)
    for line in worse:
        print(f"error: {line}", file=sys.stderr)
    if worse:
        print(f"If that is meant: scripts/microbench --update, and commit {BASELINE.relative_to(ROOT)}.", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
