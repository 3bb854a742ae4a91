//! The vector unit behind the engine.
//!
//! All arithmetic of the engine is written once, against the [`Simd`] trait; a kernel is an implementation of that
//! trait for one instruction set. Its type is a token: a value of it exists only where the CPU was seen to have the
//! instructions, so the arithmetic methods are safe to call. [`Simd::run`] compiles an [`Operation`] with the
//! instruction set enabled; everything that the operation calls must be `#[inline(always)]` to be part of it.

use std::fmt;

use half::{bf16, f16};

/// Writes lanewise methods of [`Simd`] as intrinsics: over floats, or from and to the vectors that are named first.
macro_rules! lanewise {
    ($($name:ident($($arg:ident),+) = $intrinsics:expr;)+) => {
        lanewise! { V V: $($name($($arg),+) = $intrinsics;)+ }
    };
    ($of:ident $to:ident: $($name:ident($($arg:ident),+) = $intrinsics:expr;)+) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Self::$of),+) -> Self::$to {
            // SAFETY: the intrinsics touch no memory, and `self` proves that the CPU has them.
            unsafe { $intrinsics }
        }
    )+};
}

/// Writes [`Simd::run`] for a token type, or for one with a parameter that says whether it has more features.
macro_rules! run_with {
    ($more:ident: $features:literal, $all_features:literal) => {
        #[inline(never)] // as below
        fn run<O: Operation>(self, operation: O) -> O::Output {
            #[target_feature(enable = $features)]
            fn enabled<S: Simd, O: Operation>(simd: S, operation: O) -> O::Output {
                operation.call(simd)
            }
            #[target_feature(enable = $all_features)]
            fn all_enabled<S: Simd, O: Operation>(simd: S, operation: O) -> O::Output {
                operation.call(simd)
            }
            // SAFETY: `self` proves that the CPU has these features.
            unsafe { if $more { all_enabled(self, operation) } else { enabled(self, operation) } }
        }
    };
    ($features:literal) => {
        #[inline(never)] // on the function with target features it would have no effect
        fn run<O: Operation>(self, operation: O) -> O::Output {
            #[target_feature(enable = $features)]
            fn enabled<S: Simd, O: Operation>(simd: S, operation: O) -> O::Output {
                operation.call(simd)
            }
            // SAFETY: `self` proves that the CPU has these features.
            unsafe { enabled(self, operation) }
        }
    };
}

/// Writes methods of [`Unfused`] that are those of the unit in it.
macro_rules! the_same {
    ($(fn $name:ident($($arg:ident: $type:ty),+) -> $result:ty;)+) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $type),+) -> $result {
            self.0.$name($($arg),+)
        }
    )+};
    ($(unsafe fn $name:ident($($arg:ident: $type:ty),+) -> $result:ty;)+) => {$(
        #[inline(always)]
        unsafe fn $name(self, $($arg: $type),+) -> $result {
            // SAFETY: the caller vouches for the memory.
            unsafe { self.0.$name($($arg),+) }
        }
    )+};
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::{Avx2, AvxVnni};
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::{Avx512, Avx512Vnni};
#[cfg(target_arch = "aarch64")]
pub(super) use neon::Neon;
pub(super) use portable::Portable;

/// An instruction set that the engine has a kernel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// [`Kernel::Avx512`] with the instruction for int8, AVX-512 VNNI.
    Avx512Vnni,
    /// x86-64 with AVX-512 F and BW: 16 lanes, 32 registers.
    Avx512,
    /// [`Kernel::Avx2`] with the instruction for int8, AVX-VNNI.
    AvxVnni,
    /// x86-64 with AVX2, FMA and F16C: 8 lanes, 16 registers.
    Avx2,
    /// 64-bit ARM: 4 lanes, 32 registers.
    Neon,
    /// Any CPU: 4 lanes of plain Rust that the compiler turns into what the target has.
    Portable,
}

impl Kernel {
    /// All, the faster ones first. [`Kernel::Portable`] is the last variant, so that a kernel that isn't listed here doesn't
    /// compile.
    pub const ALL: [Kernel; Kernel::Portable as usize + 1] =
        [Kernel::Avx512Vnni, Kernel::Avx512, Kernel::AvxVnni, Kernel::Avx2, Kernel::Neon, Kernel::Portable];

    /// The name, for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Kernel::Avx512Vnni => "avx512_vnni",
            Kernel::Avx512 => "avx512",
            Kernel::AvxVnni => "avx_vnni",
            Kernel::Avx2 => "avx2",
            Kernel::Neon => "neon",
            Kernel::Portable => "portable",
        }
    }

    /// The kernel's proof that this machine can run it, if it can.
    pub(super) fn backend(self) -> Option<Backend> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni => Avx512Vnni::detect().map(Backend::Avx512Vnni),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => Avx512::detect().map(Backend::Avx512),
            #[cfg(target_arch = "x86_64")]
            Kernel::AvxVnni => AvxVnni::detect().map(Backend::AvxVnni),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => Avx2::detect().map(Backend::Avx2),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => Neon::detect().map(Backend::Neon),
            Kernel::Portable => Some(Backend::Portable(Portable)),
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Avx512Vnni | Kernel::Avx512 | Kernel::AvxVnni | Kernel::Avx2 => None,
            #[cfg(not(target_arch = "aarch64"))]
            Kernel::Neon => None,
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kernels that this machine can run, the fastest first: that one is in use unless another is asked for
/// ([`Mlp::with_kernel`](super::Mlp::with_kernel)).
pub fn kernels() -> Vec<Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.backend().is_some()).collect()
}

