"""Decodes mutations of one file and counts how they end; run by test_fuzz in a process of its own.

Arguments: checkpoint or `tiny`, folder with .lcb files, number of mutations, 1 to make the checksums valid again.
Prints one JSON object.
"""

import json
import random
import resource
import sys
from collections import Counter
from pathlib import Path

import torch

from lightning_codec.bitstream import CodecError, pack, unpack
from lightning_codec.codec import Codec
from tests.tiny import tiny_compression_model

HEADROOM = 2 << 30


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flip bits, cut, insert, or swap a piece."""
    kind = rng.randrange(4)
    at = rng.randrange(len(data))
    if kind == 0:
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 2, 8))):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + rng.randbytes(rng.choice((1, 4, 100))) + data[at:]
    return data[:at] + data[at + rng.choice((1, 4, 16)) :]


def resign(original: bytes, rng: random.Random) -> bytes:
    """A file with valid checksums whose segments are damaged: what a checksum cannot catch."""
    container = unpack(original)
    at = rng.randrange(len(container.segments))
    segments = [mutate(s, rng) if i == at else s for i, s in enumerate(container.segments)]
    return pack(container._replace(segments=tuple(segments)))


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(checkpoint: str, folder: str, count: int, valid_checksums: bool) -> None:
    codec = Codec(tiny_compression_model()) if checkpoint == "tiny" else Codec.load(checkpoint)
    files = [path.read_bytes() for path in sorted(Path(folder).glob("*.lcb"))]
    good = [codec.decompress(data) for data in files]
    before = peak_mib()
    virtual = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (virtual + HEADROOM, virtual + HEADROOM))
    rng = random.Random(0)
    ends: Counter[str] = Counter()
    for _ in range(count):
        number = rng.randrange(len(files))
        data = resign(files[number], rng) if valid_checksums else mutate(files[number], rng)
        try:
            image = codec.decompress(data)
        except CodecError as error:
            ends[type(error).__name__] += 1
        else:
            ends["exact" if torch.equal(image, good[number]) else "WRONG IMAGE"] += 1
    print(json.dumps({"ends": ends, "before_mib": before, "after_mib": peak_mib()}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1")
