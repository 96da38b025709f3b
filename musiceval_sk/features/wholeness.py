"""Whether all of a clip's sound is in its file, and in one stream: what libsndfile does not ask of a container.

It decodes the first of several streams, and what there is of a truncated one, without a word.
"""

import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO, NamedTuple

# Length of an Ogg page's header without its table of segments, and the flags of RFC 3533, section 6.
_OGG_HEADER, _BEGINS, _ENDS = 27, 2, 4
_FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
# Encoders leave up to two times 4,095 samples that players take off again (LAME's tag has 12 bits for each), decoders two frames.
_TRIMMED, _FRAMES_LOST = 2 * 4095, 2
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
_OGG_TRUNCATED = "truncated: its last page is not whole or does not end the stream"
_MPEG_TRUNCATED = "truncated: it ends within a frame"
_FURTHER = "a further stream begins after {}, which would not be heard: write the file anew as one stream"


class Survey(NamedTuple):
    """What a container says of its sound: why it is not whole, what is odd, and how many frames are to come at least."""

    fault: str = ""
    remark: str = ""
    least_frames: int = 0


class _MpegFrame(NamedTuple):
    kind: tuple[int, int, int, bool]  # version, layer, sample rate, whether mono
    length: int
    samples: int


def survey(file: BinaryIO, container: str, frames: int) -> Survey:
    """Look through a file that libsndfile calls a ``container`` of so many ``frames``."""
    file.seek(0)
    if container == "OGG":
        return Survey(_ogg_fault(file.read()), least_frames=frames)
    if container == "MP3":
        return _survey_mpeg(file.read(), frames)
    if container == "FLAC":
        further = len(_FLAC_START.findall(file.read())) > 1
        # libsndfile's greatest number stands for a stream that does not know its length.
        return Survey(_FURTHER.format("the first") * further, least_frames=frames if frames < 1 << 62 else 0)
    return Survey(_chunk_fault(file), least_frames=frames)


def _ogg_fault(data: bytes) -> str:
    """Look for a stream that begins after others have begun to play, and for the end of the last one."""
    begin, plays, whole = data.find(b"OggS\0"), False, False
    while begin >= 0:
        header = data[begin : begin + _OGG_HEADER]
        if len(header) < _OGG_HEADER:
            return _OGG_TRUNCATED
        if header[5] & _BEGINS and plays:
            return _FURTHER.format(f"{begin:,} of {len(data):,} bytes")
        plays |= not header[5] & _BEGINS
        lengths = data[begin + _OGG_HEADER : begin + _OGG_HEADER + header[26]]
        end = begin + _OGG_HEADER + header[26] + sum(lengths)
        whole = bool(header[5] & _ENDS) and end <= len(data)
        begin = data.find(b"OggS\0", end)
    return "" if whole else _OGG_TRUNCATED


def _survey_mpeg(data: bytes, frames: int) -> Survey:
    """Walk from frame to frame, and hold their number against what the header promises and the way the file ends."""
    promised, count, end, first = None, 0, 0, None
    for begin, frame in _mpeg_frames(data):
        header = _mpeg_header(data[begin : begin + frame.length])
        if first is not None and (header is not None or frame.kind != first.kind):
            return Survey(_FURTHER.format(f"{begin:,} of {len(data):,} bytes"))
        first, end = first or frame, begin + frame.length
        promised = promised if header is None else header
        count += header is None and end <= len(data)
    if first is None:
        return Survey(least_frames=frames)
    if promised is None:
        return Survey(_MPEG_TRUNCATED if end > len(data) else "", "", _least_frames(count, first))
    missing = promised - count
    seconds = missing * first.samples / first.kind[2]
    words = f"has {count:,} of the {promised:,} frames that its header promises, {seconds:.2f} s less"
    if missing > 0 and end > len(data):
        return Survey(f"{_MPEG_TRUNCATED}, and {words}")
    if missing > 1 and (seconds > _SHORTFALL_SECONDS or missing > _SHORTFALL_SHARE * promised):
        return Survey(f"truncated: it {words}")
    # Some writers count the header's own frame.
    remark = f"{words}, but ends with a whole one" if missing > 1 else ""
    return Survey("", remark, _least_frames(count, first))


