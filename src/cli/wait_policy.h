// How the threads of parallel loops are set up and wait for each other.
#pragma once

namespace mxq::cli {

/// GNU OpenMP reads variables of the environment when the program is loaded. This starts the program anew without those
/// that give threads stacks of another size, and with a short limit for spinning unless the user has set one: threads
/// that wait would spin for up to a millisecond, which takes the processor from the thread that they wait for wherever
/// something else runs too (docs/decisions/0004). Returns where that is not needed or not possible.
void settle_threads(char** argv);

}  // namespace mxq::cli