/// A kernel that this machine can run.
#[derive(Clone, Copy)]
pub(super) enum Backend {
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512Vnni),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnni),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    Portable(Portable),
}

impl Backend {
    /// The fastest one. Cheap: the CPU is asked once per process.
    pub(super) fn best() -> Backend {
        Kernel::ALL.into_iter().find_map(Kernel::backend).unwrap_or(Backend::Portable(Portable))
    }

    pub(super) fn kernel(self) -> Kernel {
        match self {
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512Vnni(_) => Kernel::Avx512Vnni,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512(_) => Kernel::Avx512,
            #[cfg(target_arch = "x86_64")]
            Backend::AvxVnni(_) => Kernel::AvxVnni,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2(_) => Kernel::Avx2,
            #[cfg(target_arch = "aarch64")]
            Backend::Neon(_) => Kernel::Neon,
            Backend::Portable(_) => Kernel::Portable,
        }
    }

    /// Runs `operation` with this kernel.
    pub(super) fn run<O: Operation>(self, operation: O) -> O::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512Vnni(simd) => simd.run(operation),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512(simd) => simd.run(operation),
            #[cfg(target_arch = "x86_64")]
            Backend::AvxVnni(simd) => simd.run(operation),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2(simd) => simd.run(operation),
            #[cfg(target_arch = "aarch64")]
            Backend::Neon(simd) => simd.run(operation),
            Backend::Portable(simd) => simd.run(operation),
        }
    }
}

/// Work that is compiled once per kernel.
pub(super) trait Operation {
    type Output;

    /// Does the work. Implementations are `#[inline(always)]`: see the module.
    fn call<S: Simd>(self, simd: S) -> Self::Output;
}

/// A vector unit that rounds products before it adds to them. All that it does has the same bits on every kernel, as
/// long as nothing depends on the number of lanes: the layers before an int8 product run with it, whose rounding to 7
/// bits would make more of a difference in the last place.
#[derive(Clone, Copy)]
pub(super) struct Unfused<S>(pub(super) S);

impl<S: Simd> Simd for Unfused<S> {
    type V = S::V;
    type I = S::I;
    type Plain = Unfused<S::Plain>;

    const LANES: usize = S::LANES;
    const TILE_ROWS: usize = S::TILE_ROWS;

    fn run<O: Operation>(self, operation: O) -> O::Output {
        self.0.run(RunUnfused(operation))
    }

    #[inline(always)]
    fn plain(self) -> Unfused<S::Plain> {
        Unfused(self.0.plain())
    }

    #[inline(always)]
    fn mul_add(self, a: S::V, b: S::V, c: S::V) -> S::V {
        self.0.add(self.0.mul(a, b), c)
    }

    the_same! {
        fn splat(value: f32) -> S::V;
        fn add(a: S::V, b: S::V) -> S::V;
        fn sub(a: S::V, b: S::V) -> S::V;
        fn mul(a: S::V, b: S::V) -> S::V;
        fn div(a: S::V, b: S::V) -> S::V;
        fn at_least(floor: S::V, x: S::V) -> S::V;
        fn at_most(ceiling: S::V, x: S::V) -> S::V;
        fn if_negative(x: S::V, then: S::V, otherwise: S::V) -> S::V;
        fn pow2(n: S::V) -> S::V;
        fn splat_int(value: i32) -> S::I;
        fn sub_product(a: S::I, b: S::I, c: S::I) -> S::I;
        fn add_products(sums: S::I, x: S::I, w: S::I) -> S::I;
        fn to_floats(ints: S::I) -> S::V;
    }

    the_same! {
        unsafe fn load(from: *const f32) -> S::V;
        unsafe fn store(vector: S::V, to: *mut f32) -> ();
        unsafe fn load_f16(from: *const f16) -> S::V;
        unsafe fn load_bf16(from: *const bf16) -> S::V;
        unsafe fn store_bytes(vector: S::V, to: *mut u8) -> ();
        unsafe fn load_int(from: *const i32) -> S::I;
    }
}

/// An operation that is to run with [`Unfused`].
struct RunUnfused<O>(O);

impl<O: Operation> Operation for RunUnfused<O> {
    type Output = O::Output;

    #[inline(always)]
    fn call<S: Simd>(self, s: S) -> O::Output {
        self.0.call(Unfused(s))
    }
}

/// The widest kernel's lanes.
pub(super) const MAX_LANES: usize = 16;

