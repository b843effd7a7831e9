"""What a training refuses before it begins."""

import pytest

from rtpe import build
from rtpe.commands.taught import refuse_untaught
from rtpe.config import LossSettings, Train
from rtpe.skeleton import Skeleton


def test_limbs_that_a_skeleton_lacks_cannot_be_learnt():
    """The remedy is not to give the net as many as there are: none."""
    pair = Skeleton("pair", ("left_hand", "right_hand"), (), (0.1, 0.1))
    net = build.net("student", {}, len(pair))
    refuse_untaught(Train(), net, pair)
    with pytest.raises(ValueError, match=r"^loss.limb: pair has no limbs to learn: pass --loss.limb 0$"):
        refuse_untaught(Train(loss=LossSettings(limb=1.0)), net, pair)
