//! The vector unit behind the engine.
//!
//! All arithmetic of the engine is written once, against the [`Simd`] trait; a kernel is an implementation of that
//! trait for one instruction set. Its type is a token: a value of it exists only where the CPU was seen to have the
//! instructions, so the arithmetic methods are safe to call. [`Simd::run`] compiles an [`Operation`] with the
//! instruction set enabled; everything that the operation calls must be `#[inline(always)]` to be part of it.

use std::fmt;

/// Writes lanewise methods of [`Simd`] as intrinsics.
macro_rules! lanewise {
    ($($name:ident($($arg:ident),+) = $intrinsics:expr;)+) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Self::V),+) -> Self::V {
            // SAFETY: the intrinsics touch no memory, and `self` proves that the CPU has them.
            unsafe { $intrinsics }
        }
    )+};
}

/// Writes [`Simd::run`] for a token type.
macro_rules! run_with {
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

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(super) use neon::Neon;
pub(super) use portable::Portable;

/// An instruction set that the engine has a kernel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// x86-64 with AVX-512F: 16 lanes, 32 registers.
    Avx512,
    /// x86-64 with AVX2 and FMA: 8 lanes, 16 registers.
    Avx2,
    /// 64-bit ARM: 4 lanes, 32 registers.
    Neon,
    /// Any CPU: 4 lanes of plain Rust that the compiler turns into what the target has.
    Portable,
}

impl Kernel {
    /// All, the faster ones first.
    pub const ALL: [Kernel; 4] = [Kernel::Avx512, Kernel::Avx2, Kernel::Neon, Kernel::Portable];

    /// The name, for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Kernel::Avx512 => "avx512",
            Kernel::Avx2 => "avx2",
            Kernel::Neon => "neon",
            Kernel::Portable => "portable",
        }
    }

    /// The kernel's proof that this machine can run it, if it can.
    pub(super) fn backend(self) -> Option<Backend> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => Avx512::detect().map(Backend::Avx512),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => Avx2::detect().map(Backend::Avx2),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => Neon::detect().map(Backend::Neon),
            Kernel::Portable => Some(Backend::Portable(Portable)),
            _ => None, // another architecture's
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
    Avx512(Avx512),
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
            Backend::Avx512(_) => Kernel::Avx512,
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
            Backend::Avx512(simd) => simd.run(operation),
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

/// The widest kernel's lanes.
pub(super) const MAX_LANES: usize = 16;

/// A vector unit: [`LANES`](Simd::LANES) floats at a time. The methods work lane by lane, with IEEE rounding.
pub(super) trait Simd: Copy {
    /// One vector register.
    type V: Copy;

    /// Floats in a vector, at most [`MAX_LANES`].
    const LANES: usize;

    /// Rows of the matrix tile two vectors wide: as many as keep its sums, two weights and an input in registers.
    const TILE_ROWS: usize;

    /// Runs `operation` with the instruction set enabled, as a call that is never inlined: so also the way to compile a
    /// hot loop once and apart from what surrounds it.
    fn run<O: Operation>(self, operation: O) -> O::Output;

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
