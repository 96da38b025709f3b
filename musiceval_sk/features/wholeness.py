"""Whether all of a clip's sound is in its file, and in one stream: what libsndfile does not ask of a container.

It decodes the first of several streams, and what there is of a truncated one, without a word.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO, NamedTuple

from musiceval_sk.exceptions import AudioError

# libsndfile's greatest number stands for a stream that does not know its length.
_UNKNOWN_FRAMES = 1 << 62
# Length of an Ogg page's header without its table of segments, and the flags of RFC 3533, section 6.
_OGG_HEADER, _BEGINS, _ENDS = 27, 2, 4
# A page's checksum, section 6 as well, is zip's of bytes and result read from their other ends, begun and ended with zeros.
_CHECKSUM, _REVERSED = slice(22, 26), bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
# Decoders may lose frames at the ends, beside the samples of encoders that LAME's tag tells to take off.
_FRAMES_LOST = 4
# Some writers count up to 20 frames that never come (0.52 s at 44.1 kHz), however long the song is. A file that was cut short
# ends within a frame; the few that end between two by chance lack more than this, unless next to nothing is lost.
_SHORTFALL_SECONDS, _SHORTFALL_SHARE = 1.0, 0.05
# Versions 2.5, 2 and 1 by the header's two bits; kbit/s by layer, for version 1 and for the others (ISO 11172-3, 13818-3).
_MPEG_RATES = {0: (11025, 12000, 8000), 2: (22050, 24000, 16000), 3: (44100, 48000, 32000)}
_MPEG_KBITS = {
    (3, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
# Of containers made of chunks: a chunk's header, where the first one stands, to what lengths are padded, and how much of a
# length is the header's own.
_CHUNKED = {
    b"RIFF": ("<4sI", 12, 2, 0),
    b"RF64": ("<4sI", 12, 2, 0),
    b"RIFX": (">4sI", 12, 2, 0),
    b"FORM": (">4sI", 12, 2, 0),
    b"caff": (">4sq", 8, 1, 0),
    b"riff": ("<16sq", 40, 8, 24),
}
_MOST_CHUNKS = 10_000
# What programs leave for a length that they cannot know, since they write to a pipe.
_UNKNOWN_LENGTHS = ((0x7FFFF000, 0x80000000), (0xFFFFF000, 0xFFFFFFFF), (1 << 62, 1 << 64))
_FURTHER = "a further stream begins after {}, which would not be heard: write the file anew as one stream"


def survey(file: BinaryIO, container: str, frames: int) -> tuple[str, int]:
    """Look through a file that libsndfile calls a ``container`` of so many ``frames``.

    Returns what is odd about it and how many frames are to come at least; raises an `AudioError` unless it is whole and one.
    """
    file.seek(0)
    if container == "MP3":
        return _survey_mpeg(file.read(), frames)
    if container == "OGG":
        _check_ogg(file.read())
    elif container == "FLAC":
        if len(_FLAC_START.findall(file.read())) > 1:
            raise AudioError(_FURTHER.format("the first"))
    else:
        _check_chunks(file)
    return "", frames if frames < _UNKNOWN_FRAMES else 0


def _check_ogg(data: bytes) -> None:
    """Look for a stream that begins after others have begun to play, and for the end of the last one."""
    begin, plays, whole = data.find(b"OggS\0"), False, False
    while begin >= 0:
        header = data[begin : begin + _OGG_HEADER].ljust(_OGG_HEADER, b"\0")
        flags, table = header[5], begin + _OGG_HEADER
        if flags & _BEGINS and plays:
            raise AudioError(_FURTHER.format(f"{begin:,} of {len(data):,} bytes"))
        plays |= not flags & _BEGINS
        end = table + header[26] + sum(data[table : table + header[26]])
        whole = bool(flags & _ENDS) and end <= len(data)
        following = data.find(b"OggS\0", end)
        is_damaged = end <= len(data) and _ogg_checksum(data[begin:end]) != data[begin:end][_CHECKSUM]
        if is_damaged or following > end:
            place = f"{begin:,} of {len(data):,} bytes"
            raise AudioError(f"damaged: its page at {place} is not what was written, and would be left out")
        begin = following
    if not whole:
        raise AudioError("truncated: its last page is not whole or does not end the stream")


def _ogg_checksum(page: bytes) -> bytes:
    """Compute a page's checksum as it is written, 4 bytes."""
    zeroed = page[: _CHECKSUM.start] + bytes(4) + page[_CHECKSUM.stop :]
    reversed_sum = zlib.crc32(zeroed.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return reversed_sum.to_bytes(4, "little").translate(_REVERSED)[::-1]


class _MpegFrame(NamedTuple):
    kind: tuple[int, int, int, bool]  # version, layer, sample rate, whether mono
    length: int
    samples: int


def _survey_mpeg(data: bytes, frames: int) -> tuple[str, int]:
    """Walk from frame to frame, and hold their number against what the header promises and the way the file ends."""
    promised, count, end, first, trimmed = None, 0, 0, None, 0
    for begin, frame in _mpeg_frames(data):
        end = begin + frame.length
        header = _frames_promised(data[begin:end])
        if first is not None and (header is not None or frame.kind != first.kind):
            raise AudioError(_FURTHER.format(f"{begin:,} of {len(data):,} bytes"))
        first = first or frame
        if header is None:
            count += end <= len(data)
        else:
            promised, trimmed = header, _samples_trimmed(data[begin:end])
    if first is None:
        return "", frames
    missing = 0 if promised is None else promised - count
    seconds = missing * first.samples / first.kind[2]
    lack = f"has {count:,} of the {promised or 0:,} frames that its header promises, {seconds:.2f} s less"
    if end > len(data) and (promised is None or missing > 0):
        raise AudioError("truncated: it ends within a frame" + (f", and {lack}" if missing else ""))
    if missing > 1 and (seconds > _SHORTFALL_SECONDS or missing > _SHORTFALL_SHARE * (promised or 0)):
        raise AudioError(f"truncated: it {lack}")
    # Some writers count the header's own frame.
    remark = f"{lack}, but ends with a whole one" if missing > 1 else ""
    return remark, (count - _FRAMES_LOST) * first.samples - trimmed


def _mpeg_frames(data: bytes) -> Iterator[tuple[int, _MpegFrame]]:
    """Find frames and where they begin; the last one may go on past the end of the data."""
    begin, kind = 0, None
    while 0 <= begin < len(data):
        tag = data[begin : begin + 10]
        if tag[:3] == b"ID3" and len(tag) == 10:
            begin += 10 + sum(
                (byte & 127) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True)
            )
            continue
        frame = _mpeg_frame(tag[:4])
        if frame and frame.kind != kind:
            # Bytes that are no sound can look like a frame, but hardly like two in a row.
            end = begin + frame.length
            following = _mpeg_frame(data[end : end + 4])
            is_followed = end == len(data) or (following is not None and following.kind == frame.kind)
            frame = frame if is_followed else None
        if frame:
            yield begin, frame
            begin, kind = begin + frame.length, frame.kind
        else:
            begin, kind = data.find(b"\xff", begin + 1), None


