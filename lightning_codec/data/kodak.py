"""Optional download of the 24 Kodak images."""

from pathlib import Path

from lightning_codec.errors import UserError

KODAK_URL = "https://r0k.us/graphics/kodak/kodak"
"""Folder on the web that holds kodim01.png to kodim24.png."""

KODAK_FILES = {
    "kodim01.png": "797a5ed9e768bac2143197febe74e9f0",
    "kodim02.png": "40bfc5a525f4659c132e72b7a733e45e",
    "kodim03.png": "5e9f48bd613eacfb6252c77ae7306a73",
    "kodim04.png": "f05d34fa98bd7fed4ecbe3597b71918e",
    "kodim05.png": "b79782844dae1e15aa9419c502a84f0a",
    "kodim06.png": "4be8c416ad84226df5ba3d289625770a",
    "kodim07.png": "4d97e7987524aff3bc495776179842be",
    "kodim08.png": "98454f0a6c3a35e70e69c20642c3bd1b",
    "kodim09.png": "07d3dba47087b5758a53010434cce622",
    "kodim10.png": "929943052e22f71b29bff2fbe197daff",
    "kodim11.png": "c04773608d99a39546de3d028a75bd35",
    "kodim12.png": "c6c8dea947e5431173a7347bdb2c2262",
    "kodim13.png": "9ddecfeef6f7915f5e5ce0d09f0c6c61",
    "kodim14.png": "a5b6b880ba060ad02805bbab60c399d0",
    "kodim15.png": "a858d33c424eaac1322cf3cab6d3d568",
    "kodim16.png": "a2308ff210e30c1969f7445135607f20",
    "kodim17.png": "52dac72df0b33bacc643ad6d42759964",
    "kodim18.png": "d1c85cf7358cd0bf4dd26c884f2e80b8",
    "kodim19.png": "d60e46f8c6fd8f8ae33a39e6eef22af3",
    "kodim20.png": "7d814638029aa1606caf78c7085414f4",
    "kodim21.png": "e7608675ced1dbc0b8d3a1878d8be675",
    "kodim22.png": "ceb46494f96589f8926a84bb5b66056e",
    "kodim23.png": "e1328ba2c55d5a72eb77e283c9630b90",
    "kodim24.png": "45a4912aaa0458940d5554ade1db5141",
}
"""File name and MD5 checksum of each image."""


def download_kodak(folder: Path, url: str = KODAK_URL) -> None:
    """Download the images that are not yet in a folder with the right checksum.

    Files that are complete stay as they are, so an interrupted download is taken up again by calling once
    more.

    Args:
        folder: where the files go; created if need be.
        url: address of the folder to download from.

    Raises:
        UserError: the address cannot be reached, or a file arrives with a wrong checksum.
    """
    from torchvision.datasets.utils import download_url

    for name, md5 in KODAK_FILES.items():
        try:
            download_url(f"{url}/{name}", folder, name, md5)
        except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong checksum a RuntimeError
            raise UserError(
                f"{url}/{name}: download failed ({error}); put the Kodak images in {folder} by hand"
            ) from None
