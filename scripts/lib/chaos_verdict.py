"""The comparison at the end: the counters that were published, the rows in the table, the holes in scada_gaps.

Every tag counts 1, 2, 3 and so on, so that each value has a name: (tag, number). Of one tag the table has to hold every
number from its first to the last that the simulator published, once, with rising timestamps. A number that is missing is
excused only by a row of scada_gaps of its tag, or of all tags of the connection, that is not marked healed and in whose
time the number lies. When a missing number was due is known to a fraction of a second: the simulator updates a tag at equal
intervals, so it lies between its stored neighbours in proportion.
"""
import dataclasses

# Numbers beyond each tag's first, and what is wrong between one row and the next by number.
SUMMARY = """
SELECT tag_node_id, min(value)::bigint, max(value)::bigint, count(*), count(DISTINCT value)
FROM scada_readings WHERE value IS NOT NULL GROUP BY tag_node_id
"""
BREAKS = """
SELECT tag_node_id, number, micros, next_number, next_micros FROM (
    SELECT tag_node_id, number, micros, lead(number) OVER tag AS next_number, lead(micros) OVER tag AS next_micros
    FROM (
        SELECT tag_node_id, value::bigint AS number, (extract(epoch FROM timestamp) * 1000000)::bigint AS micros
        FROM scada_readings WHERE value IS NOT NULL
    ) AS rows
    WINDOW tag AS (PARTITION BY tag_node_id ORDER BY number, micros)
) AS pairs
WHERE next_number <> number + 1 OR next_micros <= micros
"""
GAPS = """
SELECT tag_node_id, (extract(epoch FROM started_at) * 1000000)::bigint, (extract(epoch FROM ended_at) * 1000000)::bigint,
    cause, healed_at IS NOT NULL, coalesce(readings_recovered, 0)
FROM scada_gaps
"""
FOREIGN = "SELECT count(*) FROM scada_readings WHERE value IS NULL OR value <> trunc(value) OR value < 1"
REJECTED = "SELECT count(*) FROM scada_rejected_readings"


@dataclasses.dataclass
class Gap:
    tag: str | None
    start: int
    end: int | None
    cause: str
    healed: bool = False
    recovered: int = 0

    def covers(self, tag, micros, tolerance):
        return (
            not self.healed and self.tag in (None, tag) and self.start - tolerance <= micros
            and (self.end is None or micros <= self.end + tolerance)
        )


@dataclasses.dataclass
class Verdict:
    """Of one tenant. `expected` numbers, one for each tag and count, of which `missing` are excused by nothing."""

    expected: int = 0
    stored: int = 0
    missing: int = 0
    doubled: int = 0
    disordered: int = 0
    excused: int = 0
    foreign: int = 0
    rejected: int = 0
    unacknowledged_but_claimed: int = 0
    causes: dict = dataclasses.field(default_factory=dict)
    healed: int = 0
    recovered: int = 0
    examples: list = dataclasses.field(default_factory=list)

    @property
    def holds(self):
        return not (
            self.missing or self.doubled or self.disordered or self.foreign or self.rejected
            or self.unacknowledged_but_claimed
        )

    def _example(self, text):
        if len(self.examples) < 20:
            self.examples.append(text)


def judge(summary, breaks, gaps, published, acknowledged, interval):
    """What became of one tenant's values.

    `summary`: tag → (first, last, rows, distinct numbers). `breaks`: (tag, number, micros, next number, next micros).
    `published`, `acknowledged`: tag → the last number the simulator sent, and knows to be durable. `interval`: microseconds
    between two updates of a tag, by so much may an estimated time be wrong.
    """
    verdict = Verdict()
    by_tag = {}
    for gap in gaps:
        if gap.healed:
            verdict.healed += 1
        verdict.recovered += gap.recovered
        by_tag.setdefault(gap.tag, []).append(gap)

    def excuse(tag, micros):
        for gap in (*by_tag.get(tag, ()), *by_tag.get(None, ())):
            if gap.covers(tag, micros, interval):
                return gap.cause
        return None

    for tag, last in published.items():
        if last == 0:
            continue
        if tag not in summary:
            verdict.expected += last
            verdict.missing += last
            verdict._example(f"{tag}: nothing is stored, {last} values were published")
            continue
        first, newest, rows, distinct = summary[tag]
        verdict.expected += max(last, newest) - first + 1
        verdict.stored += rows
        verdict.doubled += rows - distinct
        if newest < last:
            verdict.missing += last - newest
            verdict._example(f"{tag}: {newest} is the last stored, {last} was published")
        if newest < acknowledged.get(tag, 0):
            verdict.unacknowledged_but_claimed += acknowledged[tag] - newest
    for tag in summary.keys() - published.keys():
        verdict.foreign += summary[tag][2]
        verdict._example(f"{tag}: not a tag of the simulator")
    for tag, number, micros, next_number, next_micros in breaks:
        if next_number == number:
            verdict._example(f"{tag}: {number} is stored twice, at {micros} and {next_micros}")
            continue
        if next_micros <= micros:
            verdict.disordered += 1
            verdict._example(f"{tag}: {number} at {micros}, {next_number} at {next_micros}")
        hole = next_number - number
        open_from = None
        for missed in range(number + 1, next_number):
            when = micros + (next_micros - micros) * (missed - number) // hole
            cause = excuse(tag, when)
            if cause is None:
                verdict.missing += 1
                open_from = open_from or (missed, when)
            else:
                verdict.excused += 1
                verdict.causes[cause] = verdict.causes.get(cause, 0) + 1
        if open_from:
            verdict._example(
                f"{tag}: missing from {open_from[0]} (due about {open_from[1]}), between {number} at {micros} and"
                f" {next_number} at {next_micros}"
            )
    return verdict


def judge_tenant(sql, names, published, acknowledged, interval):
    """Reads a tenant's tables and judges. `names`: the simulator's name of a tag → its node id."""
    summary = {tag: (first, last, rows, distinct) for tag, first, last, rows, distinct in sql.execute(SUMMARY)}
    breaks = sql.execute(BREAKS).fetchall()
    gaps = [Gap(*row) for row in sql.execute(GAPS)]
    verdict = judge(
        summary, breaks, gaps, {names(tag): count for tag, count in published.items()},
        {names(tag): count for tag, count in acknowledged.items()}, interval,
    )
    foreign = sql.execute(FOREIGN).fetchone()[0]
    verdict.foreign += foreign
    verdict.rejected = sql.execute(REJECTED).fetchone()[0]
    return verdict
