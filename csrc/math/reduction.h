// How gather_reduce combines members, and the order in which a maximum prefers them: the first of equal values wins, a
// NaN beats every number, as in torch.max.
#pragma once
#include "host_device.h"

namespace cheblienet {

enum class Reduction { max, avg, rand };

template <class T>
CHEBLIENET_HD bool beats(T candidate, T best) {
  return candidate > best || (candidate != candidate && best == best);
}

}  // namespace cheblienet
