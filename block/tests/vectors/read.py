#!/usr/bin/env python3
"""Reads the vectors beside this file without any of Cairn's code: a second opinion on docs/FORMAT.md.

Python's standard library alone, and the `zstd` command for the few compressed chunks; where that is missing they are
counted as skipped. Valid vectors must read as they say; malformed ones of sealed, signed and wrapped things must be
refused. Exits with 1 at the first difference.
"""

import base64
import functools
import hashlib
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
M32 = 0xFFFFFFFF
M64 = 0xFFFFFFFFFFFFFFFF
CHUNK_MAX = (1 << 20) - 24
SEQ_LIMIT = 1 << 53


class Refused(Exception):
    pass


class Skipped(Exception):
    pass


def need(condition, reason):
    if not condition:
        raise Refused(reason)


# --- BLAKE3 ----------------------------------------------------------------------------------------------------------

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
QUARTERS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
            (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED, CONTEXT, MATERIAL = 1, 2, 4, 8, 16, 32, 64


def compress(cv, words, counter, length, flags):
    v = list(cv) + [IV[0], IV[1], IV[2], IV[3], counter & M32, counter >> 32, length, flags]
    for _ in range(7):
        at = 0
        for a, b, c, d in QUARTERS:
            va, vb, vc, vd = v[a], v[b], v[c], v[d]
            va = (va + vb + words[at]) & M32
            vd ^= va
            vd = (vd >> 16 | vd << 16) & M32
            vc = (vc + vd) & M32
            vb ^= vc
            vb = (vb >> 12 | vb << 20) & M32
            va = (va + vb + words[at + 1]) & M32
            vd ^= va
            vd = (vd >> 8 | vd << 24) & M32
            vc = (vc + vd) & M32
            vb ^= vc
            v[a], v[b], v[c], v[d] = va, (vb >> 7 | vb << 25) & M32, vc, vd
            at += 2
        words = [words[p] for p in PERMUTATION]
    return [v[n] ^ v[n + 8] for n in range(8)] + [v[n + 8] ^ cv[n] for n in range(8)]


def words_of(data, count):
    data = data.ljust(4 * count, b"\0")
    return [int.from_bytes(data[4 * n:4 * n + 4], "little") for n in range(count)]


def blake3_node(data, cv, flags, index):
    """The last compression of a subtree, not done yet: chaining value, words, counter, length, flags."""
    if len(data) <= 1024:
        blocks = [data[n:n + 64] for n in range(0, len(data), 64)] or [b""]
        start, chain = CHUNK_START, cv
        for block in blocks[:-1]:
            chain = compress(chain, words_of(block, 16), index, 64, flags | start)[:8]
            start = 0
        return chain, words_of(blocks[-1], 16), index, len(blocks[-1]), flags | start | CHUNK_END
    left = 1024
    while left * 2 < len(data):
        left *= 2
    halves = ((data[:left], index), (data[left:], index + left // 1024))
    words = [word for half, at in halves for word in compress(*blake3_node(half, cv, flags, at))[:8]]
    return cv, words, 0, 64, flags | PARENT


def blake3(data, key=IV, flags=0, length=32):
    chain, words, _, block, flags = blake3_node(data, key, flags, 0)
    out = b""
    counter = 0
    while len(out) < length:
        out += b"".join(word.to_bytes(4, "little") for word in compress(chain, words, counter, block, flags | ROOT))
        counter += 1
    return out[:length]


def keyed_hash(key, data):
    return blake3(data, words_of(key, 8), KEYED)


def derive_key(context, material, length=32):
    key = words_of(blake3(context.encode(), IV, CONTEXT), 8)
    return blake3(material, key, MATERIAL, length)


# --- ChaCha20-Poly1305 -----------------------------------------------------------------------------------------------

def chacha_rounds(state):
    v = list(state)
    for _ in range(10):
        for a, b, c, d in QUARTERS:
            v[a] = (v[a] + v[b]) & M32
            v[d] ^= v[a]
            v[d] = (v[d] << 16 | v[d] >> 16) & M32
            v[c] = (v[c] + v[d]) & M32
            v[b] ^= v[c]
            v[b] = (v[b] << 12 | v[b] >> 20) & M32
            v[a] = (v[a] + v[b]) & M32
            v[d] ^= v[a]
            v[d] = (v[d] << 8 | v[d] >> 24) & M32
            v[c] = (v[c] + v[d]) & M32
            v[b] ^= v[c]
            v[b] = (v[b] << 7 | v[b] >> 25) & M32
    return v


def chacha_state(key, rest):
    return words_of(b"expand 32-byte k", 4) + words_of(key, 8) + words_of(rest, 4)


def chacha_block(key, counter, nonce):
    state = chacha_state(key, counter.to_bytes(4, "little") + nonce)
    mixed = chacha_rounds(state)
    return b"".join(((a + b) & M32).to_bytes(4, "little") for a, b in zip(mixed, state))


def poly1305(key, data):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for n in range(0, len(data), 16):
        total = (total + int.from_bytes(data[n:n + 16] + b"\1", "little")) * r % ((1 << 130) - 5)
    return ((total + int.from_bytes(key[16:], "little")) & ((1 << 128) - 1)).to_bytes(16, "little")


def chacha_open(key, nonce, sealed):
    """ChaCha20-Poly1305 without associated data."""
    text, tag = sealed[:-16], sealed[-16:]
    padded = text + bytes(-len(text) % 16) + bytes(8) + len(text).to_bytes(8, "little")
    need(poly1305(chacha_block(key, 0, nonce)[:32], padded) == tag, "tag")
    stream = b"".join(chacha_block(key, 1 + n, nonce) for n in range((len(text) + 63) // 64))
    return bytes(a ^ b for a, b in zip(text, stream))


def chacha_seal(key, nonce, plain):
    stream = b"".join(chacha_block(key, 1 + n, nonce) for n in range((len(plain) + 63) // 64))
    text = bytes(a ^ b for a, b in zip(plain, stream))
    padded = text + bytes(-len(text) % 16) + bytes(8) + len(text).to_bytes(8, "little")
    return text + poly1305(chacha_block(key, 0, nonce)[:32], padded)


def xchacha_open(key, nonce, sealed):
    mixed = chacha_rounds(chacha_state(key, nonce[:16]))
    subkey = b"".join(word.to_bytes(4, "little") for word in mixed[:4] + mixed[12:])
    return chacha_open(subkey, bytes(4) + nonce[16:], sealed)


# --- Ed25519 ---------------------------------------------------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def point_add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def point_mul(scalar, point):
    total = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = point_add(total, point)
        point = point_add(point, point)
        scalar >>= 1
    return total


def point_from(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    need(y < P, "point")
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    need((x * x - square) % P == 0 and (x or not sign), "point")
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def point_bytes(point):
    inverse = pow(point[2], -1, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE = point_from((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def ed25519_public(seed):
    scalar = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
    return point_bytes(point_mul(scalar & ((1 << 254) - 8) | 1 << 254, BASE))


def ed25519_verify(public, purpose, message, signature):
    message = purpose.encode() + b"\0" + message
    s = int.from_bytes(signature[32:], "little")
    need(s < ORDER, "signature")
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    expected = point_add(point_from(signature[:32]), point_mul(k, point_from(public)))
    need(point_bytes(point_mul(s, BASE)) == point_bytes(expected), "signature")


# --- Fields ----------------------------------------------------------------------------------------------------------

class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        need(self.at + length <= len(self.data), "truncated")
        self.at += length
        return self.data[self.at - length:self.at]

    def int(self, length, below=None, signed=False):
        number = int.from_bytes(self.take(length), "little", signed=signed)
        need(below is None or number < below, "above its bound")
        return number

    def bytes(self, prefix):
        return self.take(self.int(prefix))

    def rest(self):
        return self.take(len(self.data) - self.at)

    def left(self):
        return len(self.data) - self.at

    def finish(self):
        need(self.left() == 0, "trailing bytes")

    def time(self):
        return [self.int(8, signed=True), self.int(4, below=10**9)]

    def ref(self):
        data = self.take(68)
        need(int.from_bytes(data[64:], "little") <= CHUNK_MAX, "above its bound")
        return data


def parse_ref(data):
    reader = Reader(data)
    data = reader.ref()
    reader.finish()
    return data[:32], data[32:64], int.from_bytes(data[64:], "little")


def cid(block_id):
    return "b" + base64.b32encode(b"\x01\x55\x1e\x20" + block_id).decode().rstrip("=").lower()


def volume_id(volume_public):
    return derive_key("cairn 2026-11 volume id", volume_public)[:16]


def unwrap(key, purpose, aad, wrapped):
    need(len(wrapped) >= 72, "too short")
    purpose = purpose.encode()
    material = key + wrapped[:24] + len(purpose).to_bytes(8, "little") + purpose + aad
    keys = derive_key("cairn 2026-11 wrap", material, 64)
    need(keys[32:] == wrapped[24:56], "commitment")
    return xchacha_open(keys[:32], wrapped[:24], wrapped[56:])


def unzstd(frame):
    if not shutil.which("zstd"):
        raise Skipped("the zstd command is missing")
    run = subprocess.run(["zstd", "-dc"], input=frame, capture_output=True)
    need(run.returncode == 0, "zstd frame")
    return run.stdout


def open_block(ref, block, kind):
    block_id, key, length = parse_ref(ref)
    need(blake3(block) == block_id, "other block")
    need(24 <= len(block) <= 1 << 20, "length")
    reader = Reader(chacha_open(key, bytes(12), block))
    need(reader.int(1) == 1, "version")
    found, codec = reader.int(1), reader.int(1)
    need(found in range(1, 6) and codec in (0, 1) and reader.int(1) == 0, "header")
    need(found == kind, "kind")
    need(reader.int(4, below=CHUNK_MAX + 1) == length, "raw length")
    payload = reader.rest() if codec == 0 else unzstd(reader.rest())
    need(len(payload) == length, "payload length")
    return payload


def read_certificate(data, volume_public):
    reader = Reader(data)
    device, rights, signature = reader.take(32), reader.int(1), reader.take(64)
    reader.finish()
    need(rights & ~7 == 0, "rights")
    message = volume_id(volume_public) + data[:33]
    ed25519_verify(volume_public, "cairn 2026-11 sign device certificate", message, signature)
    return device, rights


def read_head(head, volume_public, read_key):
    need(len(head) <= 16384, "length")
    reader = Reader(head)
    need(reader.int(1) == 1, "version")
    volume = reader.take(16)
    need(volume == volume_id(volume_public), "volume")
    device, rights = read_certificate(reader.take(97), volume_public)
    need(rights & 3, "no right to sign heads")
    seq, previous = reader.int(8, below=SEQ_LIMIT), reader.take(32)
    count = reader.int(2, below=257)
    vector = [(reader.take(32), reader.int(8, below=SEQ_LIMIT)) for _ in range(count)]
    need(all(seq > 0 for _, seq in vector) and sorted(dict(vector).items()) == vector, "vector")
    need(dict(vector).get(device) == seq and (seq == 1) == (previous == bytes(32)), "sequence")
    outside = head[:reader.at]
    sealed = reader.bytes(2)
    signed = head[:reader.at]
    signature = reader.take(64)
    reader.finish()
    ed25519_verify(device, "cairn 2026-11 sign head", signed, signature)
    plain = unwrap(derive_key("cairn 2026-11 head key", read_key), "head", outside, sealed)
    inside = Reader(plain)
    root, time, delta, kind = inside.ref(), inside.time(), inside.int(8, below=SEQ_LIMIT), inside.int(1, below=2)
    try:
        label = inside.bytes(1).decode()
    except UnicodeDecodeError as error:
        raise Refused("label") from error
    need(not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in label), "label")
    padding = inside.rest()
    need(len(padding) < 64 and len(plain) % 64 == 0 and not any(padding), "padding")
    return {
        "volume": volume.hex(), "device": device.hex(), "seq": seq, "previous": previous.hex(), "hash": blake3(head).hex(),
        "vector": [[device.hex(), seq] for device, seq in vector], "root": root.hex(), "time": time,
        "delta_upto": delta, "kind": kind, "label": label or None,
    }


def read_text(reader):
    data = reader.bytes(1)
    need(1 <= len(data) <= 64, "length")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Refused("text") from error
    unseen = ((0, 0x1F), (0x7F, 0x9F), (0x200B, 0x200F), (0x2028, 0x202E), (0x2060, 0x206F), (0xFEFF, 0xFEFF))
    need(not any(low <= ord(c) <= high for c in text for low, high in unseen), "text")
    need(not text.startswith(" ") and not text.endswith(" "), "text")
    return text


def read_epoch(data):
    """What can be told of an epoch from its bytes alone."""
    need(len(data) <= 3 << 20, "length")
    reader = Reader(data)
    need(reader.int(1) == 1, "version")
    circle, nonce, number, previous = reader.take(16), reader.take(16), reader.int(8, below=SEQ_LIMIT), reader.take(32)
    need((number == 1) == (previous == bytes(32)), "previous")
    members = []
    for _ in range(reader.int(2, below=10_001)):
        node, name, zone, capacity = reader.take(32), read_text(reader), read_text(reader), reader.int(8, below=2**50 + 1)
        role, node_class, joined = reader.int(1, below=3), reader.int(1, below=2), reader.int(8)
        need(1 <= joined <= number, "joined")
        members.append([node.hex(), name, zone, capacity, role, node_class, joined])
    revoked = [reader.take(32).hex() for _ in range(reader.int(2, below=20_001))]
    signer = reader.take(32)
    signed, signature = data[:reader.at], reader.take(64)
    reader.finish()
    nodes = [member[0] for member in members]
    owners = [member[0] for member in members if member[4] == 0]
    for listed in (nodes, revoked):
        need(listed == sorted(set(listed)), "order")
    need(len({member[1] for member in members}) == len(members), "two members have one name")
    need(owners and not set(nodes) & set(revoked), "no owner, or a member that is revoked")
    if number == 1:
        need(circle == derive_key("cairn 2026-11 circle id", signer + nonce)[:16], "circle")
        need(owners == [signer.hex()] and not revoked, "founder")
    else:
        need(nonce == bytes(16), "nonce")
    ed25519_verify(signer, "cairn 2026-11 sign circle epoch", signed, signature)
    return {
        "circle": circle.hex(), "hash": blake3(data).hex(), "number": number, "previous": previous.hex(),
        "members": members, "revoked": revoked, "signer": signer.hex(),
    }


def follow_epoch(epoch, before):
    need(epoch["circle"] == before["circle"] and epoch["number"] == before["number"] + 1, "not the next")
    need(epoch["previous"] == before["hash"], "another past")
    need(any(member[0] == epoch["signer"] and member[4] == 0 for member in before["members"]), "not an owner")
    joined = {member[0]: member[6] for member in before["members"]}
    need(all(member[6] == joined.get(member[0], epoch["number"]) for member in epoch["members"]), "joined")
    need(set(before["revoked"]) <= set(epoch["revoked"]), "a revocation is forgotten")
    need(set(epoch["revoked"]) - set(before["revoked"]) <= set(joined), "a stranger is revoked")


# --- Trees -----------------------------------------------------------------------------------------------------------

def read_map_root(reader):
    count = reader.int(8)
    if count == 0:
        return [None, 0, 0]
    level = reader.int(1)
    return [reader.ref().hex(), level, count]


def read_xattr_list(reader):
    pairs = []
    while reader.left():
        pairs.append([reader.bytes(1).hex(), reader.bytes(4).hex()])
    return pairs


def read_record(reader):
    mode = reader.int(2)
    record = {"kind": mode >> 12, "mode": mode & 0o7777, "ino": reader.int(8)}
    for field, length in (("uid", 4), ("gid", 4), ("nlink", 4), ("rdev", 4), ("size", 8), ("allocated", 8)):
        record[field] = reader.int(length)
    record["times"] = [reader.time() for _ in range(4)]
    tag, kind = reader.int(1), record["kind"]
    if tag == 0:
        record["content"] = "empty" if kind == 8 else "none"
    elif tag == 1:
        record["content"] = {"inline" if kind == 8 else "symlink": reader.take(record["size"]).hex()}
    elif kind == 8:
        level = reader.int(1)
        record["content"] = {"file": [reader.ref().hex(), level & 0x7F, level >> 7 == 1]}
    else:
        record["content"] = {"dir": read_map_root(reader)}
    record["xattrs"] = {"sealed": reader.ref().hex()} if reader.int(1) else read_xattr_list(reader)
    reader.finish()
    return record


def read_entry(value):
    reader = Reader(value)
    if reader.int(1) == 0:
        return {"own": read_record(reader)}
    kind, ino = reader.int(1), reader.int(8)
    reader.finish()
    return {"link": [ino, kind]}


def read_volume_root(data):
    reader = Reader(data)
    need(reader.int(1) == 1, "version")
    next_ino, links = reader.int(8), read_map_root(reader)
    return {"next_ino": next_ino, "links": links, "record": read_record(reader)}


def read_node(payload, level, read_item):
    """The items of a node, each with the bytes it takes."""
    reader = Reader(payload)
    need(len(payload) <= 65536 and reader.int(1) == level, "level")
    items = []
    for _ in range(reader.int(2)):
        start = reader.at
        items.append((read_item(reader), reader.at - start))
    reader.finish()
    return items


def map_entry(reader):
    key, value = reader.int(2), reader.int(2)
    return reader.take(key), reader.take(value)


def map_child(reader):
    return reader.bytes(2), reader.ref(), reader.int(8)


def file_extent(reader):
    if reader.int(1) == 0:
        return reader.int(8), 0, None
    length, offset, ref = reader.int(4), reader.int(4), reader.ref()
    need(offset + length <= int.from_bytes(ref[64:], "little"), "extent")
    return length, offset, ref


def file_child(reader):
    return reader.int(8), reader.int(8), reader.ref()


def mix(number):
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & M64
    number = (number ^ number >> 27) * 0x94D049BB133111EB & M64
    return number ^ number >> 31


def hash_key(level, key):
    number = level << 32 | len(key)
    whole = len(key) // 8 * 8
    for n in range(0, whole + 8, 8):
        product = (number ^ int.from_bytes(key[n:n + 8], "little")) * 0x9E3779B97F4A7C15 & M64
        number = product ^ product >> 32
    return mix(number)


def ends(node_bytes, item_bytes, number):
    if node_bytes < 8 << 10:
        return False
    if node_bytes >= 47 << 10:
        return True
    mean = 32 << 10 if node_bytes < 20 << 10 else 5 << 10
    return (number >> 32) * mean < item_bytes << 32


def hash_ref(ref, number):
    return mix(int.from_bytes(ref[:8], "little") ^ number)


def seal_node(convergence, kind, payload):
    chunk = bytes([1, kind, 0, 0]) + len(payload).to_bytes(4, "little") + payload
    key = keyed_hash(convergence, chunk)
    return blake3(chacha_seal(key, bytes(12), chunk)) + key + len(payload).to_bytes(4, "little")


def build(convergence, kind, items, above):
    """Root, level and number of nodes of the tree of these items, each its bytes, its hash and what `above` sums up.

    `above(level, ref, sums)` makes the item of a node on the level above it from its ref and the sums of its items.
    """
    level, count = 0, 0
    while True:
        nodes, open_items, length = [], [], 3
        for item in items:
            open_items.append(item)
            length += len(item[0])
            if ends(length, len(item[0]), item[1]):
                nodes.append(open_items)
                open_items, length = [], 3
        nodes += [open_items] if open_items else []
        refs = []
        for node in nodes:
            payload = bytes([level]) + len(node).to_bytes(2, "little") + b"".join(item[0] for item in node)
            refs.append(seal_node(convergence, kind, payload))
        count += len(nodes)
        if len(nodes) == 1:
            return refs[0], level, count
        level += 1
        items = [above(level, ref, [item[2] for item in node]) for ref, node in zip(refs, nodes)]


def map_item_above(level, ref, sums):
    key, count = sums[-1][0], sum(count for _, count in sums)
    data = len(key).to_bytes(2, "little") + key + ref + count.to_bytes(8, "little")
    return data, hash_key(level, key), (key, count)


def file_item_above(_, ref, sums):
    length, allocated = (sum(numbers) for numbers in zip(*sums))
    return length.to_bytes(8, "little") + allocated.to_bytes(8, "little") + ref, hash_ref(ref, length), (length, allocated)


class Volume:
    """Walks a volume from its head."""

    def __init__(self, case):
        self.read = bytes.fromhex(case["read"])
        self.names = derive_key("cairn 2026-11 name key", self.read)
        self.blocks = {blake3(block): block for block in map(bytes.fromhex, case["blocks"])}
        self.opened = set()
        self.files = {}

    def open(self, ref, kind):
        self.opened.add(ref[:32])
        return open_block(ref, self.blocks[ref[:32]], kind)

    def map(self, root):
        ref, level, count = root
        nodes = [bytes.fromhex(ref)] if ref else []
        while nodes:
            read_item = map_child if level else map_entry
            items = [read_node(self.open(node, 3), level, read_item) for node in nodes]
            check_cuts(level, items)
            flat = [item for node in items for item, _ in node]
            need([item[0] for item in flat] == sorted({item[0] for item in flat}), "order of keys")
            if level == 0:
                need(len(flat) == count, "count")
                return flat
            need(sum(item[2] for item in flat) == count, "count")
            nodes, level = [item[1] for item in flat], level - 1
        return []

    def file(self, root):
        ref, level, _ = root
        nodes = [bytes.fromhex(ref)]
        while level:
            items = [read_node(self.open(node, 2), level, file_child) for node in nodes]
            nodes, level = [item[2] for node in items for item, _ in node], level - 1
        data = b""
        for node in nodes:
            for (length, offset, chunk), _ in read_node(self.open(node, 2), 0, file_extent):
                data += self.open(chunk, 1)[offset:offset + length] if chunk else bytes(length)
        return data

    def visit(self, path, record):
        if isinstance(record["xattrs"], dict):
            read_xattr_list(Reader(self.open(bytes.fromhex(record["xattrs"]["sealed"]), 5)))
        content = record["content"]
        if "dir" in content:
            for key, value in self.map(content["dir"]):
                need(keyed_hash(self.names, key[7:])[:7] == key[:7], "hash of a name")
                entry = read_entry(value)
                record = entry["own"] if "own" in entry else self.links[entry["link"][0]]
                self.visit(f"{path}/{key[7:].decode()}", record)
        elif "file" in content:
            data = self.file(content["file"])
            need(len(data) == record["size"], "size")
            self.files[path] = data.hex()
        else:
            self.files[path] = next(iter(content.values()))

    def walk(self, head):
        root = read_volume_root(self.open(bytes.fromhex(head["root"]), 4))
        links = self.map(root["links"])
        self.links = {int.from_bytes(key, "big"): read_record(Reader(value)) for key, value in links}
        self.visit("", root["record"])
        need(self.opened == set(self.blocks), "blocks that nothing points to")


def check_cuts(level, nodes):
    """Nodes of a map end after the first item that says so, and nowhere else but at the end of their level."""
    for at, node in enumerate(nodes):
        length = 3
        for n, (item, item_bytes) in enumerate(node):
            length += item_bytes
            is_last = n + 1 == len(node)
            if not (is_last and at + 1 == len(nodes)):
                need(ends(length, item_bytes, hash_key(level, item[0])) == is_last, "where a node ends")


# --- Packs, shards, proofs -------------------------------------------------------------------------------------------

BODIES = (256 << 10, 1 << 20, 4 << 20, 16 << 20)
GROUP = 16 << 10


@functools.cache
def expand(seed, length):
    return blake3(seed, length=length)


def read_directory(keep, pack_class, end):
    """The blocks of a pack, and where its directory begins, from the last bytes of its body."""
    body = BODIES[pack_class]
    slot = min(body, 1 << 20)
    key = derive_key("cairn 2026-11 pack key", keep)
    footer = Reader(unwrap(key, "pack footer", bytes([pack_class]), end[-77:]))
    need(footer.int(1) == 1, "version")
    at = footer.int(4)
    footer.finish()
    length = body - 77 - at
    need(length >= 72 and (length - 72) % 40 == 0 and (length - 72) // 40 <= 16384, "directory offset")
    need(at >= body - slot and length + 77 <= len(end), "directory offset")
    aad = bytes([1, pack_class]) + at.to_bytes(4, "little")
    reader = Reader(unwrap(key, "pack directory", aad, end[-77 - length:-77]))
    blocks, free = [], 0
    while reader.left():
        block, offset, size = reader.take(32), reader.int(4), reader.int(4, below=(1 << 20) + 1)
        need(size >= 24 and offset >= free and offset + size <= at, "place of a block")
        need(offset // slot == (offset + size - 1) // slot, "a block that crosses a slot")
        blocks.append([block.hex(), offset, size])
        free = offset + size
    need(len({block for block, _, _ in blocks}) == len(blocks), "a block twice")
    return blocks, at


def field_product(a, b):
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = a << 1 ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return product


PRODUCTS = [[field_product(a, b) for b in range(256)] for a in range(256)]


def matrix_row(r, k):
    row = [1]
    while len(row) < k:
        row.append(PRODUCTS[row[-1]][r])
    return row


def matrix_product(a, b):
    return [[functools.reduce(lambda sum, n: sum ^ PRODUCTS[row[n]][b[n][c]], range(len(b)), 0)
             for c in range(len(b[0]))] for row in a]


def matrix_inverse(matrix):
    size = len(matrix)
    rows = [row + [int(n == at) for n in range(size)] for at, row in enumerate(matrix)]
    for at in range(size):
        pivot = next(n for n in range(at, size) if rows[n][at])
        rows[at], rows[pivot] = rows[pivot], rows[at]
        factor = PRODUCTS[rows[at][at]].index(1)
        rows[at] = [PRODUCTS[factor][value] for value in rows[at]]
        for n in range(size):
            if n != at:
                factor = rows[n][at]
                rows[n] = [value ^ PRODUCTS[factor][other] for value, other in zip(rows[n], rows[at])]
    return [row[size:] for row in rows]


def code_matrix(k, m):
    vandermonde = [matrix_row(r, k) for r in range(k + m)]
    return matrix_product(vandermonde, matrix_inverse(vandermonde[:k]))


def parse_code(text):
    """Number, k and m of a code."""
    if copies := re.fullmatch("copies=([1-9][0-9]?)", text):
        number, k, m = 0, 1, int(copies[1]) - 1
    else:
        code = re.fullmatch("([1-9][0-9]?)\\+([1-9][0-9]?)", text)
        need(code, "not a code")
        number, k, m = 1, int(code[1]), int(code[2])
    check_code(number, k, m)
    return number, k, m


def check_code(number, k, m):
    need(number in (0, 1), "code")
    need(k == 1 and m < 16 if number == 0 else k in (1, 2, 4, 8) and 1 <= m <= 16, "bounds of the code")


def read_descriptor(data):
    reader = Reader(data)
    need(reader.int(1) == 1, "version")
    pack, pack_class = reader.take(32), reader.int(1, below=4)
    number, k, m = reader.int(1), reader.int(1), reader.int(1)
    check_code(number, k, m)
    body = BODIES[pack_class]
    need(max(1, body >> 20) % k == 0, "more data shards than slots")
    shards = [reader.take(32).hex() for _ in range(k + m)] if number else [pack.hex()] * (k + m)
    reader.finish()
    return {"pack": pack.hex(), "class": pack_class, "code": f"{k}+{m}" if number else f"copies={m + 1}",
            "shard_bytes": body // k, "shards": shards, "id": blake3(data).hex()}


def chaining_value(data, start):
    return compress(*blake3_node(data, IV, 0, start // 1024))[:8]


def verify_proof(proof, shard, length, group):
    reader = Reader(proof)
    need(reader.int(1) == 1, "version")
    siblings = [words_of(reader.take(32), 8) for _ in range(reader.int(1, below=11))]
    data = reader.take(GROUP)
    reader.finish()
    at = group * GROUP
    need(at < length, "group")
    turns, start, subtree = [], 0, length
    while subtree > GROUP:
        left = GROUP
        while left * 2 < subtree:
            left *= 2
        turns.append(at >= start + left)
        start, subtree = (start + left, subtree - left) if turns[-1] else (start, left)
    need(len(siblings) == len(turns), "levels")
    if not turns:
        return need(blake3(data) == shard, "other shard")
    value = chaining_value(data, at)
    for level, (is_right, sibling) in enumerate(zip(reversed(turns), siblings)):
        flags = PARENT | (ROOT if level + 1 == len(turns) else 0)
        value = compress(IV, sibling + value if is_right else value + sibling, 0, 64, flags)[:8]
    need(b"".join(word.to_bytes(4, "little") for word in value) == shard, "other shard")


# --- Cuts ------------------------------------------------------------------------------------------------------------

def split_mix(seed, length):
    out = bytearray()
    while len(out) < length:
        seed = seed + 0x9E3779B97F4A7C15 & M64
        out += mix(seed).to_bytes(8, "little")
    return bytes(out[:length])


GEAR = [int.from_bytes(hashlib.md5(bytes([n]) * 64).digest()[:8], "big") for n in range(256)]
MASK_SHORT, MASK_LONG = 0x0000D91767537000, 0x0000D90F03530000


def next_cut(data):
    """FastCDC of 2020: two bytes at a time, the first of each pair shifted by one more bit."""
    length = min(len(data), CHUNK_MAX)
    fingerprint = 0
    for at in range(64 << 10, length - 1, 2):
        mask = MASK_SHORT if at < 256 << 10 else MASK_LONG
        fingerprint = (fingerprint << 2) + (GEAR[data[at]] << 1) & M64
        if not fingerprint & mask << 1:
            return at
        fingerprint = fingerprint + GEAR[data[at + 1]] & M64
        if not fingerprint & mask:
            return at + 1
    return length


# --- The files -------------------------------------------------------------------------------------------------------

def field(case, name):
    return bytes.fromhex(case[name])


def same(found, wanted):
    need(found == wanted, f"{found!r} is not {wanted!r}")


def check_id(case):
    if "sealed" in case:
        same(blake3(field(case, "sealed")).hex(), case["id"])
        same(cid(field(case, "id")), case["text"])
        return
    text, kind = case["text"], case["kind"]
    if kind == "block id":
        need(len(text) == 59 and text[0] == "b", "length")
        data = base64.b32decode(text[1:].upper() + "======")
        need(cid(data[4:]) == text, "not the one text of an id")
    else:
        need(len(text) == {"volume id": 32, "device id": 64}[kind] and text == bytes.fromhex(text).hex(), "hexadecimal")


def check_ref(case):
    block_id, key, length = parse_ref(field(case, "ref"))
    same([block_id.hex(), key.hex(), length], [case["id"], case["key"], case["len"]])


def check_keys(case):
    chain = {"write": derive_key("cairn 2026-11 volume write key", field(case, "master") + field(case, "volume_name"))}
    for name, source, context in (
        ("signing_seed", "write", "volume signing seed"), ("read", "write", "volume read key"),
        ("keep", "read", "volume keep key"), ("locate", "keep", "volume locate key"),
        ("convergence", "read", "convergence key"), ("dedup", "read", "dedup key"),
        ("names", "read", "name key"), ("heads", "read", "head key"), ("packs", "keep", "pack key"),
        ("placement", "locate", "placement key"),
    ):
        chain[name] = derive_key(f"cairn 2026-11 {context}", chain[source])
    chain["volume_public"] = ed25519_public(chain["signing_seed"])
    chain["volume"] = volume_id(chain["volume_public"])
    for name, value in chain.items():
        same(value.hex(), case[name])


def check_certificate(case):
    device, rights = read_certificate(field(case, "certificate"), field(case, "volume_public"))
    same([device.hex(), rights], [case["device"], case["rights"]])


def check_sealed(case):
    raw = open_block(field(case, "ref"), field(case, "block"), case["kind"])
    same(raw.hex(), case["raw"])
    key = parse_ref(field(case, "ref"))[1]
    chunk = chacha_open(key, bytes(12), field(case, "block"))
    same(keyed_hash(field(case, "convergence"), chunk), key)


def check_cuts_of_content(case):
    data = bytes(case["zeros"]) + split_mix(case["seed"], case["random"])
    lens = []
    while data:
        lens.append(next_cut(data))
        data = data[lens[-1]:]
    same(lens, case["chunks"])


def check_wrapped(case):
    same(unwrap(field(case, "key"), case["purpose"], field(case, "aad"), field(case, "wrapped")).hex(), case["secret"])


def check_pack(case):
    end = field(case, "end")
    blocks, at = read_directory(field(case, "keep"), case["class"], end)
    same(blocks, case["directory"])
    if "pack" not in case:
        return
    body, padding, used = b"", expand(field(case, "padding"), BODIES[case["class"]]), 0
    for (block, offset, _), sealed in zip(blocks + [[None, at, 0]], case["blocks"] + [end.hex()]):
        gap = offset - len(body)
        body += padding[used:used + gap] + bytes.fromhex(sealed)
        used += gap
        need(block is None or blake3(bytes.fromhex(sealed)).hex() == block, "other block")
    same([len(body), blake3(body).hex()], [BODIES[case["class"]], case["pack"]])


def check_descriptor(case):
    for name, value in read_descriptor(field(case, "descriptor")).items():
        same(value, case[name])


def check_shards(case):
    _, k, m = parse_code(case["code"])
    matrix = code_matrix(k, m)
    data = [list(bytes.fromhex(shard)) for shard in case["data"]]
    shards = data + [list(bytes.fromhex(shard)) for shard in case["parity"]]
    same(matrix_product(matrix, data), shards)
    every = list(itertools.combinations(range(k + m), k))
    # Of the largest code there are too many sets for this arithmetic.
    for have in every if len(every) < 100 else every[-5:]:
        inverse = matrix_inverse([matrix[n] for n in have])
        same(matrix_product(inverse, [shards[n] for n in have]), data)


def check_proof(case):
    length = case["groups"] * GROUP
    shard = expand(bytes([case["seed"]]), length)
    proof = field(case, "proof") + shard[case["taken"] * GROUP:][:GROUP]
    verify_proof(proof, field(case, "shard"), length, case["group"])


def check_hint(case):
    plain = unwrap(field(case, "dedup"), "dedup hint", field(case, "key"), field(case, "hint"))
    parse_ref(plain)
    same(plain.hex(), case["ref"])
    same(keyed_hash(field(case, "dedup"), field(case, "raw") + bytes([case["kind"]])).hex(), case["key"])


def check_head(case):
    head = read_head(field(case, "head"), field(case, "volume_public"), field(case, "read"))
    for name, value in head.items():
        same(value, case[name])


def check_epoch(case):
    epoch = read_epoch(field(case, "epoch"))
    if case["before"]:
        follow_epoch(epoch, read_epoch(field(case, "before")))
    else:
        need(epoch["circle"] == case["circle"] and epoch["number"] == 1, "not the first of this circle")
    for name, value in epoch.items():
        same(value, case[name])


def check_entry(case):
    same(read_entry(field(case, "value")), case["entry"])
    same((keyed_hash(field(case, "names"), case["name"].encode())[:7] + case["name"].encode()).hex(), case["key"])


def check_map_node(case):
    read_item = map_child if case["level"] else map_entry
    items = [item for item, _ in read_node(field(case, "node"), case["level"], read_item)]
    shown = [[part.hex() if isinstance(part, bytes) else part for part in item] for item in items]
    same(shown, case["children"] if case["level"] else case["entries"])
    same(sum(item[2] for item in items) if case["level"] else len(items), case["count"])


def check_file_node(case):
    read_item = file_child if case["level"] else file_extent
    items = [item for item, _ in read_node(field(case, "node"), case["level"], read_item)]
    allocated = sum(item[1] if case["level"] else item[0] * (item[2] is not None) for item in items)
    same([[length, at, ref and ref.hex()] for length, at, ref in items], case["items"])
    same([sum(item[0] for item in items), allocated], [case["bytes"], case["allocated"]])


def check_volume_root(case):
    same(read_volume_root(field(case, "bytes")), case["root"])


def check_volume(case):
    volume = Volume(case)
    head = read_head(field(case, "head"), field(case, "volume_public"), volume.read)
    volume.walk(head)
    same(volume.files, case["files"])


def check_shape(case):
    convergence, length = field(case, "convergence"), case["item_bytes"]
    stream = split_mix(case["seed"], length * case["items"])
    pieces = [stream[n:n + length] for n in range(0, len(stream), length)]
    if case["kind"] == 3:
        items = [(b"\x10\0\x08\0" + key + key[:8], hash_key(0, key), (key, 1)) for key in sorted(pieces)]
        found = build(convergence, 3, items, map_item_above)
    else:
        size = (1000).to_bytes(4, "little")
        items = [(b"\1" + size + bytes(4) + ref + size, hash_ref(ref, 1000 << 32), (1000, 1000)) for ref in pieces]
        found = build(convergence, 2, items, file_item_above)
    same([found[0].hex(), found[1], found[2]], [case["root"], case["level"], case["nodes"]])


# For each file what reads it, and whether its malformed vectors must be refused here too.
READERS = {
    "ids.json": (check_id, True),
    "refs.json": (check_ref, True),
    "keys.json": (check_keys, True),
    "certificates.json": (check_certificate, True),
    "sealed.json": (check_sealed, True),
    "cuts.json": (check_cuts_of_content, True),
    "wrapped.json": (check_wrapped, True),
    "packs.json": (check_pack, True),
    "descriptors.json": (check_descriptor, True),
    "shards.json": (check_shards, True),
    "proofs.json": (check_proof, True),
    "hints.json": (check_hint, True),
    "heads.json": (check_head, True),
    "circle.json": (check_epoch, True),
    "entries.json": (check_entry, False),
    "map_nodes.json": (check_map_node, False),
    "file_nodes.json": (check_file_node, False),
    "volume_roots.json": (check_volume_root, False),
    "volume.json": (check_volume, False),
    "shapes.json": (check_shape, False),
}


def main():
    read = refused = 0
    skipped = []
    for path in sorted(HERE.glob("*.json")):
        check, refuses = READERS[path.name]
        document = json.loads(path.read_text())
        for n, case in enumerate(document["valid"]):
            name = f"{path.name}: {case.get('name') or n}"
            try:
                check(case)
                read += 1
            except Skipped as reason:
                skipped.append(f"{name}: {reason}")
            except (Refused, KeyError, ValueError) as error:
                sys.exit(f"{name}: {type(error).__name__} {error}")
        for case in document["malformed"] if refuses else []:
            try:
                check(case)
            except Skipped as reason:
                skipped.append(f"{path.name}: {case['name']}: {reason}")
            except (Refused, ValueError):
                refused += 1
            else:
                sys.exit(f"{path.name}: {case['name']}: read, and should be refused as {case['error']}")
    for reason in skipped:
        print("skipped", reason)
    print(f"{read} vectors read, {refused} refused, {len(skipped)} skipped")


if __name__ == "__main__":
    main()
