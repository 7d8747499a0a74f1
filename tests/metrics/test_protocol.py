import pytest

from lightning_codec.errors import UserError
from lightning_codec.metrics.ms_ssim import MS_SSIM_PROTOCOL
from lightning_codec.metrics.protocol import Protocol, require_same_protocol
from lightning_codec.metrics.psnr import PSNR_PROTOCOL
from lightning_codec.metrics.rows import BPP_ESTIMATED_PROTOCOL, BPP_PROTOCOL


def test_the_key_names_the_rule_and_the_weights():
    assert Protocol("lpips-alex-v1", "words").key == "lpips-alex-v1"
    assert Protocol("lpips-alex-v1", "words", "0123456789ab").key == "lpips-alex-v1@0123456789ab"


def test_numbers_of_unlike_rules_or_weights_are_not_compared():
    first, second = (Protocol("fid256-hific-v1", "words", digits).key for digits in ("0" * 12, "1" * 12))
    require_same_protocol("fid256", first, Protocol("fid256-hific-v1", "other words", "0" * 12).key)
    with pytest.raises(UserError, match=r"^fid256: measured by fid256-hific-v1@0{12} in one and by .*@1{12} in the"):
        require_same_protocol("fid256", first, second)
    with pytest.raises(UserError, match="psnr-y8-v1"):
        require_same_protocol("psnr", PSNR_PROTOCOL.key, "psnr-y8-v1")


def test_no_two_metrics_share_a_key():
    assert len({p.key for p in (PSNR_PROTOCOL, MS_SSIM_PROTOCOL, BPP_PROTOCOL, BPP_ESTIMATED_PROTOCOL)}) == 4
