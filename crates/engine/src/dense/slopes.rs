//! PReLU with a slope for each output, over rows that a layer has just stored: a pass of its own, so that layers without
//! slopes have nothing to do with them. It only multiplies, which every kernel rounds alike.

use crate::aligned::Aligned;
use crate::kernel::{Operation, Simd};

/// Rows of whole vectors, and the slopes of one row.
pub(super) struct PRelu<'a> {
    pub(super) slopes: &'a Aligned<f32>,
    pub(super) y: &'a mut [f32],
}

impl Operation for PRelu<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        for row in self.y.chunks_exact_mut(self.slopes.len()) {
            for (values, slopes) in row.chunks_exact_mut(S::LANES).zip(self.slopes.chunks_exact(S::LANES)) {
                let x = s.read(values);
                s.write(s.if_negative(x, s.mul(x, s.read(slopes)), x), values);
            }
        }
    }
}
