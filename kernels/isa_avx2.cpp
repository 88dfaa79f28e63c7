// All kernels for x86-64 with AVX2 and FMA.
#define MEDURWKV_ISA avx2
#define MEDURWKV_LANES 8
#include "bi_wkv_tiles.inl"
#include "shift_mix.inl"
#include "wkv6.inl"

namespace medurwkv {

const TileKernels kTilesAvx2 = {avx2::kLanes, avx2::forward_scratch,
                                avx2::backward_scratch, avx2::forward, avx2::backward};

const ShiftMixKernels kShiftMixAvx2 = {avx2::shift_mix_forward,
                                       avx2::shift_mix_backward};

const Wkv6Kernels kWkv6Avx2 = {avx2::wkv6_forward, avx2::wkv6_backward};

}  // namespace medurwkv
