//! x86-64 with AVX-512F. Tiles of 12 × 32: 24 sums, 2 weights and 1 input in 32 registers.

use std::arch::x86_64::*;

use super::{Operation, Simd};

/// Proof that the CPU has AVX-512F.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Avx512> {
        is_x86_feature_detected!("avx512f").then_some(Avx512(()))
    }
}

impl Simd for Avx512 {
    type V = __m512;

    const LANES: usize = 16;
    const TILE_ROWS: usize = 12;

    run_with!("avx512f");

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: the caller vouches for the memory, `self` for the instruction.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, vector: __m512, to: *mut f32) {
        // SAFETY: the caller vouches for the memory, `self` for the instruction.
        unsafe { _mm512_storeu_ps(to, vector) }
    }

    lanewise! {
        add(a, b) = _mm512_add_ps(a, b);
        sub(a, b) = _mm512_sub_ps(a, b);
        mul(a, b) = _mm512_mul_ps(a, b);
        div(a, b) = _mm512_div_ps(a, b);
        mul_add(a, b, c) = _mm512_fmadd_ps(a, b, c);
        // Both give their second operand where one is NaN.
        at_least(floor, x) = _mm512_max_ps(floor, x);
        at_most(ceiling, x) = _mm512_min_ps(ceiling, x);
        if_negative(x, then, otherwise) = {
            let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_setzero_ps());
            _mm512_mask_blend_ps(negative, otherwise, then)
        };
        pow2(n) = {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        };
    }
}
