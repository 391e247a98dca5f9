"""scripts/microbench: how it reads callgrind's counts, and when it finds them worse."""
import json

import pytest

from support.paths import ROOT

from microbench import BASELINE, ROUNDS, complaints, parse_callgrind, per_reading

CALLGRIND = """\
version: 1
creator: callgrind-3.19.0
positions: line
events: Ir
summary: 1234

ob=(1) /usr/bin/program
fl=(1) program.c
fn=(1) main
16 400
cfn=(2) malloc
calls=3 1
16 90
cfn=(3) work
calls=1 20
16 700

fn=(3)
20 10
cob=(2) /lib/libc.so.6
cfi=(2) malloc.c
cfn=(2)
calls=4 1
20 120
cfn=(4) malloc'2
calls=1 1
20 5
cfn=(5) free
calls=9 1
20 5
cfn=(6) malloc_usable_size
calls=50 1
20 5

totals: 1234
"""


def test_counts_are_read_from_callgrinds_file():
    assert parse_callgrind(CALLGRIND) == (1234, 3 + 4 + 1)
    with pytest.raises(ValueError, match="no total"):
        parse_callgrind("version: 1\n")


def test_what_starting_costs_is_left_out():
    assert per_reading((100, 5_000, 70), (300, 25_000, 71)) == {"instructions": 100.0, "allocations": 0.005}
    with pytest.raises(ValueError, match="longer"):
        per_reading((100, 1, 1), (100, 2, 2))


@pytest.mark.parametrize(("instructions", "allocations", "words"), [
    (100, 0.01, []),
    (50, 0.0, []),
    (110, 0.01, []),
    (111, 0.01, ["instructions"]),
    (100, 0.021, ["allocations"]),
    (200, 1.0, ["instructions", "allocations"]),
])
def test_what_grew_is_found(instructions, allocations, words):
    baseline = {"decode": {"instructions": 100, "allocations": 0.01}}
    found = complaints(baseline, {"decode": {"instructions": instructions, "allocations": allocations}})
    assert len(found) == len(words) and all(word in line for word, line in zip(words, found))


def test_a_step_without_a_baseline_is_found():
    assert complaints({}, {"decode": {"instructions": 1, "allocations": 0}}) == ["decode: not in the baseline"]


def test_every_step_is_counted_in_the_program_and_in_the_baseline():
    source = (ROOT / "Sources/scada-microbench/MicrobenchCommand.swift").read_text()
    for step in ROUNDS:
        assert f'"{step}"' in source or f"case {step}\n" in source, step
    for architecture, steps in json.loads(BASELINE.read_text()).items():
        assert set(steps) == set(ROUNDS), architecture
