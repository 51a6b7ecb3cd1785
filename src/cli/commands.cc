#include "cli/commands.h"

namespace mxq::cli {

void add_commands(CLI::App& app, const CommonOptions& common) {
  add_inspect(app, common);
  add_measure(app, common);
  add_plan(app, common);
  add_quantize(app, common);
  add_dequantize(app, common);
  add_eval(app, common);
  add_generate(app, common);
  add_tokenize(app, common);
  add_bench(app, common);
  add_report(app);
}

}  // namespace mxq::cli
