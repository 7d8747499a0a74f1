"""How a number came about, as a named and versioned object that is stored beside the number."""

from dataclasses import dataclass

from lightning_codec.errors import UserError


@dataclass(frozen=True)
class Protocol:
    """The rule by which a number was measured; two numbers are comparable only if their keys are equal."""

    id: str
    """Name and version, as "psnr-rgb8-v1"; a change of the rule is a new version."""
    description: str
    """One sentence."""
    weights: str | None = None
    """First 12 hexadecimal digits of the SHA-256 over the tensors of the network that measured, if one did."""

    @property
    def key(self) -> str:
        """What is compared: the id, and the weights after an "@"."""
        return self.id if self.weights is None else f"{self.id}@{self.weights}"

    def facts(self) -> dict[str, str]:
        """What is written beside numbers."""
        return {"key": self.key, "description": self.description}


def require_same_protocol(metric: str, first: str, second: str) -> None:
    """Refuse to compare numbers of one metric that were measured by unlike protocols.

    Args:
        metric: what was measured, for the message.
        first: key of one number's protocol.
        second: key of the other's.

    Raises:
        UserError: the keys differ.
    """
    if first != second:
        raise UserError(
            f"{metric}: measured by {first} in one and by {second} in the other: such numbers are not comparable; "
            "measure both anew by one protocol"
        )
