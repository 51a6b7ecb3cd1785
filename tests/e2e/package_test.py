"""Another program finds the installed library with find_package(mxq) and uses it."""
import os
import subprocess
import unittest
from pathlib import Path

from support import SANITIZED, MxqTest

CMAKE = """
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 20)
find_package(mxq REQUIRED)
add_executable(user main.cc)
target_link_libraries(user PRIVATE mxq::mxq)
"""

MAIN = """
#include <cstdio>
#include <vector>

#include <mxq/quantized_matrix.h>

int main() {
  std::vector<float> weights(64 * 128);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 17) - 8;
  const auto quantized = mxq::quantize_matrix({weights.data(), 64, 128}, {8, 32}, {});
  std::vector<float> back(weights.size());
  mxq::dequantize_matrix(quantized.view(), back.data());
  double worst = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double difference = weights[i] - back[i];
    worst = difference * difference > worst ? difference * difference : worst;
  }
  std::printf("%zu bytes, worst %g\\n", quantized.part("codes").size(), worst);
  return worst < 0.01 ? 0 : 1;
}
"""


@unittest.skipIf(SANITIZED, "a program that links a sanitized library must be sanitized itself")
class Package(MxqTest):
    def test_find_package(self):
        (self.folder / "CMakeLists.txt").write_text(CMAKE)
        (self.folder / "main.cc").write_text(MAIN)
        stage = Path(os.environ["MXQ_STAGE"])
        build = self.folder / "build"
        for command in (["cmake", "-S", self.folder, "-B", build, f"-DCMAKE_PREFIX_PATH={stage}"],
                        ["cmake", "--build", build], [build / "user"]):
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue(done.stdout.startswith("8192 bytes"), done.stdout)


if __name__ == "__main__":
    unittest.main()
