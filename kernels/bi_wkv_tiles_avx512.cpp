// The tile kernels for x86-64 with AVX-512.
#define MEDURWKV_ISA avx512
#define MEDURWKV_LANES 16
#include "bi_wkv_tiles.inl"

namespace medurwkv {

const TileKernels kTilesAvx512 = {avx512::kLanes, avx512::forward_scratch,
                                  avx512::backward_scratch, avx512::forward,
                                  avx512::backward};

}  // namespace medurwkv
