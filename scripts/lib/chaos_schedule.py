"""Which fault strikes when: a timeline that follows from a seed alone. Nothing here acts; see chaos_faults.py."""
import dataclasses
import random

# Faults that last, and for how many seconds. The second half of the name says what it is done to.
LASTING = {
    "stop-postgresql": (2, 12),
    "kill-postgresql": (1, 5),
    "slow-database": (5, 15),
    "freeze-database": (3, 12),
    "mute-database": (0.2, 2),
    "drop-database": (1, 8),
    "freeze-server": (2, 15),
    "freeze-network": (2, 15),
    "restart-server": (0.5, 5),
    "fill-journal": (3, 12),
    "kill-daemon": (0, 3),
    "stop-daemon": (0, 3),
}
# Faults of a moment.
MOMENTARY = ("kill-backend", "cut-database", "cut-network", "drop-connections", "lose-subscriptions", "save-database")
# What may strike while a lasting fault is on.
STRIKES = ("kill-daemon", "kill-daemon", "stop-daemon", "kill-backend", "cut-database", "cut-network")
# These are about the whole machine; the others strike one tenant.
COMMON = {"stop-postgresql", "kill-postgresql", "fill-journal", "kill-daemon", "stop-daemon"}
# While the first lasts, the second cannot strike or means nothing.
PAIRS_WITHOUT_SENSE = {
    ("kill-daemon", "kill-daemon"), ("kill-daemon", "stop-daemon"), ("stop-daemon", "kill-daemon"),
    ("stop-daemon", "stop-daemon"), ("stop-postgresql", "kill-backend"), ("kill-postgresql", "kill-backend"),
    ("drop-database", "kill-backend"),
}
KINDS = (*LASTING, *MOMENTARY)
# Seconds without faults after the start and before the end.
CALM = 5


@dataclasses.dataclass(frozen=True)
class Event:
    """`phase` is "begin", "end" (of what lasts) or "once"."""

    at: float
    kind: str
    phase: str
    tenant: int | None
    lasting: float = 0

    def __str__(self):
        whom = "" if self.tenant is None else f" of tenant {self.tenant + 1}"
        lasting = f" for {self.lasting:.1f} s" if self.phase == "begin" else ""
        ending = ": over" if self.phase == "end" else ""
        return f"{self.kind}{whom}{lasting}{ending}"


def schedule(seed, seconds, tenants, kinds=KINDS):
    """The events of a run of `seconds`, by time. All kinds come before one comes again."""
    chance = random.Random(seed)
    events, bag = [], []
    at = float(CALM)

    def add(kind, start, lasting, tenant):
        if kind in LASTING:
            events.append(Event(start, kind, "begin", tenant, lasting))
            events.append(Event(start + lasting, kind, "end", tenant))
        else:
            events.append(Event(start, kind, "once", tenant))

    def whom(kind):
        # Always drawn, so that the kinds chosen do not change whom the later ones strike.
        tenant = chance.randrange(tenants)
        return None if kind in COMMON else tenant

    while True:
        if not bag:
            bag = list(kinds)
            chance.shuffle(bag)
        kind = bag.pop()
        lasting = chance.uniform(*LASTING[kind]) if kind in LASTING else 0.0
        tenant, strikes = whom(kind), chance.random() < 0.5
        strike, moment, down = chance.choice(STRIKES), chance.random(), chance.uniform(0, 2)
        striken = whom(strike)
        pause, age = chance.uniform(1, 6), chance.uniform(3, 20)
        if at + lasting + CALM > seconds:
            break
        if kind == "drop-database" and "save-database" in kinds:
            # A backup is old, but not so old that nothing else is left to look at in the end.
            add("save-database", max(CALM, at - age), 0, tenant)
        add(kind, at, lasting, tenant)
        end = at + lasting
        if lasting and strikes and strike in kinds and (kind, strike) not in PAIRS_WITHOUT_SENSE:
            struck = at + lasting * moment
            add(strike, struck, down, striken)
            if strike in LASTING:
                end = max(end, struck + down)
        at = end + pause
    return sorted(events, key=lambda event: event.at)
