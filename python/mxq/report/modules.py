"""Names of matrices as layer and module."""
import re

NAME = re.compile(r"(?:.*?\.)?(\d+)\.(.+)")


def split_name(name):
    """Layer and module: (3, "mlp.up_proj"). None where a name has no layer."""
    found = NAME.fullmatch(name)
    return (int(found[1]), found[2]) if found else None


def short(module): return module.rsplit(".", 1)[-1].removesuffix("_proj").removesuffix("_tokens")
