#include "export/stack_output.h"

#include <utility>

#include "format/weights.h"

namespace mxq {

namespace {

DType common_dtype(const ModelSource& model, const RestoredStack& stack) {
  const DType first = model.output_dtype(*stack.experts.front().front());
  for (const auto& parts : stack.experts) {
    for (const SourceTensor* part : parts) {
      if (model.output_dtype(*part) != first) return DType::f32;
    }
  }
  return first;
}

/// Puts a part's rows where the stack has them: row r of part p is row p + r * parts, or p * rows + r, of all.
void place(const RestoredStack& stack, size_t number, const SourceTensor& part, const std::vector<float>& values,
           std::vector<float>& slab) {
  const int64_t rows = part.rows(), cols = part.cols(), parts = std::ssize(stack.experts.front());
  const auto p = static_cast<int64_t>(number);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = stack.alternating ? p + r * parts : p * rows + r;
    for (int64_t k = 0; k < cols; ++k) {
      const int64_t at = stack.transposed ? k * rows * parts + row : row * cols + k;
      slab[static_cast<size_t>(at)] = values[static_cast<size_t>(r * cols + k)];
    }
  }
}

}  // namespace

OutputTensors stack_output(const ModelSource& model, const RestoredStack& stack, std::optional<DType> dtype,
                           std::vector<std::string>& notes) {
  const DType as = dtype.value_or(common_dtype(model, stack));
  OutputTensors output;
  output.specs = {{stack.stored_name, as, stack.shape, std::nullopt}};
  const auto& one = stack.experts.front();
  const int64_t slab_size = one.front()->elements() * std::ssize(one);
  output.work = slab_size * std::ssize(stack.experts);
  output.write = [&model, stack, as, slab_size, work = output.work, &notes](SafetensorsWriter& writer) {
    std::vector<float> slab(static_cast<size_t>(slab_size));
    std::vector<std::byte> bytes(static_cast<size_t>(dtype_bytes(as, slab_size)));
    int64_t zeros = 0;
    for (const auto& parts : stack.experts) {
      for (size_t p = 0; p < parts.size(); ++p) {
        const SourceTensor& part = *parts[p];
        std::vector<float> values(static_cast<size_t>(part.elements()));
        model.read(part, values.data());
        model.done(part);
        require_fit(part, 0, part.rows(), values.data(), as, zeros);
        place(stack, p, part, values, slab);
      }
      write_dtype(slab.data(), slab_size, as, bytes.data());
      writer.write(bytes);
    }
    note_zeros(stack.stored_name, zeros, work, as, notes);
  };
  return output;
}

}  // namespace mxq
