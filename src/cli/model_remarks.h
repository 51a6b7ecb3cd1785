// What a command says about the model that it was given.
#pragma once

#include "mxq/model.h"

namespace mxq::cli {

/// Logs the model's notes as warnings, and the fields of its configuration that nobody knows in one line of info.
void say_remarks(const Model& model);

}  // namespace mxq::cli
