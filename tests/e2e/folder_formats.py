"""What the tests of file formats that are folders share (`quantize --format`)."""
import struct

from support import MxqTest, small_model

FAST = ("--objective", "rel", "--fit", "mse")  # weights alone
DOWN = ("--skip", "down_proj")  # of small_model(): 160 columns are no whole groups of 64


def header_bytes(path):
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    return 8 + length


class FolderFormatTest(MxqTest):
    FORMAT = ""

    def setUp(self):
        super().setUp()
        self.model, self.out = self.folder / "model", self.folder / "out"

    def quantize(self, *options):
        return self.mxq_json("quantize", self.model, "--format", self.FORMAT, *options, "-o", self.out)

    def refuses_options(self, *options, says, status=2):
        self.refuses("quantize", self.model, "--format", self.FORMAT, *options, "-o", self.out, status=status, says=says)

    def check_that_what_is_there_stays(self):
        small_model(self.model)
        quantize = ("quantize", self.model, "--format", self.FORMAT, "--uniform", "b4g32", "--fit", "mse", "-o", self.out)
        self.out.mkdir()
        (self.out / "notes.txt").write_text("mine")
        self.refuses(*quantize, status=2, says="out")
        self.refuses(*quantize, "--overwrite", status=2, says="holds 'notes.txt'")
        (self.out / "notes.txt").unlink()
        self.out.rmdir()
        self.mxq(*quantize)
        first = (self.out / "model.safetensors").read_bytes()
        self.refuses(*quantize, status=2, says="out")
        self.mxq(*quantize, "--overwrite")
        self.assertEqual((self.out / "model.safetensors").read_bytes(), first)
        self.refuses(*quantize[:-1], self.model, "--overwrite", status=2, says="model")
