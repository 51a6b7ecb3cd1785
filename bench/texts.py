#!/usr/bin/env python3
"""The parts of a text that models are scored on and calibrated with.

  texts.py FILE FOLDER    writes FOLDER/scored.txt (62 to 85 % of FILE), FOLDER/calibration.txt (85 to 100 %), which degrid.py did not distil
                          on, and FOLDER/unscored.txt (that and the first 60 %, which it did, for whoever calibrates many times)
"""
import pathlib, sys


def split(source, folder):
    text = source.read_text(encoding='utf-8')
    begin, end = (text.index('\n\n', int(len(text) * share)) + 2 for share in (0.62, 0.85))
    (folder / 'scored.txt').write_text(text[begin:end], encoding='utf-8')
    (folder / 'calibration.txt').write_text(text[end:], encoding='utf-8')
    (folder / 'unscored.txt').write_text(text[:text.index('\n\n', int(len(text) * 0.6))] + text[end:], encoding='utf-8')


if __name__ == '__main__':
    if len(sys.argv) != 3: sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    split(pathlib.Path(sys.argv[1]), folder)
