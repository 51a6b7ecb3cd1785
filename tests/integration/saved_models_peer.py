"""Models as transformers saves them, config.json and names of tensors included: logits of mxq are transformers' own.

    python saved_models_peer.py MXQ [ARCHITECTURE...]

Small random models with a seed (config_fields_peer.py). With transformers 5, in an environment of its own, each is
saved twice: under the names of published files, and under those that transformers 5 has in memory
(save_original_format=False). Fails where logits are apart by more than 2e-3 of the largest.
"""

import pathlib
import sys
import tempfile

import numpy
import torch
import transformers

from config_fields_peer import BASE, KINDS, NEWER_KINDS, TEXT, base_of, ours, random_model, write_tokenizer

BOUND = 2e-3
NEWER = int(transformers.__version__.split(".")[0]) >= 5


def made(kind):
    return random_model(transformers.AutoConfig.for_model(kind, **{"sliding_window": None, **BASE, **base_of(kind)}))


def main():
    mxq, wrong, tried = sys.argv[1], [], 0
    for kind in sys.argv[2:] or [*KINDS, *(NEWER_KINDS if NEWER else [])]:
        model = made(kind)
        for original in (True, False) if NEWER else (True,):
            with tempfile.TemporaryDirectory() as temporary:
                folder = pathlib.Path(temporary) / "model"
                model.save_pretrained(folder, **({"save_original_format": original} if NEWER else {}))
                ids = write_tokenizer(folder)
                (folder / "text.txt").write_text(TEXT)
                with torch.no_grad():
                    wanted = model(torch.tensor([ids]), use_cache=False).logits[0].double().numpy()
                got, message = ours(mxq, folder)
                distance = None
                if got is not None:
                    distance = float(numpy.abs(got - wanted[: len(got)]).max() / numpy.abs(wanted).max())
                good = distance is not None and distance < BOUND
                how = "" if original else ", under names of its own"
                print(f"{'   ' if good else '!! '}{kind}{how}: {message if distance is None else f'{distance:.1e}'}", flush=True)
                tried += 1
                if not good:
                    wrong.append(f"{kind}{how}")
    print(f"{tried} models saved by transformers {transformers.__version__}, {len(wrong)} wrong")
    if wrong or not tried:
        sys.exit("\n".join(["wrong:", *wrong]))


if __name__ == "__main__":
    main()
