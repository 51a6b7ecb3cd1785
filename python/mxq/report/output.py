"""Where reports are written: only over what mxq report wrote (docs/reference/report.md). src/base/written_files.h has the list's form."""
import os
import stat
import tempfile

from .runs import ReportError

LIST, FIRST_LINE = ".mxq-files", "mxq files 1"
MARKDOWN_END = "<!-- mxq report wrote this file, and writes over it -->\n"


def _kind(path):
    """None: nothing is there. Links are not followed."""
    try:
        return stat.S_IFMT(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _refuse(path, given, allowed): raise ReportError(f"write {path}: {given}; expected {allowed}")


def require_apart(path, inputs):
    """Refuses what is read, and what lies in a folder that is read. Inputs: pairs of a name and a path, or None."""
    for name, given in inputs:
        if given is None or not given.exists(): continue
        for place in (path, *path.absolute().parents) if given.is_dir() else (path,):
            if place.exists() and place.samefile(given):
                _refuse(path, f"it {'is' if place == path else 'is inside'} the {name} ({given})", "a place of its own")


def require_others(path, outputs):
    """Refuses what else is written, there already or not."""
    for other in outputs:
        if path.resolve() == other.resolve(): _refuse(path, f"the page is written to {other}", "a place of its own")


def write_whole(path, data):
    """Complete or not at all; the temporary name is nobody's."""
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:200]}.", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(partial, 0o666 & ~umask)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


class Folder:
    """A folder that files are added to. Its list says which are ours; what is not stays."""

    def __init__(self, path, names):
        """Refuses where one of the names is somebody else's; nothing is written before."""
        self.path, self.written = path, {}
        if _kind(path) is not None and not path.is_dir(): _refuse(path, "it is no folder", "a new name or a folder")
        if _kind(path / LIST) is not None: self._read()
        for name in names:
            kind, size = _kind(path / name), self.written.get(name)
            if kind is None: continue
            known = kind == stat.S_IFREG and size is not None and size in (-1, (path / name).stat().st_size)
            if not known: _refuse(path / name, "it is there, and not as mxq report wrote it", "another folder")
        path.mkdir(parents=True, exist_ok=True)
        for name in names: (path / name).parent.mkdir(exist_ok=True)
        # Whatever is killed from here on knows its own files again.
        self.written |= dict.fromkeys(names, -1)
        self._save()

    def _read(self):
        try:
            first, *lines = (self.path / LIST).read_text(encoding="utf-8").splitlines()
            if first != FIRST_LINE: raise ValueError(first)
            for line in lines:
                size, _, name = line.split(" ", 2)
                self.written[name] = int(size)
        except (OSError, ValueError):
            _refuse(self.path / LIST, "it is damaged, or not what mxq wrote", "another folder")

    def _save(self):
        lines = [FIRST_LINE, *(f"{size} - {name}" for name, size in sorted(self.written.items()))]
        write_whole(self.path / LIST, ("\n".join(lines) + "\n").encode())

    def write(self, name, data):
        write_whole(self.path / name, data)
        self.written[name] = len(data)

    def finish(self):
        self.written = {name: size for name, size in self.written.items() if size >= 0}
        self._save()


def require_own_markdown(path):
    kind = _kind(path)
    if kind is None: return
    if kind != stat.S_IFREG: _refuse(path, "it is no regular file", "a new name")
    text = path.read_bytes()
    if text and not text.endswith(MARKDOWN_END.encode()):
        _refuse(path, f"it is there, and mxq report did not write it (it does not end with {MARKDOWN_END.strip()})", "a new name")
