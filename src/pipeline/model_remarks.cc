#include "mxq/model_remarks.h"

#include "model/model_source.h"

namespace mxq {

ModelRemarks model_remarks(const std::filesystem::path& path) {
  const auto model = open_model(path);
  ModelRemarks remarks;
  remarks.notes = model->notes();
  if (model->config()) remarks.unknown_fields = model->config()->unknown_fields;
  return remarks;
}

}  // namespace mxq
