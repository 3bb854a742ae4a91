//! Layer normalisation of rows that a layer has just stored.
//!
//! A row's sums run in [`MAX_LANES`] parts whatever the kernel's vectors are, and are never fused: so all kernels give
//! the same bits for the same row.

use super::aligned::Aligned;
use super::dense::padded;
use super::kernel::{MAX_LANES, Operation, Simd};
use super::{Activation, Norm, NormPlace};

/// A [`Norm`] with its vectors padded to whole ones.
pub(super) struct PackedNorm {
    outputs: usize,
    scale: Aligned<f32>,
    shift: Aligned<f32>,
    epsilon: f32,
    pub(super) place: NormPlace,
}

impl PackedNorm {
    /// Pads a norm, whose vectors have the same length, to vectors of `lanes` floats.
    pub(super) fn pack(norm: &Norm, lanes: usize) -> PackedNorm {
        PackedNorm {
            outputs: norm.scale.len(),
            scale: padded(&norm.scale, lanes),
            shift: padded(&norm.shift, lanes),
            epsilon: norm.epsilon,
            place: norm.place,
        }
    }
}

/// Normalises rows of whole vectors, and then applies an activation to them.
pub(super) struct Normalize<'a> {
    pub(super) norm: &'a PackedNorm,
    pub(super) activation: Activation,
    /// Rows × the outputs rounded up to whole vectors.
    pub(super) y: &'a mut [f32],
}

impl Operation for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        let PackedNorm { outputs, scale, shift, epsilon, .. } = self.norm;
        for row in self.y.chunks_exact_mut(scale.len()) {
            let values = &row[..*outputs];
            let mean = sum(s, values, 0.0, |x| x) / *outputs as f32;
            let mean_of_all = s.splat(mean);
            let variance = sum(s, values, mean, |x| {
                let difference = s.sub(x, mean_of_all);
                s.mul(difference, difference)
            }) / *outputs as f32;
            let factor = s.splat(1.0 / (variance + epsilon).sqrt());
            let vectors = row.chunks_exact_mut(S::LANES);
            let parameters = scale.chunks_exact(S::LANES).zip(shift.chunks_exact(S::LANES));
            for (vector, (scale, shift)) in vectors.zip(parameters) {
                let normal = s.mul(s.sub(s.read(vector), mean_of_all), factor);
                let y = s.add(s.mul(normal, s.read(scale)), s.read(shift));
                s.write(self.activation.eval(s, y), vector);
            }
        }
    }
}

/// Adds up a function of the values, which is 0 at `padding`.
#[inline(always)]
fn sum<S: Simd>(s: S, values: &[f32], padding: f32, of: impl Fn(S::V) -> S::V) -> f32 {
    const FEWEST_LANES: usize = 4;
    let mut parts = [s.splat(0.0); MAX_LANES / FEWEST_LANES];
    let mut add = |values: &[f32]| {
        for (part, vector) in parts.iter_mut().zip(values.chunks_exact(S::LANES)) {
            *part = s.add(*part, of(s.read(vector)));
        }
    };
    let (whole, rest) = values.as_chunks::<MAX_LANES>();
    whole.iter().for_each(|values| add(values));
    let mut padded = [padding; MAX_LANES];
    padded[..rest.len()].copy_from_slice(rest);
    add(&padded);

    let mut lanes = [0.0; MAX_LANES];
    lanes.chunks_exact_mut(S::LANES).zip(parts).for_each(|(to, part)| s.write(part, to));
    let mut width = MAX_LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
    }
    lanes[0]
}
