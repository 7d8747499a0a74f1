import json
from pathlib import Path

from lightning_codec.callbacks.results import MeasuredImage, Origin, write_results
from lightning_codec.metrics.ms_ssim import MS_SSIM_PROTOCOL
from lightning_codec.metrics.rows import ImageRow


def test_every_number_of_the_file_names_its_protocol(tmp_path: Path) -> None:
    row = ImageRow("set", "a.png", 4, 6, 30, 10.0, 8.0, 30.125, None, 0.25, 0.5)
    image = MeasuredImage(row, None, {"ms_ssim": "too small"}, decoded=True, decoded_difference=0)
    write_results(tmp_path, [image], Origin("test", 1, 0, None, "cpu", None, 0))
    protocol = json.loads((tmp_path / "test_set.json").read_text())["header"]["protocol"]
    keys = {column: protocol[column]["key"] for column in ("bpp", "bpp_estimated", "psnr", "ms_ssim")}
    assert keys == {
        "bpp": "bpp-file-v1",
        "bpp_estimated": "bpp-estimated-v1",
        "psnr": "psnr-rgb8-v1",
        "ms_ssim": "ms-ssim-rgb8-v1",
    }
    assert protocol["ms_ssim"]["description"] == MS_SSIM_PROTOCOL.description
