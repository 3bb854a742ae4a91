//! x86-64 with AVX-512 F and BW. Tiles of 12 × 32: 24 sums, 2 weights and 1 input in 32 registers.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{Operation, Simd};

/// Proof that the CPU has AVX-512 F and BW, and AVX-512 VNNI where `VNNI` says so.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const VNNI: bool = false>(());

/// Proof that the CPU has AVX-512 VNNI too.
pub(crate) type Avx512Vnni = Avx512<true>;

impl<const VNNI: bool> Avx512<VNNI> {
    pub(super) fn detect() -> Option<Avx512<VNNI>> {
        let has_all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && (!VNNI || is_x86_feature_detected!("avx512vnni"));
        has_all.then_some(Avx512(()))
    }
}

impl<const VNNI: bool> Simd for Avx512<VNNI> {
    type V = __m512;
    type I = __m512i;
    type Plain = Avx512;

    const LANES: usize = 16;
    const TILE_ROWS: usize = 12;

    run_with!(VNNI: "avx512f,avx512bw", "avx512f,avx512bw,avx512vnni");

    #[inline(always)]
    fn plain(self) -> Avx512 {
        Avx512(())
    }

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

    #[inline(always)]
    unsafe fn load_f16(self, from: *const f16) -> __m512 {
        // SAFETY: the caller vouches for the memory, `self` for the instructions.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const bf16) -> __m512 {
        // SAFETY: the caller vouches for the memory, `self` for the instructions.
        unsafe {
            let widened = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(widened))
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, vector: __m512, to: *mut u8) {
        // SAFETY: the caller vouches for the memory, `self` for the instructions.
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(vector))) }
    }

    #[inline(always)]
    fn splat_int(self, value: i32) -> __m512i {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    unsafe fn load_int(self, from: *const i32) -> __m512i {
        // SAFETY: the caller vouches for the memory, `self` for the instruction.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    lanewise! { I I:
        sub_product(a, b, c) = _mm512_sub_epi32(a, _mm512_mullo_epi32(b, c));
        add_products(sums, x, w) = if VNNI {
            _mm512_dpbusd_epi32(sums, x, w)
        } else {
            let pairs = _mm512_maddubs_epi16(x, w);
            _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
        };
    }

    lanewise! { I V:
        to_floats(ints) = _mm512_cvtepi32_ps(ints);
    }
}
