#include "base/staged_folder.h"
#include "base/written_files.h"
#include "export/target.h"

namespace mxq {

void FolderTarget::check_output(const OutputPlace& out) const {
  OutputFolder(out.path, out.overwrite, out.inputs);
}

void FolderTarget::rename(const std::filesystem::path& made, const OutputPlace& out) const {
  replace_folder(made, OutputFolder(out.path, out.overwrite, out.inputs));
}

void FolderTarget::remove(const std::filesystem::path& made) const noexcept {
  remove_written(sibling(made, "partial"));
  remove_written(made);
}

}  // namespace mxq
