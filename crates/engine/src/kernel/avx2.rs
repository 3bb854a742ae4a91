//! x86-64 with AVX2, FMA and F16C. Tiles of 6 × 16: 12 sums, 2 weights and 1 input in 16 registers.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{Operation, Simd};

/// Proof that the CPU has AVX2, FMA and F16C, and AVX-VNNI where `VNNI` says so.
#[derive(Clone, Copy)]
pub(crate) struct Avx2<const VNNI: bool = false>(());

/// Proof that the CPU has AVX-VNNI too.
pub(crate) type AvxVnni = Avx2<true>;

impl<const VNNI: bool> Avx2<VNNI> {
    pub(super) fn detect() -> Option<Avx2<VNNI>> {
        let has_all = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && (!VNNI || is_x86_feature_detected!("avxvnni"));
        has_all.then_some(Avx2(()))
    }
}

impl<const VNNI: bool> Simd for Avx2<VNNI> {
    type V = __m256;
    type I = __m256i;
    type Plain = Avx2;

    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;

    run_with!(VNNI: "avx2,fma,f16c", "avx2,fma,f16c,avxvnni");

    #[inline(always)]
    fn plain(self) -> Avx2 {
        Avx2(())
    }

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

    #[inline(always)]
    unsafe fn load_f16(self, from: *const f16) -> __m256 {
        // SAFETY: the caller vouches for the memory, `self` for the instructions.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const bf16) -> __m256 {
        // SAFETY: the caller vouches for the memory, `self` for the instructions.
        unsafe {
            let widened = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(widened))
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, vector: __m256, to: *mut u8) {
        // SAFETY: the caller vouches for the memory, `self` for the instructions.
        unsafe {
            let ints = _mm256_cvtps_epi32(vector);
            let halves = _mm_packs_epi32(_mm256_castsi256_si128(ints), _mm256_extracti128_si256::<1>(ints));
            _mm_storel_epi64(to.cast(), _mm_packus_epi16(halves, halves));
        }
    }

    #[inline(always)]
    fn splat_int(self, value: i32) -> __m256i {
        // SAFETY: `self` proves that the CPU has AVX.
        unsafe { _mm256_set1_epi32(value) }
    }

    #[inline(always)]
    unsafe fn load_int(self, from: *const i32) -> __m256i {
        // SAFETY: the caller vouches for the memory, `self` for the instruction.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    lanewise! { I I:
        sub_product(a, b, c) = _mm256_sub_epi32(a, _mm256_mullo_epi32(b, c));
        add_products(sums, x, w) = if VNNI {
            _mm256_dpbusd_avx_epi32(sums, x, w)
        } else {
            let pairs = _mm256_maddubs_epi16(x, w);
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        };
    }

    lanewise! { I V:
        to_floats(ints) = _mm256_cvtepi32_ps(ints);
    }
}
