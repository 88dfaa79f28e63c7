// All kernels for x86-64 with AVX-512.
#define MEDURWKV_ISA avx512
#define MEDURWKV_LANES 16
#include "bi_wkv_tiles.inl"
#include "shift_mix.inl"
#include "wkv6.inl"

namespace medurwkv {

const TileKernels kTilesAvx512 = {avx512::kLanes, avx512::forward_scratch,
                                  avx512::backward_scratch, avx512::forward,
                                  avx512::backward};

const ShiftMixKernels kShiftMixAvx512 = {avx512::shift_mix_forward,
                                         avx512::shift_mix_backward};

const Wkv6Kernels kWkv6Avx512 = {avx512::wkv6_forward, avx512::wkv6_backward};

}  // namespace medurwkv
