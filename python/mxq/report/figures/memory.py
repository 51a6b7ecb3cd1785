"""The paper's Figure 4: how large the weights are."""
from ..chart import MIB, Axis, Bars, Chart, Panel, evenly
from ..style import GREY

MOST = 48


def memory(results, model, styles, slug):
    runs = sorted((run for run in results.of(model) if run.bytes), key=lambda run: -run.bytes)
    if len(runs) < 2: return []
    shown = evenly(runs, MOST)
    marks = {}
    for place, run in enumerate(shown):
        name = "original, 16 bits" if run.is_original else run.method
        style = {"color": GREY} if run.is_original else styles.bars(run.method)
        bars = marks.setdefault(name, Bars(name, [], [], hover=[], **style))
        bars.x.append(place)
        bars.height.append(run.bytes / MIB)
        bars.hover.append(f"{run.label}\n{run.bytes / MIB:.1f} MiB\n{run.bytes / runs[0].bytes:.1%} of the largest")
    ticks = [(place, "16 bits" if run.is_original else run.config) for place, run in enumerate(shown)]
    thinned = "" if len(shown) == len(runs) else f" {MOST} of {len(runs)} runs, evenly by size."
    return [Chart(f"memory-{slug}", f"Size: {model}", "All weight files, what is not quantized included." + thinned,
                  [Panel(list(marks.values()), Axis(ticks=ticks), Axis("MiB", range=(0, runs[0].bytes / MIB * 1.05)))])]
