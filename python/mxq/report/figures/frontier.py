"""What is lost at which size: the plans' frontier against uniform schemes, and every method on its own."""
from ..chart import MIB, Axis, Chart, Line, Panel
from ..runs import by_method
from ..style import GREY


def loss_of(runs, text):
    """How loss is read off a run, and what the axis says: KL divergence where there is one, else perplexity."""
    if any(run.kl(text) for run in runs):
        return (lambda run: run.kl(text)), f"KL divergence on {text}, nats a token"
    return (lambda run: run.perplexity(text)), f"perplexity on {text}"


def hover_of(runs, text):
    texts = []
    for run in runs:
        parts = [run.label, f"{run.bits:.4g} bits per parameter"]
        if run.bytes: parts.append(f"{run.bytes / MIB:.1f} MiB")
        if run.kl(text) is not None: parts.append(f"KL {run.kl(text):.4g}")
        if run.perplexity(text) is not None: parts.append(f"perplexity {run.perplexity(text):.4g}")
        texts.append("\n".join(parts))
    return texts


def frontier(results, model, text, styles, slug):
    loss, title = loss_of(results.of(model), text)
    runs = [run for run in results.of(model) if not run.is_original and run.bytes and loss(run)]
    uniform = sorted((run for run in runs if run.is_uniform), key=lambda run: (run.bytes, loss(run)))
    planned = [run for run in runs if not run.is_uniform]
    if not planned or not uniform: return []
    marks = []
    for method, of in by_method(run for run in runs if run.is_uniform).items():
        marks.append(Line(method, [run.bytes / MIB for run in of], [loss(run) for run in of], hover=hover_of(of, text), joined=False,
                          **styles[method]))
    best = []
    for run in uniform:
        if not best or loss(run) < loss(best[-1]): best.append(run)
    marks.append(Line("best uniform that fits", [run.bytes / MIB for run in best], [loss(run) for run in best], GREY,
                      hover_of(best, text), dash="dash", marker=""))
    for method, of in by_method(planned).items():
        marks.append(Line(method, [run.bytes / MIB for run in of], [loss(run) for run in of], hover=hover_of(of, text),
                          width=2.4, **styles[method]))
    panel = Panel(marks, Axis("all weight files, MiB"), Axis(title, log=True))
    return [Chart(f"frontier-{slug}", f"The frontier: {model}", "Lower and further left is better; every checkpoint was written and "
                  "scored. Points: one scheme for all matrices; dashed: the best of those within as many bytes. Lines: plans.", [panel], height=460)]


def size_of(runs):
    """How size is read off a run, and what the axis says: true bytes, unless nobody told them."""
    measures = [("all weight files, MiB", lambda run: run.bytes and run.bytes / MIB),
                ("quantized matrices, MiB", lambda run: run.metrics.get("matrix_bytes", 0) / MIB),
                ("bits per parameter, all metadata counted", lambda run: run.bits)]
    return next((size, title) for title, size in measures if any(size(run) for run in runs))


def methods(results, model, text, styles, slug):
    loss, title = loss_of(results.of(model), text)
    scored = [run for run in results.of(model) if not run.is_original and loss(run)]
    if not scored: return []
    size, measure = size_of(scored)
    runs = [run for run in scored if size(run)]
    marks = []
    for method, of in by_method(runs).items():
        of = sorted(of, key=size)
        marks.append(Line(method, [size(run) for run in of], [loss(run) for run in of], hover=hover_of(of, text), joined=len(of) > 1,
                          **styles[method]))
    panel = Panel(marks, Axis(measure), Axis(title, log=True))
    left_out = f" {len(scored) - len(runs)} runs are left out: their size is not known." if len(runs) < len(scored) else ""
    return [Chart(f"methods-{slug}", f"Loss against size, all methods: {model}",
                  "Lower and further left is better. Click a name to hide it, twice to see it alone." + left_out, [panel], height=520)]
