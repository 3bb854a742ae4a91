//! Activation and norm of a layer's first outputs, over rows that it has just stored: the others pass beside them, for a
//! layer behind it. A pass of its own, so that layers in which nothing passes have nothing to do with it.

use crate::NormPlace;
use crate::activation::Activation;
use crate::kernel::{MAX_LANES, Operation, Simd};
use crate::norm::{Normalize, PackedNorm};

/// What happens to the first outputs of each row.
pub(super) struct Beside<'a> {
    /// How many outputs there are before those that pass.
    pub(super) active: usize,
    pub(super) activation: Activation,
    pub(super) norm: Option<&'a PackedNorm>,
    /// Of a row, in whole vectors.
    pub(super) width: usize,
    pub(super) y: &'a mut [f32],
}

impl Operation for Beside<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        let Beside { active, activation, norm, width, y } = self;
        // The last vector may have both; what passes is put back.
        let (shared, whole) = (active / S::LANES * S::LANES, active.next_multiple_of(S::LANES));
        let mut kept = [0.0; MAX_LANES];
        for row in y.chunks_exact_mut(width) {
            kept[..whole - shared].copy_from_slice(&row[shared..whole]);
            let outputs = &mut row[..whole];
            match norm {
                None => activate(s, activation, outputs),
                Some(norm) if norm.place == NormPlace::BeforeActivation => {
                    Normalize { norm, activation, y: outputs }.call(s);
                }
                Some(norm) => {
                    activate(s, activation, outputs);
                    Normalize { norm, activation: Activation::Identity, y: outputs }.call(s);
                }
            }
            row[active..whole].copy_from_slice(&kept[active - shared..whole - shared]);
        }
    }
}

#[inline(always)]
fn activate<S: Simd>(s: S, activation: Activation, values: &mut [f32]) {
    for vector in values.chunks_exact_mut(S::LANES) {
        s.write(activation.eval(s, s.read(vector)), vector);
    }
}
