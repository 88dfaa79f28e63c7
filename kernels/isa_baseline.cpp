// All kernels for any processor.
#define MEDURWKV_ISA baseline
#define MEDURWKV_LANES 4
#include "bi_wkv_tiles.inl"
#include "shift_mix.inl"
#include "wkv6.inl"

namespace medurwkv {

const TileKernels kTilesBaseline = {baseline::kLanes, baseline::forward_scratch,
                                    baseline::backward_scratch, baseline::forward,
                                    baseline::backward};

const ShiftMixKernels kShiftMixBaseline = {baseline::shift_mix_forward,
                                           baseline::shift_mix_backward};

const Wkv6Kernels kWkv6Baseline = {baseline::wkv6_forward, baseline::wkv6_backward};

}  // namespace medurwkv
