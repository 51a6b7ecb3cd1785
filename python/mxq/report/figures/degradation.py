"""The paper's Figure 3: perplexity against the bit budget, and what is lost against the memory saved."""
import statistics

from ..chart import Axis, Band, Chart, Line, Panel
from ..runs import by_method
from ..style import GREY
from .frontier import hover_of


def degradation(results, model, text, styles, slug):
    original = results.original(model)
    if original is None or not original.perplexity(text): return []
    base, size = original.perplexity(text), original.bytes
    by_bits, by_memory, places, values = [], [], [], []
    for method, of in by_method(results.of(model)).items():
        of = [run for run in of if run.perplexity(text)]
        if not of: continue
        hover = hover_of(of, text)
        places += [run.bits for run in of]
        values += [run.perplexity(text) for run in of]
        by_bits.append(Line(method, [run.bits for run in of], [run.perplexity(text) for run in of], hover=hover,
                            joined=len(of) > 1, **styles[method]))
        if size and all(run.bytes for run in of):
            by_memory.append(Line(method, [100 * (1 - run.bytes / size) for run in of],
                                  [100 * (run.perplexity(text) / base - 1) for run in of], hover=hover_of(of, text),
                                  joined=False, **styles[method]))
    if not places: return []
    ends = [min(places), max(places)]
    bands = [Band(f"within {share} %", ends, [base] * 2, [base * (1 + share / 100)] * 2, "#009E73", opacity)
             for share, opacity in ((2, 0.15), (1, 0.3))]
    line = Line("original", ends, [base] * 2, GREY, [f"original\nperplexity {base:.4g}"] * 2, dash="dash", marker="")
    # What came to pieces is left out of sight: the axes end at four times the median loss.
    worst = min(max(values), base * (1 + 4 * max(0.02, statistics.median(values) / base - 1)))
    log = worst > 5 * base
    span = (base * 0.98, worst) if log else (base - 0.04 * (worst - base), worst)
    panels = [Panel([*bands, line, *by_bits], Axis("bits per parameter"), Axis(f"perplexity on {text}", log, span))]
    if by_memory:
        lost = 100 * (worst / base - 1)
        panels.append(Panel(by_memory, Axis("memory saved against 16 bits, %"), Axis("perplexity gained, %", range=(-0.04 * lost, lost))))
    return [Chart(f"degradation-{slug}", f"Perplexity against the budget: {model}",
                  "Left: bands of 1 % and 2 % above the original. Right: the price of the memory saved, embedding included. What lost most "
                  "lies outside.", panels, columns=2, height=460)]
