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
# The same of a replica, where several share the work: shorter than a lease, and longer, so that others take over.
REPLICA_LASTING = {"freeze-daemon": (2, 15), "cut-master": (2, 15)}
LONGER_WITH_REPLICAS = {"kill-daemon": (0, 15), "stop-daemon": (0, 10)}
# Faults of a moment.
MOMENTARY = ("kill-backend", "cut-database", "cut-network", "drop-connections", "lose-subscriptions", "save-database")
# What may strike while a lasting fault is on.
STRIKES = ("kill-daemon", "kill-daemon", "stop-daemon", "kill-backend", "cut-database", "cut-network")
# These are about the whole machine, and these about one of the daemons; the others strike one tenant.
COMMON = {"stop-postgresql", "kill-postgresql", "fill-journal"}
DAEMONS = {"kill-daemon", "stop-daemon", *REPLICA_LASTING}
# While the first lasts, the second cannot strike or means nothing.
PAIRS_WITHOUT_SENSE = {
    ("kill-daemon", "kill-daemon"), ("kill-daemon", "stop-daemon"), ("stop-daemon", "kill-daemon"),
    ("stop-daemon", "stop-daemon"), ("stop-postgresql", "kill-backend"), ("kill-postgresql", "kill-backend"),
    ("drop-database", "kill-backend"),
}
KINDS = (*LASTING, *MOMENTARY)
REPLICA_KINDS = tuple(REPLICA_LASTING)
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
    replica: int | None = None

    def __str__(self):
        whom = "" if self.tenant is None else f" of tenant {self.tenant + 1}"
        if self.replica is not None:
            whom = f" {'abcdefghi'[self.replica]}"
        lasting = f" for {self.lasting:.1f} s" if self.phase == "begin" else ""
        ending = ": over" if self.phase == "end" else ""
        return f"{self.kind}{whom}{lasting}{ending}"


def schedule(seed, seconds, tenants, kinds=KINDS, replicas=1):
    """The events of a run of `seconds`, by time. All kinds come before one comes again."""
    chance, choice = random.Random(seed), random.Random(~seed)
    events, bag = [], []
    at = float(CALM)
    spans = LASTING | REPLICA_LASTING | (LONGER_WITH_REPLICAS if replicas > 1 else {})

    def add(kind, start, lasting, tenant):
        # Of another generator, so that the number of replicas changes nothing else.
        replica = choice.randrange(replicas) if kind in DAEMONS else None
        if kind in spans:
            events.append(Event(start, kind, "begin", tenant, lasting, replica))
            events.append(Event(start + lasting, kind, "end", tenant, 0, replica))
        else:
            events.append(Event(start, kind, "once", tenant))

    def whom(kind):
        # Always drawn, so that the kinds chosen do not change whom the later ones strike.
        tenant = chance.randrange(tenants)
        return None if kind in COMMON | DAEMONS else tenant

    while True:
        if not bag:
            bag = list(kinds)
            chance.shuffle(bag)
        kind = bag.pop()
        lasting = chance.uniform(*spans[kind]) if kind in spans else 0.0
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
            if strike in spans:
                end = max(end, struck + down)
        at = end + pause
    return sorted(events, key=lambda event: event.at)
