import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from lightning_codec.errors import UserError
from lightning_codec.files import write_json
from lightning_codec.shipped.card import Card, read_card, read_facts
from tests.shipped.fleet import FACTS

CARD = Card(
    name="photo-3",
    kind="entropy codec",
    quality=3,
    codec="photo-3",
    fingerprint="0123abcd",
    weights="photo",
    rate=2,
    parameters=1000,
    init_args={"network": {"channels": [4, 6, 8]}, "lmbda": 0.0035},
    trained_sha256="aa",
    weights_sha256="bb",
    pixels_sha256="cc",
    facts=FACTS,
)


@pytest.mark.parametrize("card", [CARD, replace(CARD, facts=replace(FACTS, hours=2, results={}))])
def test_a_card_comes_back_as_it_was_written(card: Card, tmp_path: Path) -> None:
    write_json(tmp_path / "photo-3.json", asdict(card))
    assert read_card(tmp_path / "photo-3.json") == card


def test_the_facts_are_a_file_of_their_own_before_there_is_a_card(tmp_path: Path) -> None:
    write_json(tmp_path / "facts.json", asdict(FACTS))
    assert read_facts(tmp_path / "facts.json") == FACTS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "other"}, r"is the card of 'other'"),
        ({"kind": "codec"}, r"kind is 'codec': it must be entropy codec or diffusion decoder"),
        ({"kind": []}, r"kind is \[\]: it must be entropy codec or"),
        ({"quality": "3"}, r"quality is '3': it must be a whole number"),
        ({"quality": 3.0}, r"quality is 3.0: it must be a whole number"),
        ({"parameters": 10**400, "quality": -1}, r"quality is -1: it must be a whole"),
        ({"parameters": -1}, r"parameters is -1: it must be a whole number, 0 or more"),
        ({"fingerprint": None}, r"fingerprint is None: it must be a text"),
        ({"init_args": []}, r"init_args is \[\]: it must be an object$"),
        ({"more": 1}, r"must be a JSON object with the fields name, kind, .* and no others"),
        ({"facts": {}}, r"facts: must be a JSON object with the fields data, command, "),
        ({"facts": {**asdict(FACTS), "seed": True}}, r"facts: seed is True: it must be a whole number"),
        ({"facts": {**asdict(FACTS), "hours": float("inf")}}, r"facts: hours is inf: it must be a number, 0 or more"),
        ({"facts": {**asdict(FACTS), "results": {"kodak": 1}}}, r"it must be an object of objects of numbers"),
        ({"facts": {**asdict(FACTS), "results": {"kodak": {"bpp": "x"}}}}, r"it must be an object of objects of num"),
    ],
)
def test_what_is_no_card_is_one_line_that_names_the_file(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "photo-3.json"
    path.write_text(json.dumps({**asdict(CARD), **change}))
    with pytest.raises(UserError, match=message) as caught:
        read_card(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_every_field_of_the_facts_is_needed(tmp_path: Path) -> None:
    for name in asdict(FACTS):
        (tmp_path / "facts.json").write_text(json.dumps({k: v for k, v in asdict(FACTS).items() if k != name}))
        with pytest.raises(UserError, match="must be a JSON object with the fields"):
            read_facts(tmp_path / "facts.json")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b"3"])
def test_a_damaged_card_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "photo-3.json").write_bytes(content)
    with pytest.raises(UserError, match=r"photo-3\.json: (not JSON|must be a JSON object)"):
        read_card(tmp_path / "photo-3.json")
