#include "schemes/gptq/gptq.h"

#include <gtest/gtest.h>
