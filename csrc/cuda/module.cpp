// The CUDA kernels are a module of their own, loaded where the framework has CUDA: one wheel serves a CPU-only
// framework too.
#include "../python_module.h"

CHEBLIENET_MODULE(_C_cuda) {
  return PyModule_AddStringConstant(module, "ARCHITECTURES", CHEBLIENET_CUDA_ARCHITECTURES);
}