def _least_frames(count: int, frame: _MpegFrame) -> int:
    return (count - _FRAMES_LOST) * frame.samples - _TRIMMED


def _mpeg_frames(data: bytes) -> Iterator[tuple[int, _MpegFrame]]:
    """Find frames and where they begin; the last one may go on past the end of the data."""
    begin, kind = 0, None
    while 0 <= begin < len(data):
        tag = data[begin : begin + 10]
        if tag[:3] == b"ID3" and len(tag) == 10:
            begin += 10 + sum((byte & 127) << 7 * place for place, byte in enumerate(tag[:5:-1]))
            continue
        frame = _mpeg_frame(tag[:4])
        # Bytes that are no sound can look like a frame, but hardly like two in a row.
        if frame and (frame.kind == kind or _is_followed(data, begin, frame)):
            yield begin, frame
            begin, kind = begin + frame.length, frame.kind
        else:
            begin, kind = data.find(b"\xff", begin + 1), None


def _is_followed(data: bytes, begin: int, frame: _MpegFrame) -> bool:
    end = begin + frame.length
    following = _mpeg_frame(data[end : end + 4])
    return end == len(data) or (following is not None and following.kind == frame.kind)


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


def _mpeg_header(frame: bytes) -> int | None:
    """Read how many frames are said to follow; None if this frame is not such a header but sound."""
    for place in (36, 21, 13, 38, 23, 15):  # after the side information, without and with a checksum
        if frame[place : place + 4] in (b"Xing", b"Info") and len(frame) >= place + 12:
            flags, count = struct.unpack(">II", frame[place + 4 : place + 12])
            return count if flags & 1 else None
    if frame[36:40] == b"VBRI" and len(frame) >= 54:
        return struct.unpack(">I", frame[50:54])[0]
    return None


def _chunk_fault(file: BinaryIO) -> str:
    """Hold the length of the sound that a header names against what is there."""
    size = file.seek(0, 2)
    file.seek(0)
    magic = file.read(4)
    chunks, wide = _chunks(file, magic, size), 0
    for name, begin, length in chunks:
        if name == b"ds64":
            file.seek(begin + 8)
            wide = int.from_bytes(file.read(8), "little")
        elif name == b"SSND":
            begin, length = begin + 8, max(length - 8, 0)
            break
        elif name == b"data":
            length = wide if magic == b"RF64" else length
            break
    else:
        return ""
    there = size - begin
    if length > there:
        words = f"truncated: its header promises {length:,} bytes of sound, {there:,} are there"
        return "" if any(low <= length <= high for low, high in _UNKNOWN_LENGTHS) else words
    following = list(chunks)
    first, *extent = following[0] if following else (b"", size)
    is_chunk = first.strip().isalnum() and sum(extent) <= size
    if length == 0 < there and not is_chunk:
        return (
            f"its header promises 0 bytes of sound, but {there:,} bytes follow: the program that wrote it was stopped or "
            "wrote to a pipe, write the file anew"
        )
    further = next((begin for name, begin, _ in following if name == magic), None)
    return "" if further is None else _FURTHER.format(f"{further:,} of {size:,} bytes")


def _chunks(file: BinaryIO, magic: bytes, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's name (4 bytes), where its content begins, and how long it is said to be."""
    if magic in (b".snd", b"dns."):  # no chunks, but one header
        yield b"data", *struct.unpack(">II" if magic == b".snd" else "<II", file.read(8))
        return
    layout, position, padding, own = _CHUNKED.get(magic, ("", 0, 1, 0))
    header_length = struct.calcsize(layout)
    for _ in range(_MOST_CHUNKS if layout else 0):
        file.seek(position)
        header = file.read(header_length)
        if len(header) < header_length:
            return
        name, length = struct.unpack(layout, header)
        length = length - own if length >= own else 1 << 62  # without an end
        yield name[:4], position + header_length, length
        position += header_length + length + -length % padding
        if position > size:
            return
