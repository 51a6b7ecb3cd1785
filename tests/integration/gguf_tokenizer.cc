// gguf_tokenizer MODEL OUT_FOLDER: the tokenizer's files that mxq rebuilds from a GGUF file, also from a vocabulary
// without tensors. For tokenizer_peer.py. Exit 0, or 1 with the Error's line on stderr; notes go to stderr.
#include <cstdio>
#include <filesystem>

#include "base/mapped_file.h"
#include "format/gguf.h"
#include "model/tokenizer_files.h"
#include "mxq/error.h"
#include "mxq/files.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::filesystem::path folder = argv[2];
  try {
    std::filesystem::create_directories(folder);
    const mxq::MappedFile file(argv[1]);
    const auto tokenizer = mxq::tokenizer_files(mxq::parse_gguf(file.bytes(), argv[1]));
    for (const auto& [name, text] : tokenizer.files) mxq::write_file(folder / name, text);
    for (const auto& note : tokenizer.notes) std::fprintf(stderr, "%s\n", note.c_str());
  } catch (const mxq::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