/// A vector unit: [`LANES`](Simd::LANES) floats at a time. The methods work lane by lane, with IEEE rounding.
pub(super) trait Simd: Copy {
    /// One vector register.
    type V: Copy;

    /// The same of whole numbers: as many i32.
    type I: Copy;

    /// The unit without what only int8 products use: all else is compiled for that one, once for both.
    type Plain: Simd<V = Self::V, I = Self::I>;

    /// Floats in a vector, at most [`MAX_LANES`].
    const LANES: usize;

    /// Rows of the matrix tile two vectors wide: as many as keep its sums, two weights and an input in registers.
    const TILE_ROWS: usize;

    /// Runs `operation` with the instruction set enabled, as a call that is never inlined: so also the way to compile a
    /// hot loop once and apart from what surrounds it.
    fn run<O: Operation>(self, operation: O) -> O::Output;

    /// The unit without what only int8 products use.
    fn plain(self) -> Self::Plain;

    /// `value` in every lane.
    fn splat(self, value: f32) -> Self::V;

    /// Reads a vector.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` floats; it need not be aligned.
    unsafe fn load(self, from: *const f32) -> Self::V;

    /// Writes a vector.
    ///
    /// # Safety
    /// `to` is valid for writing `LANES` floats; it need not be aligned.
    unsafe fn store(self, vector: Self::V, to: *mut f32);

    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;

    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;

    /// `a · b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;

    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;

    /// `a · b + c`, rounded once where the instruction set can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// The larger one; NaN where `x` is NaN. `floor` is not NaN.
    fn at_least(self, floor: Self::V, x: Self::V) -> Self::V;

    /// The smaller one; NaN where `x` is NaN. `ceiling` is not NaN.
    fn at_most(self, ceiling: Self::V, x: Self::V) -> Self::V;

    /// `then` where `x < 0`, else `otherwise`; so `otherwise` where `x` is NaN.
    fn if_negative(self, x: Self::V, then: Self::V, otherwise: Self::V) -> Self::V;

    /// 2ⁿ for whole numbers `n` from -126 to 127; any value where `n` is NaN.
    fn pow2(self, n: Self::V) -> Self::V;

    /// Reads a vector of halves, which aren't infinite or NaN, into floats.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` halves; it need not be aligned to more than these.
    #[inline(always)]
    unsafe fn load_f16(self, from: *const f16) -> Self::V {
        // SAFETY: the caller vouches for the memory.
        unsafe { self.load_each(from, portable::widen) }
    }

    /// Reads a vector of bfloat16s into floats.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` of them; it need not be aligned to more than these.
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const bf16) -> Self::V {
        // SAFETY: the caller vouches for the memory.
        unsafe { self.load_each(from, |value| f32::from_bits(u32::from(value.to_bits()) << 16)) }
    }

    /// Reads a vector of other values, each turned into a float.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` of them.
    #[inline(always)]
    unsafe fn load_each<T: Copy>(self, from: *const T, widen: impl Fn(T) -> f32) -> Self::V {
        let mut floats = [0.0; MAX_LANES];
        for (lane, float) in floats[..Self::LANES].iter_mut().enumerate() {
            // SAFETY: the caller vouches for the memory.
            *float = widen(unsafe { from.add(lane).read() });
        }
        self.read(&floats)
    }

    /// Writes floats that are whole numbers from 0 to 127 as bytes.
    ///
    /// # Safety
    /// `to` is valid for writing `LANES` bytes.
    unsafe fn store_bytes(self, vector: Self::V, to: *mut u8);

    /// `value` in every lane.
    fn splat_int(self, value: i32) -> Self::I;

    /// Reads a vector of whole numbers.
    ///
    /// # Safety
    /// `from` is valid for reading `4 · LANES` bytes; it need not be aligned.
    unsafe fn load_int(self, from: *const i32) -> Self::I;

    /// `a - b · c`; none of it leaves i32.
    fn sub_product(self, a: Self::I, b: Self::I, c: Self::I) -> Self::I;

    /// `sums` plus, in each lane, the four products of a byte of `x`, from 0 to 127, and one of `w`, signed. Exact: no
    /// two products of such bytes leave i16, and the caller sees to it that the sums stay in i32.
    fn add_products(self, sums: Self::I, x: Self::I, w: Self::I) -> Self::I;

    /// The nearest floats.
    fn to_floats(self, ints: Self::I) -> Self::V;

    /// The first `LANES` floats of `from`, which must have them.
    #[inline(always)]
    fn read(self, from: &[f32]) -> Self::V {
        assert!(from.len() >= Self::LANES);
        // SAFETY: the slice is long enough.
        unsafe { self.load(from.as_ptr()) }
    }

    /// Writes to the first `LANES` floats of `to`, which must have them.
    #[inline(always)]
    fn write(self, vector: Self::V, to: &mut [f32]) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: the slice is long enough.
        unsafe { self.store(vector, to.as_mut_ptr()) }
    }
}
