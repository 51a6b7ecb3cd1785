"""Splits a GGUF model by the gguf package and compares what mxq makes of the parts and of the whole.

    python gguf_split_peer.py MODEL.gguf MXQ

`MXQ dequantize` must write the same bytes from the first part, from a folder with the parts and from the whole file.
Later parts, missing ones and parts in the wrong order are refused by name. Exit 1 at the first difference.
"""

import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile

import gguf


def split(model: pathlib.Path, base: pathlib.Path, per_part: int) -> list[pathlib.Path]:
    reader = gguf.GGUFReader(model)
    writer = gguf.GGUFWriter(base, reader.fields["general.architecture"].contents(), split_max_tensors=per_part)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], sub_type)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(base.parent.glob(f"{base.stem}-*-of-*.gguf"))


def written(mxq: str, model: pathlib.Path, folder: pathlib.Path) -> dict[str, str]:
    """Hashes of the files that dequantizing writes."""
    subprocess.run([mxq, "dequantize", str(model), "-o", str(folder), "--quiet"], check=True, stdout=subprocess.DEVNULL)
    hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()
              if not file.name.startswith(".")}
    shutil.rmtree(folder)
    return hashes


def refused(mxq: str, model: pathlib.Path, *says: str) -> None:
    run = subprocess.run([mxq, "inspect", str(model)], capture_output=True, text=True)
    lines = run.stderr.splitlines()
    assert run.returncode == 1 and len(lines) == 1, run
    for text in says:
        assert text in lines[0], f"{lines[0]!r} does not say {text!r}"


def main() -> None:
    model, mxq = pathlib.Path(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "parts").mkdir()
        parts = split(model, folder / "parts" / "model.gguf", 100)
        assert len(parts) == 3, parts
        whole = written(mxq, model, folder / "out")
        for given in (parts[0], folder / "parts"):
            found = written(mxq, given, folder / "out")
            assert found == whole, {name for name in found | whole if found.get(name) != whole.get(name)}
        print(f"{len(whole)} files from {len(parts)} parts are those from the whole")

        refused(mxq, parts[1], "part 2 of 3", f"expected the first part, {parts[0]}")
        parts[2].rename(folder / "third")
        refused(mxq, parts[0], f"part 3 of 3 is missing: {parts[2]}")
        refused(mxq, folder / "parts", "1 are missing: number 3")
        parts[1].rename(parts[2])
        (folder / "third").rename(parts[1])
        refused(mxq, parts[0], parts[1].name, "part 3 of 3; expected part 2 of 3")
    print("later, missing and exchanged parts are refused by name")


if __name__ == "__main__":
    main()