@lru_cache(maxsize=1 << 12)
def _mpeg_frame(header: bytes) -> _MpegFrame | None:
    """Read the four bytes before a frame of MPEG audio; None if they are something else, or do not tell its length."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    kbits, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or kbits in (0, 15) or rate == 3:
        return None
    bits = 1000 * _MPEG_KBITS[3 if version == 3 else 2, layer if version == 3 else min(layer, 2)][kbits - 1]
    hertz = _MPEG_RATES[version][rate]
    samples = {1: 384, 2: 1152, 3: 1152 if version == 3 else 576}[layer]
    length = (12 * bits // hertz + padding) * 4 if layer == 1 else samples // 8 * bits // hertz + padding
    return _MpegFrame((version, layer, hertz, header[3] >> 6 == 3), length, samples)


def _frames_promised(frame: bytes) -> int | None:
    """Read how many frames are said to follow; None if this frame is not such a header but sound."""
    for place in (36, 21, 13, 38, 23, 15):  # after the side information, without and with a checksum
        if frame[place : place + 4] in (b"Xing", b"Info") and len(frame) >= place + 12:
            flags, count = struct.unpack(">II", frame[place + 4 : place + 12])
            return count if flags & 1 else None
    if frame[36:40] == b"VBRI" and len(frame) >= 54:
        return struct.unpack(">I", frame[50:54])[0]
    return None


def _samples_trimmed(frame: bytes) -> int:
    """Read from LAME's tag how many samples the encoder put before the sound and after it."""
    place = max(frame.find(b"Xing"), frame.find(b"Info"))
    if place < 0:
        return 0
    (flags,) = struct.unpack(">I", frame[place + 4 : place + 8])
    tag = place + 8 + sum(size for bit, size in enumerate((4, 4, 100, 4)) if flags >> bit & 1)
    both = int.from_bytes(frame[tag + 21 : tag + 24], "big")
    return (both >> 12) + (both & 0xFFF)


def _check_chunks(file: BinaryIO) -> None:
    """Hold the length of the sound that a header names against what is there."""
    size = file.seek(0, 2)
    file.seek(0)
    magic = file.read(4)
    chunks = _chunks(file, magic, size)
    name, begin, length = next((chunk for chunk in chunks if chunk[0] in (b"data", b"SSND")), (b"", 0, 0))
    if not name:
        return
    there = size - begin
    if length > there:
        if not any(low <= length <= high for low, high in _UNKNOWN_LENGTHS):
            raise AudioError(f"truncated: its header promises {length:,} bytes of sound, {there:,} are there")
        return
    following = list(chunks)
    first, *extent = following[0] if following else (b"", size)
    is_chunk = first.strip().isalnum() and sum(extent) <= size
    if length == 0 < there and not is_chunk:
        raise AudioError(
            f"its header promises 0 bytes of sound, but {there:,} bytes follow: the program that wrote it was stopped or "
            "wrote to a pipe, write the file anew"
        )
    for name, further, _ in following:
        if name == magic:
            raise AudioError(_FURTHER.format(f"{further:,} of {size:,} bytes"))


def _chunks(file: BinaryIO, magic: bytes, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's name (4 bytes), where its content begins, and how long it is said to be."""
    if magic in (b".snd", b"dns."):  # no chunks, but one header
        yield b"data", *struct.unpack(">II" if magic == b".snd" else "<II", file.read(8))
        return
    layout, position, padding, own = _CHUNKED.get(magic, ("", 0, 1, 0))
    header_length, wide = struct.calcsize(layout), 0
    for _ in range(_MOST_CHUNKS if layout else 0):
        file.seek(position)
        header = file.read(header_length)
        if len(header) < header_length:
            return
        name, length = struct.unpack(layout, header)
        name, length = name[:4], length - own if length >= own else 1 << 62  # without an end
        begin = position + header_length
        if name == b"ds64":  # the length of RF64's sound
            file.seek(begin + 8)
            wide = int.from_bytes(file.read(8), "little")
        elif name == b"data" and magic == b"RF64":
            length = wide
        skipped = 8 if name == b"SSND" else 0
        yield name, begin + skipped, max(length - skipped, 0)
        position = begin + length + -length % padding
        if position > size:
            return
