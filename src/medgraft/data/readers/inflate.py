"""Gzip files inflated in one go: about twice as fast as in the small steps of Python's own reader."""

from __future__ import annotations

from pathlib import Path

from medgraft.errors import DataError

GZIP = 31
"""How zlib names a gzip header and trailer around the deflated bytes."""


def inflate(path: Path, most: int) -> bytes:
    """The contents of a gzip file, of one member or of several; checksums are compared as far as it is read.

    Args:
        path: the file.
        most: bytes that are wanted; inflating stops soon after, whatever the file may hold.

    Raises:
        DataError: the file ends before its contents do.

    >>> import gzip, tempfile
    >>> file = Path(tempfile.mkdtemp(), "a.gz")
    >>> _ = file.write_bytes(gzip.compress(b"abc") + gzip.compress(b"def"))
    >>> inflate(file, 100), inflate(file, 4)
    (b'abcdef', b'abcd')
    """
    from isal import isal_zlib

    packed, parts, held = path.read_bytes(), [], 0
    while packed.strip(b"\0") and held < most:  # some writers fill the last block with zeros
        member = isal_zlib.decompressobj(GZIP)
        # one byte more than is wanted: only who reaches the end compares the checksum
        parts.append(member.decompress(packed, most - held + 1))
        held += len(parts[-1])
        if not member.eof and held <= most:
            raise DataError(
                "Reading an image", "a whole file", f"{path} ends in the middle of its compressed contents",
                "It is truncated: replace it with an intact copy or remove its row.",
            )  # fmt: skip
        packed = member.unused_data
    whole = parts[0] if len(parts) == 1 else b"".join(parts)
    return whole if held <= most else whole[:most]
