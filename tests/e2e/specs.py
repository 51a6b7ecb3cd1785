"""Experiment specs, as the TOML text that `mxq bench` reads."""
import json


def section(heading, fields):
    """One table; strings, numbers, lists and truth values have the same form in JSON and TOML."""
    return f"[{heading}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())


def spec(models, methods, texts=(), metrics=None, store=None):
    """Each of `models`, `methods` and `texts` a dict of keys, or a list of them."""
    text = "" if store is None else f"store = {json.dumps(str(store))}\n"
    for heading, tables in (("models", models), ("texts", texts), ("methods", methods)):
        for fields in [tables] if isinstance(tables, dict) else tables:
            text += section(f"[{heading}]", fields)
    return text + (section("metrics", metrics) if metrics else "")


def wikitext(**more):
    """Windows that a small model takes in no time."""
    return {"name": "wikitext", "path": "text", "window": 64, "stride": 64, **more}


ORIGINAL = {"name": "original", "original": True}
#: One run of what takes no time.
ROUNDED = {"name": "x", "fit": "rtn", "uniform": ["b4g32"]}
