"""WAV files of the same samples, built byte by byte as recorders and pipes leave them."""

import struct

import numpy as np

SAMPLES = np.random.default_rng(0).integers(-9000, 9000, 401).astype("<i2")
SOUND = SAMPLES.astype(np.float32) / 32768
GUID = bytes.fromhex("000000001000800000aa00389b71")
CONTENT = SAMPLES.tobytes()


def chunk(name, content, pad=b"\0"):
    return name + struct.pack("<I", len(content)) + content + pad * (len(content) % 2)


def fmt(tag=1, channels=1, rate=16000, bits=16, align=None, extra=b"", byte_rate=None):
    right = channels * bits // 8
    align = right if align is None else align
    rest = rate * right if byte_rate is None else byte_rate
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rest, align, bits) + extra)


def riff(*chunks):
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def stream(length, riff_length=0xFFFFFFFF):
    data = b"data" + struct.pack("<I", length) + CONTENT
    return b"RIFF" + struct.pack("<I", riff_length) + b"WAVE" + fmt() + data


def extensible(bits, tag=1):
    return fmt(0xFFFE, bits=bits, extra=struct.pack("<HHIH", 22, bits, 0, tag) + GUID)


DATA = chunk(b"data", CONTENT)
WIDE = (SAMPLES.astype("<i4") * 65536).tobytes()
PACKED = b"".join(struct.pack("<i", int(value) * 256)[:3] for value in SAMPLES)
STREAM = "its length is not given"
WHOLE = {
    "plain": riff(fmt(), DATA),
    "format of 18 bytes": riff(fmt(extra=b"\0\0"), DATA),
    "extensible": riff(extensible(16), DATA),
    "comments before and after": riff(
        chunk(b"JUNK", b"\0" * 28), fmt(), chunk(b"bext", b"x" * 5001), DATA,
        chunk(b"LIST", b"INFO" + b"\xff" * 3000),
    ),
    "the word data in a list": riff(fmt(), chunk(b"LIST", b"adtl" + chunk(b"data", b"zzzz")), DATA),
    "bytes behind the last chunk": riff(fmt(), DATA) + b"\x00\x01\xff" * 700,
    "text behind the last chunk": riff(fmt(), DATA) + b"recorded on Monday",
    "a byte rate of zero": riff(fmt(byte_rate=0), DATA),
    "half a sample at the end": riff(fmt(), chunk(b"data", CONTENT + b"\x07")),
    "an empty data chunk first": riff(fmt(), chunk(b"data", b""), DATA),
    "the format after the samples": riff(DATA, fmt()),
    "the format after odd samples": riff(chunk(b"data", CONTENT + b"\x07"), fmt()),
    "an odd chunk without padding": riff(fmt(), chunk(b"LIST", b"INFOabc", pad=b""), DATA),
    "two odd chunks without padding": riff(
        chunk(b"id3 ", b"abc", pad=b""), fmt(), chunk(b"bext", b"x" * 77, pad=b""), DATA
    ),
    "padding that is not zero": riff(fmt(), chunk(b"LIST", b"INFOabc", pad=b" "), DATA),
}  # fmt: skip
ASSUMED = {
    "a stream of FFFFFFFF": (stream(0xFFFFFFFF), STREAM),
    "a stream of FFFFFFDB": (stream(0xFFFFFFDB), STREAM),
    "a stream of 7FFFF000": (stream(0x7FFFF000), STREAM),
    "a stream of 7FFFFFDB": (stream(0x7FFFFFDB, 0x7FFFFFFF), STREAM),
    "a stream of 80000000": (stream(0x80000000, 0x80000024), STREAM),
    "a stream of 0": (stream(0, 0), STREAM),
    "a stream of 0 in a form of 36": (stream(0, 36), STREAM),
    "two data chunks": (
        riff(fmt(), chunk(b"data", CONTENT[:300]), chunk(b"data", CONTENT[300:])),
        "its samples are in 2 parts",
    ),
    "data chunks in a list of waves": (
        riff(
            fmt(),
            chunk(b"LIST", b"wavl" + chunk(b"data", CONTENT[:8]) + chunk(b"data", CONTENT[8:])),
        ),
        "its samples are in 2 parts",
    ),
    "a block align of zero": (riff(fmt(align=0), DATA), "its block align is 0, where 2 is right"),
    "a wrong block align": (riff(fmt(align=4), DATA), "its block align is 4, where 2 is right"),
    "a wrong block align and byte rate": (
        riff(fmt(align=4, byte_rate=64000), DATA), "its block align is 4, where 2 is right"
    ),
}  # fmt: skip
FILES = {name: (content, "") for name, content in WHOLE.items()} | ASSUMED
