"""Every contender by its name."""

from pipeline.bakeoff.contenders.andon import Andon
from pipeline.bakeoff.contenders.textbook import Cusum, FixedShare, MannWhitney, MaxSprt, ZTest
from pipeline.bakeoff.protocol import Halting

CONTENDERS = (
    Halting("andon", "Andon, default policy", Andon),
    Halting("mann_whitney", "Mann-Whitney by minute, peeking", MannWhitney),
    Halting("z_test", "Two proportions, peeking", ZTest),
    Halting("maxsprt", "MaxSPRT against history", MaxSprt),
    Halting("cusum", "CUSUM against history", Cusum),
    Halting("fixed_share", "Fixed 2 % of hosts", FixedShare),
)
