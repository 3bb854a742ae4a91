//! Any CPU: loops over small arrays, which the compiler turns into the vector instructions that every CPU of the
//! target has (SSE2 on x86-64). Tiles of 6 × 8, to fit 16 registers. Products and sums are rounded apart: `f32::mul_add`
//! without an instruction for it is a library call.

use half::f16;

use super::{Operation, Simd};

/// Needs no proof. The parameters are for tests, which try the shapes of kernels that their machine lacks.
#[derive(Clone, Copy)]
pub(crate) struct Portable<const LANES: usize = 4, const TILE_ROWS: usize = 6>;

/// A half that isn't infinite or NaN as a float. Its exponent is too small by 112 at first, which a product corrects; it
/// is exact for subnormal halves too.
#[inline(always)]
pub(super) fn widen(half: f16) -> f32 {
    let bits = u32::from(half.to_bits());
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

/// Writes lanewise methods of [`Simd`] as an expression over one lane: over floats, or from and to the vectors that are
/// named first.
macro_rules! each_lane {
    ($($name:ident($($arg:ident),+) = $lane:expr;)+) => {
        each_lane! { V V: $($name($($arg),+) = $lane;)+ }
    };
    ($of:ident $to:ident: $($name:ident($($arg:ident),+) = $lane:expr;)+) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Self::$of),+) -> Self::$to {
            let mut result = [Default::default(); LANES];
            for i in 0..LANES {
                $(let $arg = $arg[i];)+
                result[i] = $lane;
            }
            result
        }
    )+};
}

impl<const LANES: usize, const TILE_ROWS: usize> Simd for Portable<LANES, TILE_ROWS> {
    type V = [f32; LANES];
    type I = [i32; LANES];
    type Plain = Self;

    const LANES: usize = LANES;
    const TILE_ROWS: usize = TILE_ROWS;

    #[inline(never)]
    fn run<O: Operation>(self, operation: O) -> O::Output {
        operation.call(self)
    }

    #[inline(always)]
    fn plain(self) -> Self {
        self
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: the caller vouches for the memory; floats in it are aligned as an array of floats is.
        unsafe { from.cast::<Self::V>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, vector: Self::V, to: *mut f32) {
        // SAFETY: the caller vouches for the memory; floats in it are aligned as an array of floats is.
        unsafe { to.cast::<Self::V>().write(vector) }
    }

    each_lane! {
        add(a, b) = a + b;
        sub(a, b) = a - b;
        mul(a, b) = a * b;
        div(a, b) = a / b;
        mul_add(a, b, c) = a * b + c;
        at_least(floor, x) = if floor > x { floor } else { x };
        at_most(ceiling, x) = if ceiling < x { ceiling } else { x };
        if_negative(x, then, otherwise) = if x < 0.0 { then } else { otherwise };
        pow2(n) = f32::from_bits(((n as i32 + 127) as u32) << 23);
    }

    #[inline(always)]
    unsafe fn store_bytes(self, vector: Self::V, to: *mut u8) {
        // SAFETY: the caller vouches for the memory; bytes are aligned.
        unsafe { to.cast::<[u8; LANES]>().write(vector.map(|value| value as u8)) }
    }

    #[inline(always)]
    fn splat_int(self, value: i32) -> Self::I {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load_int(self, from: *const i32) -> Self::I {
        // SAFETY: the caller vouches for the memory.
        unsafe { from.cast::<Self::I>().read_unaligned() }
    }

    each_lane! { I I:
        sub_product(a, b, c) = a - b * c;
        add_products(sums, x, w) = {
            let (x, w) = (x.to_ne_bytes(), w.to_ne_bytes().map(|byte| byte as i8));
            let product = |i: usize| i32::from(x[i]) * i32::from(w[i]);
            sums + (product(0) + product(1)) + (product(2) + product(3))
        };
    }

    each_lane! { I V:
        to_floats(ints) = ints as f32;
    }
}
