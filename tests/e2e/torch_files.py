"""Files as torch.save writes them, made with the standard library alone."""
import collections
import io
import math
import pickle
import zipfile

STORAGES = {"F64": ("DoubleStorage", 8), "F32": ("FloatStorage", 4), "F16": ("HalfStorage", 2), "BF16": ("BFloat16Storage", 2),
            "I64": ("LongStorage", 8), "U8": ("ByteStorage", 1)}


class Global:
    """What pickles as module.name; nothing of that name need be there."""

    known = {}

    def __init__(self, module, name):
        self.line = f"c{module}\n{name}\n".encode()

    def __call__(self):
        raise NotImplementedError("it is written, not called")


def named(module, name):
    return Global.known.setdefault((module, name), Global(module, name))


class Storage:
    def __init__(self, dtype, data):
        self.dtype, self.data = dtype, data


class Tensor:
    """A view of a storage."""

    def __init__(self, storage, shape, strides=None, offset=0):
        if strides is None: strides = [math.prod(shape[i + 1:]) for i in range(len(shape))]
        self.storage, self.shape, self.strides, self.offset = storage, tuple(shape), tuple(strides), offset

    def __reduce__(self):
        return (named("torch._utils", "_rebuild_tensor_v2"),
                (self.storage, self.offset, self.shape, self.strides, False, collections.OrderedDict()))


class Parameter:
    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce__(self):
        return named("torch._utils", "_rebuild_parameter"), (self.tensor, True, collections.OrderedDict())


class Called:
    """What pickles as a call of module.name."""

    def __init__(self, module, name, *arguments):
        self.module, self.name, self.arguments = module, name, arguments

    def __reduce__(self):
        return named(self.module, self.name), self.arguments


class Pickler(pickle._Pickler):
    """The one in Python, whose parts can be replaced."""

    def __init__(self, file, storages):
        super().__init__(file, protocol=2)
        self.storages = storages

    def save(self, obj, save_persistent_id=True):
        if not isinstance(obj, Global): return super().save(obj, save_persistent_id)
        if id(obj) in self.memo: return self.write(self.get(self.memo[id(obj)][0]))
        self.write(obj.line)
        self.memoize(obj)

    def persistent_id(self, obj):
        if not isinstance(obj, Storage): return None
        name, size = STORAGES[obj.dtype]
        key = self.storages.setdefault(id(obj), (str(len(self.storages)), obj))[0]
        return "storage", named("torch", name), key, "cpu", len(obj.data) // size


def pickled(value):
    """The pickle, and key -> storage."""
    file, storages = io.BytesIO(), {}
    Pickler(file, storages).dump(value)
    return file.getvalue(), {key: storage for key, storage in storages.values()}


def write_zip(path, data_pkl, storages=(), more=(), compression=zipfile.ZIP_STORED, byteorder=b"little"):
    """storages: key -> bytes; more: name -> bytes."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data_pkl)
        archive.writestr("archive/byteorder", byteorder)
        for key, data in dict(storages).items(): archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", b"3\n")
        for name, data in dict(more).items(): archive.writestr(name, data)


def write_torch(path, value):
    """torch.save(value, path)."""
    data, storages = pickled(value)
    write_zip(path, data, {key: storage.data for key, storage in storages.items()})


def transposed(data, rows, cols, size):
    """The bytes of a matrix, column by column."""
    return b"".join(data[(r * cols + c) * size:(r * cols + c + 1) * size] for c in range(cols) for r in range(rows))


def state_dict(tensors):
    """As a module has it; tensors: name -> (dtype, shape, bytes), as in support.write_safetensors()."""
    return collections.OrderedDict((name, Tensor(Storage(dtype, data), shape)) for name, (dtype, shape, data) in tensors.items())
