// How long things take.
#pragma once

#include <algorithm>
#include <chrono>

/// Of so many times.
template <typename Body>
double least_seconds(int repeat, const Body& body) {
  double least = 1e30;
  for (int r = 0; r < repeat; ++r) {
    const auto start = std::chrono::steady_clock::now();
    body();
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return least;
}
