// Scalar twins of the kernels of weight_rows.cc, which must give the same bits.
#include "kernels/weight_rows.h"

namespace mxq::ref {

void walsh_hadamard(float* x, int64_t n) {
  for (int64_t half = 1; half < n; half *= 2) {
    for (int64_t first = 0; first < n; first += 2 * half) {
      float *a = x + first, *b = a + half;
      for (int64_t i = 0; i < half; ++i) {
        const float sum = a[i] + b[i], difference = a[i] - b[i];
        a[i] = sum;
        b[i] = difference;
      }
    }
  }
}

double squared_distance(const float* a, const float* b, int64_t n) {
  double s[8] = {};
  for (int64_t i = 0; i < n; ++i) {
    const double error = double{a[i]} - double{b[i]};
    s[i % 8] = s[i % 8] + error * error;
  }
  return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

}  // namespace mxq::ref
