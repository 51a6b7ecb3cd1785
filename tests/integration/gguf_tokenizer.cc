// gguf_unpack MODEL OUT_FOLDER [--tokenizer]: a GGUF file as a Hugging Face folder with F32 weights; with --tokenizer
// only the tokenizer's files (also from vocabularies without tensors).
// For tokenizer_peer.py and gguf_peer.py. Exit 0, or 1 with the Error's line on stderr; notes go to stderr.
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <span>
#include <vector>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "format/safetensors_writer.h"
#include "model/config.h"
#include "model/model_source.h"
#include "model/tokenizer_files.h"
#include "mxq/error.h"

namespace {

void write_tokenizer(const mxq::GgufFile& file, const std::filesystem::path& folder) {
  const auto tokenizer = mxq::tokenizer_files(file);
  for (const auto& [name, text] : tokenizer.files) mxq::write_file(folder / name, text);
  for (const auto& note : tokenizer.notes) std::fprintf(stderr, "%s\n", note.c_str());
}

void write_weights(const mxq::ModelSource& model, const std::filesystem::path& folder) {
  mxq::write_file(folder / "config.json", mxq::hf_config_json(*model.config(), mxq::DType::f32));
  std::vector<mxq::TensorSpec> specs;
  for (const auto& tensor : model.tensors()) specs.push_back({tensor.name, mxq::DType::f32, tensor.shape});
  mxq::SafetensorsWriter writer(folder / "model.safetensors", specs, {{"format", "pt"}});
  for (const auto& tensor : model.tensors()) {
    std::vector<float> values(static_cast<size_t>(tensor.elements()));
    model.read(tensor, values.data());
    writer.write(std::as_bytes(std::span(values)));
    model.done(tensor);
  }
  writer.commit();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 && !(argc == 4 && std::strcmp(argv[3], "--tokenizer") == 0)) return 2;
  const std::filesystem::path folder = argv[2];
  try {
    std::filesystem::create_directories(folder);
    if (argc == 4) {
      const mxq::MappedFile file(argv[1]);
      write_tokenizer(mxq::parse_gguf(file.bytes(), argv[1]), folder);
    } else {
      const auto model = mxq::open_model(argv[1]);
      write_tokenizer(*model->gguf(), folder);
      write_weights(*model, folder);
    }
  } catch (const mxq::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
