"""What can be wrong with a coded file: one type per cause, all of them the user's to see (`UserError`)."""

from lightning_codec.errors import UserError


class CodecError(UserError):
    """A coded file cannot be decoded. The subclass says why."""


class NotACodecFileError(CodecError):
    """The data does not begin with the magic bytes of the format."""


class UnknownVersionError(CodecError):
    """The file was written in a version of the format that this program does not know."""


class WrongModelError(CodecError):
    """The file was written with other weights than the ones given to decode it."""


class TruncatedError(CodecError):
    """The file ends before the data that its header announces."""


class CorruptError(CodecError):
    """The bytes are not those that were written: a checksum, a length or a symbol breaks a rule."""


class ImplausibleSizeError(CodecError):
    """The image size in the header is zero or larger than the decoder accepts."""
