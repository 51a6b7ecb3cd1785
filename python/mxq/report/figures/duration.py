"""The paper's Figure 5: how long quantizing takes."""
import math
import statistics

from ..chart import Axis, Bars, Chart, Panel
from ..runs import by_method


def duration(results, model, styles, slug):
    seconds = {}
    for method, runs in by_method(results.of(model)).items():
        took = [run.metrics["quantize_seconds"] for run in runs if run.metrics.get("quantize_seconds", 0) > 0]
        if took: seconds[method] = took
    if not seconds: return []
    marks = [Bars(method, [place], [statistics.median(took)], **styles.bars(method),
                  hover=[f"{method}\nmedian {statistics.median(took):.3g} s of {len(took)} runs\n{min(took):.3g} to {max(took):.3g} s"])
             for place, (method, took) in enumerate(seconds.items())]
    medians = [statistics.median(took) for took in seconds.values()]
    y = Axis("seconds, median", log=True, range=(10 ** math.floor(math.log10(min(medians))), max(medians) * 1.5))
    return [Chart(f"duration-{slug}", f"Time to quantize: {model}", "The whole command: measuring, sampling, calibrating, planning and "
                  "writing, as far as the method does it and no cache has it.",
                  [Panel(marks, Axis(ticks=list(enumerate(seconds))), y)], legend=False)]
