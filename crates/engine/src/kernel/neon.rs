//! 64-bit ARM. Tiles of 12 × 8: 24 sums, 2 weights and 1 input in 32 registers.

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use super::{Operation, Simd};

/// Proof that the CPU has NEON.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    pub(super) fn detect() -> Option<Neon> {
        is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

impl Simd for Neon {
    type V = float32x4_t;
    type I = int32x4_t;
    type Plain = Self;

    const LANES: usize = 4;
    const TILE_ROWS: usize = 12;

    run_with!("neon");

    #[inline(always)]
    fn plain(self) -> Self {
        self
    }

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

    #[inline(always)]
    unsafe fn store_bytes(self, vector: float32x4_t, to: *mut u8) {
        // SAFETY: the caller vouches for the memory, `self` for the instructions.
        unsafe {
            let halves = vmovn_s32(vcvtq_s32_f32(vector));
            let bytes = vmovn_s16(vcombine_s16(halves, halves));
            to.cast::<i32>().write_unaligned(vget_lane_s32::<0>(vreinterpret_s32_s8(bytes)));
        }
    }

    #[inline(always)]
    fn splat_int(self, value: i32) -> int32x4_t {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { vdupq_n_s32(value) }
    }

    #[inline(always)]
    unsafe fn load_int(self, from: *const i32) -> int32x4_t {
        // SAFETY: the caller vouches for the memory, `self` for the instruction.
        unsafe { vld1q_s32(from) }
    }

    lanewise! { I I:
        sub_product(a, b, c) = vmlsq_s32(a, b, c);
        add_products(sums, x, w) = {
            let (x, w) = (vreinterpretq_s8_s32(x), vreinterpretq_s8_s32(w));
            let low = vmull_s8(vget_low_s8(x), vget_low_s8(w));
            vpadalq_s16(sums, vpaddq_s16(low, vmull_high_s8(x, w)))
        };
    }

    lanewise! { I V:
        to_floats(ints) = vcvtq_f32_s32(ints);
    }
}
