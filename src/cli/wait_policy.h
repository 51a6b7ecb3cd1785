// How the threads of parallel loops wait for each other.
#pragma once

namespace mxq::cli {

/// GNU OpenMP lets threads that wait spin for up to a millisecond, which takes the processor from the thread that they
/// wait for wherever something else runs too (docs/decisions/0004). Its limit is an environment variable that it
/// reads when the program is loaded, so this starts the program anew with a short one, unless the user has set one.
/// Returns where that is not needed or not possible.
void limit_spinning(char** argv);

}  // namespace mxq::cli
