// The tile kernels for any processor.
#define MEDURWKV_ISA baseline
#define MEDURWKV_LANES 4
#include "bi_wkv_tiles.inl"

namespace medurwkv {

const TileKernels kTilesBaseline = {baseline::kLanes, baseline::forward_scratch,
                                    baseline::backward_scratch, baseline::forward,
                                    baseline::backward};

}  // namespace medurwkv
