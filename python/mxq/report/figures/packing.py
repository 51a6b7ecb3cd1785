"""The paper's Figure 8: how the codes of a group are packed, drawn from a checkpoint's own bytes."""
from ..chart import Axis, Bars, Chart, Panel
from ..style import COLORS

SHOWN = 8  # codes: of 3 bits three whole bytes


def packing(group, slug):
    bits, shown = group.bits, min(SHOWN, len(group.codes))
    total = bits * shown
    colors = COLORS[:2]
    rows = []
    # From the top: bytes, their bits from the lowest, codes, weights.
    whole = (total + 7) // 8
    rows.append(Bars("bytes", [8 * i + 4 for i in range(whole)], [0.8] * whole, "#BBBBBB", [7.96] * whole, [3.1] * whole,
                     [f"byte {i}: 0x{group.bytes[i]:02X} = {group.bytes[i]:08b}" for i in range(whole)],
                     [f"byte {i}: 0x{group.bytes[i]:02X}" for i in range(whole)]))
    for parity in (0, 1):
        mine = [i for i in range(total) if i // bits % 2 == parity]
        bit = [group.bytes[i // 8] >> (i % 8) & 1 for i in mine]
        name = "even codes" if parity == 0 else "odd codes"
        rows.append(Bars(name, [i + 0.5 for i in mine], [0.8] * len(mine), colors[parity], [0.94] * len(mine), [2.1] * len(mine),
                         [f"bit {i % 8} of byte {i // 8}\nbit {i % bits} of code {i // bits}" for i in mine], [str(b) for b in bit]))
        codes = [j for j in range(shown) if j % 2 == parity]
        middles = [bits * (j + 0.5) for j in codes]
        rows.append(Bars(name, middles, [0.8] * len(codes), colors[parity], [bits - 0.06] * len(codes), [1.1] * len(codes),
                         [f"code {j}: {group.codes[j]}" for j in codes], [str(group.codes[j]) for j in codes]))
        rows.append(Bars("weights", middles, [0.8] * len(codes), "#BBBBBB", [bits - 0.06] * len(codes), [0.1] * len(codes),
                         [f"({group.codes[j]} - {group.zero:.4g}) * {group.scale:.4g}" for j in codes],
                         [f"{group.weights[j]:.3g}" for j in codes]))
    y = Axis(ticks=[(3.5, "bytes"), (2.5, "bits"), (1.5, "codes"), (0.5, "(code - z) s")], range=(0, 4))
    panel = Panel(rows, Axis("bit of the stream, least significant first", range=(0, 8 * whole),
                             ticks=[(8 * i, str(8 * i)) for i in range(whole + 1)]), y)
    return [Chart(f"packing-{slug}", f"A group, packed: {group.scheme}", f"The first {shown} of {group.size} codes of {group.matrix}: "
                  f"{bits} bits each, across the borders of bytes; z = {group.zero:.4g}, s = {group.scale:.4g} from 8-bit metadata "
                  "(before a rotation is undone).", [panel], height=300,
                  legend=False)]
