//! x86-64 with AVX2 and FMA. Tiles of 6 × 16: 12 sums, 2 weights and 1 input in 16 registers.

use std::arch::x86_64::*;

use super::{Operation, Simd};

/// Proof that the CPU has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Avx2> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }
}

impl Simd for Avx2 {
    type V = __m256;

    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;

    run_with!("avx2,fma");

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: `self` proves that the CPU has AVX.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: the caller vouches for the memory, `self` for the instruction.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, vector: __m256, to: *mut f32) {
        // SAFETY: the caller vouches for the memory, `self` for the instruction.
        unsafe { _mm256_storeu_ps(to, vector) }
    }

    lanewise! {
        add(a, b) = _mm256_add_ps(a, b);
        sub(a, b) = _mm256_sub_ps(a, b);
        mul(a, b) = _mm256_mul_ps(a, b);
        div(a, b) = _mm256_div_ps(a, b);
        mul_add(a, b, c) = _mm256_fmadd_ps(a, b, c);
        // Both give their second operand where one is NaN.
        at_least(floor, x) = _mm256_max_ps(floor, x);
        at_most(ceiling, x) = _mm256_min_ps(ceiling, x);
        if_negative(x, then, otherwise) = {
            let negative = _mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_setzero_ps());
            _mm256_blendv_ps(otherwise, then, negative)
        };
        pow2(n) = {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        };
    }
}
