"""Damage to bytes, without any library: of bits and ranges, of cells of tables, of values of JSON."""

import json
import re

_NUMBERS = (
    "0",
    "-1",
    "1e400",
    "nan",
    "Infinity",
    "-0.0",
    "1" * 5000,
    "2147483648",
    "18446744073709551616",
    "1,5",
)
_WORDS = (
    "",
    "null",
    "true",
    "[]",
    "{}",
    "''",
    '"',
    "\\",
    "../x",
    "~nobody/x",
    "\0",
    "\ufeff",
    "\ud7ff",
    "é",
    "=1",
    "sep=",
    " ",
)
_LONG = b"x" * 140_000
TOKENS = [text.encode() for text in (*_NUMBERS, *_WORDS, *",;\t\n\r:{}[]", "[" * 5000, '{"a":' * 5000)]
_VALUES = (
    None,
    True,
    0,
    -1,
    2**70,
    0.5,
    float("inf"),
    float("nan"),
    "",
    "x",
    "~nobody/x",
    "a\0b",
    [],
    [[]],
    {},
    {"a": 1},
    ["x"],
)
_VALUES += ("x" * 1000, [None], [1, "x"], 10**400, "\ud800")


def mutated(data: bytes, rng, others=()) -> bytes:
    """Damage data once or a few times; now and then splice it with one of the others."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice((_of_bits, _of_range, _of_token, _of_cell, _of_json, _of_json))(data, rng)
    if others and rng.random() < 0.1:
        other = rng.choice(others)
        data = data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]
    return data


def _of_bits(data, rng):
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 8))):
        if damaged:
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _of_range(data, rng):
    """Leave out, double, or zero a part."""
    begin = rng.randint(0, len(data))
    end = min(len(data), begin + rng.choice((1, 4, 30, len(data))))
    return data[:begin] + rng.choice((b"", 2 * data[begin:end], bytes(end - begin))) + data[end:]


def _of_token(data, rng):
    place = rng.randint(0, len(data))
    return (
        data[:place]
        + (_LONG if rng.random() < 0.01 else rng.choice(TOKENS))
        + data[place + rng.choice((0, 0, 1, 5)) :]
    )


def _of_cell(data, rng):
    """Put another cell, or none, in the place of one."""
    parts = re.split(rb"([,;\t\n=: ])", data)
    place = rng.randrange(len(parts))
    parts[place] = rng.choice((*TOKENS, rng.choice(parts)))
    return b"".join(parts)


def _of_json(data, rng):
    """Put another value in the place of one, leave it out, or give it another name, where the data are JSON."""
    start = min((place for place in map(data.find, (b"{", b"[")) if place >= 0), default=0)
    try:
        whole = json.loads(data[start:])
    except (ValueError, RecursionError):
        return _of_token(data, rng)
    held = [(whole, key) for key in _keys(whole)]
    for holder, key in held[:5000]:
        held += [(holder[key], inner) for inner in _keys(holder[key])]
    if held:
        holder, key = rng.choice(held)
        _change(holder, key, rng, held)
    return data[:start] + json.dumps(whole).encode()


def _keys(value):
    return list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()


def _change(holder, key, rng, held):
    action = rng.randrange(8)
    if action == 0:
        del holder[key]
    elif action == 1 and isinstance(holder, dict):
        holder[rng.choice(("", "x", str(key).upper()))] = holder.pop(key)
    elif action == 2:
        other, place = rng.choice(held)
        holder[key] = json.loads(json.dumps(other[place])) if place in _keys(other) else None
    else:
        holder[key] = rng.choice(_VALUES)
