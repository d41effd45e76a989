//! Products with codes.

use crate::kernels::float::portable;
use crate::kernels::level::neon;

/// See [`portable::multiply_symmetric`], with as many sums at a time as half of the registers hold.
/// `false` if nothing was done.
#[inline]
pub(crate) fn multiply_symmetric(
    matrix: &[f32],
    x: &[f32],
    support: &[u16],
    product: &mut [f32],
) -> bool {
    if neon() {
        portable::multiply_symmetric_tiled::<64>(matrix, x, support, product);
    }
    neon()
}
