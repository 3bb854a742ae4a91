//! Any CPU: loops over small arrays, which the compiler turns into the vector instructions that every CPU of the
//! target has (SSE2 on x86-64). Tiles of 6 × 8, to fit 16 registers. Products and sums are rounded apart: `f32::mul_add`
//! without an instruction for it is a library call.

use super::{Operation, Simd};

/// Needs no proof. The parameters are for tests, which try the shapes of kernels that their machine lacks.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Portable<const LANES: usize = 4, const TILE_ROWS: usize = 6>;

/// Writes lanewise methods of [`Simd`] as an expression over one lane.
macro_rules! each_lane {
    ($($name:ident($($arg:ident),+) = $lane:expr;)+) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Self::V),+) -> Self::V {
            let mut result = [0.0; LANES];
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

    const LANES: usize = LANES;
    const TILE_ROWS: usize = TILE_ROWS;

    #[inline(never)]
    fn run<O: Operation>(self, operation: O) -> O::Output {
        operation.call(self)
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
}
