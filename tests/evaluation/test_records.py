import pytest

from lightning_codec.errors import UserError
from lightning_codec.evaluation.records import Record, read_records, write_records

RECORD = Record(
    codec="jpeg",
    setting="30",
    dataset="kodak",
    image='a "b", c.png',
    height=512,
    width=768,
    bytes=12345,
    bpp=8 * 12345 / (512 * 768),
    values={"psnr": 0.1 + 0.2, "dists": None},
    encode_seconds=0.125,
    decode_seconds=1e-7,
    threads=1,
    device="cpu (Some, processor)",
    versions={"torch": "2.4.0+cu121", "pillow": "11.3"},
    commit="0123abcd-dirty",
    protocols={"psnr": "psnr-rgb8-v1", "dists": "dists-v1@0123456789ab"},
)


def test_a_table_is_read_back_as_it_was(tmp_path):
    other = RECORD._replace(setting="40", values={"psnr": 1 / 3, "dists": 2.5e-17}, commit="", protocols={})
    path = tmp_path / "results.csv"
    write_records(path, ["psnr", "dists"], [RECORD, other])
    text = path.read_text()
    assert text.splitlines()[0] == (
        "codec,setting,dataset,image,height,width,bytes,bpp,psnr,dists,"
        "encode_seconds,decode_seconds,threads,device,versions,commit,protocols"
    )
    assert "psnr=psnr-rgb8-v1;dists=dists-v1@0123456789ab" in text
    table = read_records(path)
    assert table.metrics == ("psnr", "dists")
    assert table.records == [RECORD, other]


def test_tables_that_are_none_are_refused(tmp_path):
    path = tmp_path / "results.csv"
    with pytest.raises(
        UserError, match=r"results\.csv: no such file; give the results\.csv of lightning-codec evaluate"
    ):
        read_records(path)
    write_records(path, ["psnr", "dists"], [RECORD])
    text = path.read_text()
    header, row = text.splitlines()
    for wrong, message in (
        ("a,b\n1,2\n", "its columns must be codec,setting,dataset"),
        (header.replace("width,", "") + "\n", "its columns must be codec,setting,dataset"),
        (header + "\n", "a table without rows"),
        (text.replace("12345", "many"), "damaged table"),
        (text.replace("0.30000000000000004", "nan"), r"damaged table \(nan is no finite number\)"),
        (text.replace("pillow=11.3", "pillow"), r"damaged table \('pillow' where name=value is expected\)"),
        (f"{header}\n{row[: len(row) // 2]}\n", "a row has more or fewer cells than the header"),
        (f"{header}\n{row},more\n", "a row has more or fewer cells than the header"),
        (f"{header}\n{row}\n{row}\n", r"jpeg 30 has a \"b\", c\.png twice"),
    ):
        path.write_text(wrong)
        with pytest.raises(UserError, match=message):
            read_records(path)
