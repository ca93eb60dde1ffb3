"""The pins of a channel, digital side: what PHYs drive and sample, and buffers of a part take.

=============  =====  ========================  ===================================================
member         bits   ONFI, SDR                 ONFI, NV-DDR
=============  =====  ========================  ===================================================
``ce_n``       dies   CE_n of each die          the same
``cle``        1      CLE                       CLE
``ale``        1      ALE                       ALE
``we_n``       1      WE_n: latches on rising   CLK
``re_n``       1      RE_n: outputs on falling  W/R_n: low, the die drives DQ and DQS
``wp_n``       1      WP_n                      WP_n
``rb_n``       dies   R/B_n of each die         the same
``dq.o``       8      DQ[7:0], driven ...       two halves of a clock, 8 bits each
``dq.oe``      1      ... while 1               the same
``dq.i``       8      DQ[7:0] as it is          two halves of a clock, 8 bits each
``dqs``               none                      DQS: ``o``, ``oe`` and ``i`` as ``dq``, of 1 bit
=============  =====  ========================  ===================================================

Low-active pins have their level on the board. DQ[7:0] and the control pins are shared by the dies.
R/B_n is an open drain on the board: it has a pull-up, and a die for each pin.
"""

from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PadSignature"]


class PadSignature(wiring.Signature):
    """Pins of a channel, seen from the PHY.

    Parameters
    ----------
    dies : int
        Dies on the channel.
    ddr : bool
        DQ and DQS have two values a clock: ``[0]`` in its first half, ``[1]`` in its second.
    """

    def __init__(self, dies, *, ddr=False):
        def bidirectional(bits):
            shape = data.ArrayLayout(bits, 2) if ddr else bits
            return Out(wiring.Signature({"o": Out(shape), "oe": Out(1), "i": In(shape)}))

        super().__init__(
            {
                "ce_n": Out(dies, init=(1 << dies) - 1),
                "cle": Out(1),
                "ale": Out(1),
                "we_n": Out(1, init=1),
                "re_n": Out(1, init=1),
                "wp_n": Out(1),
                "rb_n": In(dies),
                "dq": bidirectional(8),
                **({"dqs": bidirectional(1)} if ddr else {}),
            }
        )

    def __eq__(self, other):
        return type(self) is type(other) and self.members == other.members
