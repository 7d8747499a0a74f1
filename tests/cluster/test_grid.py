import pytest

from lightning_codec.cluster.grid import Axis, Member, grid, parse_axis
from lightning_codec.errors import UserError


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("model.init_args.lmbda=0.0035,0.013", Axis("model.init_args.lmbda", ("0.0035", "0.013"))),
        ("--seed_everything=1", Axis("seed_everything", ("1",))),
        ("data.downscale=[0.6,0.8],null", Axis("data.downscale", ("[0.6,0.8]", "null"))),
        ("a={b: [1,2]}, x=1", Axis("a", ("{b: [1,2]}", "x=1"))),
    ],
)
def test_an_axis_is_read(text: str, axis: Axis) -> None:
    assert parse_axis(text) == axis


@pytest.mark.parametrize("text", ["lmbda", "lmbda=", "=1,2", "lmbda=1,,2", "lmbda=1,1"])
def test_what_is_no_axis_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--set"):
        parse_axis(text)


def test_members_are_all_combinations_with_readable_names() -> None:
    members = grid([Axis("model.init_args.network", ("configs/model/tiny.yaml", "n/base.yaml")), Axis("s", ("0", "1"))])
    assert members[1] == Member("network=tiny,s=1", {"model.init_args.network": "configs/model/tiny.yaml", "s": "1"})
    assert [member.name for member in members] == [
        "network=tiny,s=0",
        "network=tiny,s=1",
        "network=base,s=0",
        "network=base,s=1",
    ]
    assert members[3].arguments == ["--model.init_args.network=n/base.yaml", "--s=1"]


def test_names_stay_apart_and_fit_into_a_path() -> None:
    (member,) = grid([Axis("a.lr", ("1e-3",)), Axis("b.lr", ("[1, 2]",)), Axis("c.path", ("x/../y",))])
    assert member.name == "a.lr=1e-3,b.lr=_1__2_,path=x_.._y"
    with pytest.raises(UserError, match="both be called 'network=tiny'"):
        grid([Axis("network", ("a/tiny.yaml", "b/tiny.yaml"))])
    with pytest.raises(UserError, match="--set s is given twice"):
        grid([Axis("s", ("1",)), Axis("s", ("2",))])
