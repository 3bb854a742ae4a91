//! 64-bit ARM. Tiles of 12 × 8: 24 sums, 2 weights and 1 input in 32 registers.

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use super::{Operation, Simd};

/// Proof that the CPU has NEON.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Neon(());

impl Neon {
    pub(super) fn detect() -> Option<Neon> {
        is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

impl Simd for Neon {
    type V = float32x4_t;

    const LANES: usize = 4;
    const TILE_ROWS: usize = 12;

    run_with!("neon");

    #[inline(always)]
    fn splat(self, value: f32) -> float32x4_t {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> float32x4_t {
        // SAFETY: the caller vouches for the memory, `self` for the instruction.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(self, vector: float32x4_t, to: *mut f32) {
        // SAFETY: the caller vouches for the memory, `self` for the instruction.
        unsafe { vst1q_f32(to, vector) }
    }

    lanewise! {
        add(a, b) = vaddq_f32(a, b);
        sub(a, b) = vsubq_f32(a, b);
        mul(a, b) = vmulq_f32(a, b);
        div(a, b) = vdivq_f32(a, b);
        mul_add(a, b, c) = vfmaq_f32(c, a, b);
        // Both give NaN where one is NaN.
        at_least(floor, x) = vmaxq_f32(floor, x);
        at_most(ceiling, x) = vminq_f32(ceiling, x);
        if_negative(x, then, otherwise) = vbslq_f32(vcltq_f32(x, vdupq_n_f32(0.0)), then, otherwise);
        pow2(n) = {
            let biased = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        };
    }
}
