"""ONNX models read by the wire format alone: what the tests of --format onnx look at."""
import struct
from pathlib import Path

TYPES = {1: "F32", 2: "U8", 6: "I32", 7: "I64", 10: "F16"}


def fields(data):
    """(number, value) of each field of a protobuf message: whole numbers, or bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        elif tag & 7 == 5:
            yield tag >> 3, data[at:at + 4]
            at += 4
        else:
            assert tag & 7 == 2, tag
            length = varint()
            yield tag >> 3, data[at:at + length]
            at += length


def all_of(data, number):
    return [value for field, value in fields(data) if field == number]


def one(data, number, usual=b""):
    return (all_of(data, number) or [usual])[-1]


def read_nodes(folder):
    """name -> (operator, inputs, {attribute: whole number})."""
    nodes = {}
    for node in all_of(one((Path(folder) / "model.onnx").read_bytes(), 7), 1):
        attributes = {one(a, 1).decode(): one(a, 3, None) for a in all_of(node, 5)}
        nodes[one(node, 3).decode()] = (one(node, 4).decode(), [i.decode() for i in all_of(node, 1)], attributes)
    return nodes


def read_initializers(folder):
    """name -> (dtype, shape, bytes), as support.read_safetensors; those whose bytes lie in other files."""
    tensors, files = {}, {}
    for tensor in all_of(one((Path(folder) / "model.onnx").read_bytes(), 7), 5):
        place = {one(entry, 1).decode(): one(entry, 2).decode() for entry in all_of(tensor, 13)}
        if not place:
            continue
        file = files.setdefault(place["location"], (Path(folder) / place["location"]).read_bytes())
        begin, length = int(place["offset"]), int(place["length"])
        assert begin + length <= len(file), place
        tensors[one(tensor, 8).decode()] = (TYPES[one(tensor, 2)], all_of(tensor, 1), file[begin:begin + length])
    return tensors


def dequantized(tensors, nodes, name):
    """The numbers of a matrix by MatMulNBits's definition: (code - 2^(bits - 1)) * scale, codes from the lowest bits on."""
    (attributes,) = {tuple(sorted(a.items())) for op, inputs, a in nodes.values() if op == "MatMulNBits" and inputs[1] == name + "_codes"}
    attributes = dict(attributes)
    bits, block = attributes["bits"], attributes["block_size"]
    _, (rows, blocks, blob), codes = tensors[name + "_codes"]
    _, shape, scales = tensors[name + "_scales"]
    assert (rows, blocks * block) == (attributes["N"], attributes["K"]) and blob * 8 == block * bits and shape == [rows, blocks]
    scales = struct.unpack(f"<{len(scales) // 2}e", scales)
    values = []
    for i in range(rows * blocks * block):
        code = codes[i * bits // 8] >> (i * bits % 8) & ((1 << bits) - 1)
        values.append((code - (1 << (bits - 1))) * scales[i // block])
    return values
