// A Python module that registers operators by being loaded, and carries build facts as string constants.
#pragma once
#include <Python.h>

#define CHEBLIENET_MODULE(name)                                                    \
  static int add_constants(PyObject* module);                                      \
  PyMODINIT_FUNC PyInit_##name(void) {                                             \
    static PyModuleDef def = {PyModuleDef_HEAD_INIT, #name, nullptr, -1, nullptr}; \
    PyObject* module = PyModule_Create(&def);                                      \
    if (module != nullptr && add_constants(module) < 0) {                          \
      Py_DECREF(module);                                                           \
      return nullptr;                                                              \
    }                                                                              \
    return module;                                                                 \
  }                                                                                \
  static int add_constants([[maybe_unused]] PyObject* module)
