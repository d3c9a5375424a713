"""What a family is: a fleet, what is pushed to it, what crashes, and how that is told. Values only; `draw` makes it so.

Times are hours after the story begins, which is `Family.warm_hours` after the first event; negative ones lie before.
"""

from typing import Literal, NamedTuple

from pipeline.wire.events import Signature

RINGS = (("canary", 0.02), ("early", 0.18), ("broad", 0.8))
SYSTEMS = {"windows-10": 0.4, "windows-11": 0.6}
REGIONS = ("eu", "us", "ap")
ORDINARY = tuple(
    Signature(code, module)
    for code, module in (
        ("0x133", "ntoskrnl.exe"), ("0x9f", "usbxhci.sys"), ("0x1a", "memory_corruption"), ("0x116", "dxgkrnl.sys"),
        ("0x50", "ntfs.sys"), ("0xd1", "netwtw10.sys"), ("0x7e", "win32kfull.sys"),
    )
)  # fmt: skip
ORDINARY_SHARES = (0.24, 0.18, 0.16, 0.14, 0.12, 0.10, 0.06)
NEW = Signature("0x50", "csagent.sys")  # of a fault
SECOND = Signature("0xc2", "second.sys")  # of another one
STRANGE = Signature("0xef", "service.sys")  # of an outage
RENAMED = Signature("0x133", "ntkrnlmp.exe")  # what the first of the ordinary ones is called after a renaming
ALIKE = tuple(Signature(code, NEW.module) for code in ("0x3b", "0xd1", "0x1e", "0x7f", "0xc5", "0x7e", "0xa"))
SIGNATURES = (*ORDINARY, NEW, SECOND, STRANGE, RENAMED, *ALIKE)


class Where(NamedTuple):
    """Hosts by what they are; "" means any. `trait`: only those with what makes them crash more often."""

    ring: str = ""
    system: str = ""
    model: str = ""
    region: str = ""
    trait: bool = False
    site: str = ""


EVERYWHERE = Where()


class Fleet(NamedTuple):
    """The hosts when nothing is wrong; rates per host and day. A `trait` (a share of the hosts, of `trait_risk` times
    the crash rate) shows in the model, or nowhere. `zipf`: the k-th model, and site, has hosts by k to the power of
    minus that (0: as the named families have them). `model_spread`: the standard deviation of the logarithm of the
    models' own crash rates."""

    hosts: int
    models: int = 5
    sites: int = 12
    beat_minutes: float = 60.0  # 0: none
    boots_a_day: float = 0.7
    crashes_a_day: float = 0.005
    boot_crashes: float = 0.0  # the chance that a boot ends in a crash, whatever made the host boot
    trait_share: float = 0.0
    trait_risk: float = 1.0
    trait_in_model: bool = False
    cycle: float = 1.3  # of crash rates, highest to lowest of a day
    drift_a_day: float = 1.0  # factor
    weekend: float = 1.0  # share of the machines that are on, and crash, on Saturday and Sunday
    reimaged_share: float = 0.0  # get a new name and start with nothing, at some moment of the story
    rings: tuple[tuple[str, float], ...] = RINGS  # shares of the hosts, or numbers that add up to all of them
    zipf: float = 0.0
    model_spread: float = 0.0


class Fault(NamedTuple):
    """What a guilty update does. `risk` multiplies the ordinary crash rate; `crash_share` of hosts crash once, within
    `crash_minutes` on average; `boot_share` of all later boots crash. `signature` None: it looks like any crash;
    `codes`: its module crashes with so many codes, of which `signature` has the first."""

    risk: float = 1.0
    crash_share: float = 0.0
    crash_minutes: float = 5.0
    boot_share: float = 0.0
    signature: Signature | None = NEW
    codes: int = 1
    where: Where = EVERYWHERE
    onset_hours: float = 0.0  # after installation
    not_before: float | None = None  # a date bomb: hours of the story
    burn_hours: float = 0.0  # it grows evenly over so long
    only_with: str = ""  # another push's name


class Push(NamedTuple):
    """One update version on its way, or one that is innocent. `with_push`: `overlap` of that push's hosts get it, as
    long after as this one begins after that one, and `alone` of the others."""

    name: str
    at: float = 0.0
    over_minutes: float = 240.0
    share: float = 0.6
    trait_share: float | None = None  # of hosts with the trait, when it differs
    stages: tuple[tuple[str, float], ...] = ()  # hours after `at` by ring; others never, none named: all at once
    where: Where = EVERYWHERE
    hosts: int = 0  # at most so many
    with_push: str = ""
    overlap: float = 0.0
    alone: float = 0.0
    after_crash_minutes: float = 0.0  # installed so long after a host's crash: a repair tool
    removed_at: float | None = None  # rolled back everywhere
    version: str = ""  # by default its own: two pushes of one product and version are one update
    surge: float = 0.0  # share of its hosts that boot to install it
    fault: Fault | None = None

    @property
    def product(self) -> str:
        """`name` up to a "/": "x/again" is pushed as x."""
        return self.name.partition("/")[0]


class Shock(NamedTuple):
    """What hits hosts whatever they run. `factor` multiplies the crash rate; `cut_share` of the hosts go down in one
    minute (a power cut), without a signature and told by the next boot; `machine_minutes`: one machine with the first
    push crashes so often; `silence`: what these hosts send meanwhile is lost, or comes when it is over."""

    at: float
    hours: float = 1.0
    factor: float = 1.0
    cut_share: float = 0.0
    machine_minutes: float = 0.0
    silence: Literal["", "lost", "late"] = ""
    where: Where = EVERYWHERE
    signature: Signature | None = None


class Telling(NamedTuple):
    """How crashes, and all else, are told. A host that crashed is down for `down_seconds` and, on average, `minutes`
    more, and tells then; `late_share` of the reports come `late_hours` after that."""

    by: Literal["both", "crash", "boot", "undated"] = "both"
    down_seconds: float = 60.0
    minutes: float = 4.0
    late_share: float = 0.0
    late_hours: float = 0.0
    silent_share: float = 0.0  # of the hosts that a fault crashed: never heard of again
    sampled: float = 1.0  # share of clean trials that are sent at all
    skew_minutes: float = 0.0  # standard deviation of the hosts' clocks
    duplicates: float = 0.0  # share of events sent twice
    disorder_minutes: float = 0.0  # each event is that late at most
    nameless_sites: bool = False
    forging_share: float = 0.0  # of the first push's hosts claim a crash that never was
    bare_heartbeats: bool = False  # they list no updates; boots and crashes do
    bare_crashes: bool = False  # crash reports know no model and no system
    moving_system: bool = False  # the first push changes what its hosts call their system
    spellings: int = 1  # of a host's name, in turn, in crash reports


class Family(NamedTuple):
    """One family. `guilty` follows from the pushes; `background` innocent rollouts are under way beside them."""

    name: str
    kind: str
    fleet: Fleet
    pushes: tuple[Push, ...] = ()
    shocks: tuple[Shock, ...] = ()
    telling: Telling = Telling()
    warm_hours: float = 6.0
    hours: float = 10.0
    background: int = 5
    renamed_by: str = ""  # a push after which the first ordinary signature has another name
    deaf_minutes: float = 0.0  # from the first event on, of which nothing was recorded

    @property
    def is_innocent(self) -> bool:
        """Whether no update of it is at fault."""
        return all(push.fault is None for push in self.pushes)
