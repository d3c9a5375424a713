"""Every contender by its name."""

from pipeline.bakeoff.contenders.andon import Andon
from pipeline.bakeoff.contenders.papers import ChangePoint, Gandalf, Kayenta, Mozilla
from pipeline.bakeoff.contenders.shipped import Autopatch, HawkBit, IotAbort, Lvfs, Sentry, Ubuntu
from pipeline.bakeoff.contenders.textbook import Cusum, FixedShare, MannWhitney, MaxSprt, ZTest
from pipeline.bakeoff.protocol import Halting

CONTENDERS = (
    Halting("andon", "Andon", Andon),
    Halting("ubuntu", "Ubuntu phased updates", Ubuntu),
    Halting("lvfs", "LVFS firmware", Lvfs),
    Halting("hawkbit", "hawkBit", HawkBit),
    Halting("mozilla", "Mozilla correlations", Mozilla),
    Halting("gandalf", "Gandalf", Gandalf),
    Halting("kayenta", "Kayenta", Kayenta),
    Halting("iot_abort", "AWS IoT abort", IotAbort),
    Halting("autopatch", "Autopatch monitoring", Autopatch),
    Halting("sentry", "Sentry crash-free", Sentry),
    Halting("mann_whitney", "Mann-Whitney, peeking", MannWhitney),
    Halting("z_test", "z-test, peeking", ZTest),
    Halting("maxsprt", "MaxSPRT on history", MaxSprt),
    Halting("cusum", "CUSUM on history", Cusum),
    Halting("fixed_share", "Fixed 2 %", FixedShare),
    Halting("change_point", "Change point, last blamed", ChangePoint),
)
