// The tile kernels for x86-64 with AVX2 and FMA.
#define MEDURWKV_ISA avx2
#define MEDURWKV_LANES 8
#include "bi_wkv_tiles.inl"

namespace medurwkv {

const TileKernels kTilesAvx2 = {avx2::kLanes, avx2::forward_scratch,
                                avx2::backward_scratch, avx2::forward, avx2::backward};

}  // namespace medurwkv
