//! Vectors of exp, logistic, tanh and the normal distribution: polynomials, with their error bounds.
//!
//! Errors are relative to the exact value at the f32 `x`, in units of ε = 2⁻²³ (the distance from 1 to the next f32);
//! absolute errors up to 1e-36, where f32 runs out of exponents, don't count. The tests hold every kernel to the bounds,
//! here and of the activations. NaN gives NaN; infinities give the limit.

use super::kernel::Simd;

/// eˣ. Error ≤ 1.5 ε; +∞ above 88.72, 0 below -103.97.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    // Beyond these the result is 0 or +∞ anyway; inside, n stays in -150..=128.
    let x = s.at_most(s.splat(89.0), s.at_least(s.splat(-104.0), x));
    let (n, tail) = reduce(s, x);
    // 2ⁿ in two factors: n may lie outside the exponents of one f32.
    let half = round(s, s.mul(n, s.splat(0.5)));
    let mantissa = s.add(s.splat(1.0), tail);
    s.mul(s.mul(mantissa, s.pow2(half)), s.pow2(s.sub(n, half)))
}

/// eˣ - 1 for x ≤ 88, without cancellation near 0. Error ≤ 2 ε.
#[inline(always)]
pub(super) fn exp_m1<S: Simd>(s: S, x: S::V) -> S::V {
    // Below -18 the result rounds to -1.
    let x = s.at_least(s.splat(-18.0), x);
    let (n, tail) = reduce(s, x);
    let scale = s.pow2(n);
    s.mul_add(scale, tail, s.sub(scale, s.splat(1.0)))
}

/// 1 / (1 + e⁻ˣ). Error ≤ 2.5 ε.
#[inline(always)]
pub(super) fn logistic<S: Simd>(s: S, x: S::V) -> S::V {
    // Written with e^-|x|, which neither overflows nor cancels: e^x / (1 + e^x) on the left of 0.
    let one = s.splat(1.0);
    let e = exp(s, s.if_negative(x, x, s.sub(s.splat(0.0), x)));
    s.div(s.if_negative(x, e, one), s.add(one, e))
}

/// tanh x = (e²ˣ - 1) / (e²ˣ + 1). Error ≤ 3 ε.
#[inline(always)]
pub(super) fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    // Beyond ±10 the result rounds to ±1.
    let x = s.at_most(s.splat(10.0), s.at_least(s.splat(-10.0), x));
    let e = exp_m1(s, s.add(x, x));
    s.div(e, s.add(e, s.splat(2.0)))
}

/// ln(1 + eˣ). Error ≤ 3.5 ε.
#[inline(always)]
pub(super) fn softplus<S: Simd>(s: S, x: S::V) -> S::V {
    // ln(1 + e) = 2 artanh t with t = e / (2 + e), at most 1/3: the terms that its series ends before are below 2e-9 of it.
    const SERIES: [f32; 8] = [2.0 / 15.0, 2.0 / 13.0, 2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0, 2.0];

    let zero = s.splat(0.0);
    let e = exp(s, s.if_negative(x, x, s.sub(zero, x)));
    let t = s.div(e, s.add(s.splat(2.0), e));
    s.mul_add(t, polynomial(s, s.mul(t, t), &SERIES), s.at_least(zero, x))
}

/// tanh(ln(1 + eˣ)) and its derivative. Error of the former ≤ 3.5 ε; absolute error of the latter ≤ 4 ε.
///
/// With w = 1 + eˣ it is (w² - 1) / (w² + 1) and its derivative is 4 eˣ w / (w² + 1)²; on the right of 0 all are
/// multiplied by e^(-2x), so that nothing overflows.
#[inline(always)]
pub(super) fn tanh_softplus<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let (one, two) = (s.splat(1.0), s.splat(2.0));
    let e = exp(s, s.if_negative(x, x, s.sub(s.splat(0.0), x)));
    let above = s.if_negative(x, s.mul(e, s.add(e, two)), s.mul_add(two, e, one));
    let below = s.add(above, s.if_negative(x, two, s.mul(two, s.mul(e, e))));
    let product = s.mul(s.mul(s.splat(4.0), e), s.mul(s.add(one, e), s.if_negative(x, one, e)));
    (s.div(above, below), s.div(product, s.mul(below, below)))
}

/// The normal distribution at `x`, not beyond ±20: Φ(x) = (1 + erf(x / √2)) / 2 and its density φ(x) = e^(-x²/2) / √2π.
///
/// Φ(-a) = e^(-a²/2) · t · p(t) for a ≥ 0 with t = 1 / (1 + 0.35 a): the quotient is so smooth that the Chebyshev fit
/// of degree 8 (mpmath's `chebyfit`, over a in 0..14.5) has a relative error of 4e-8. Error of Φ ≤ 4 ε.
#[inline(always)]
pub(super) fn normal<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    const TAIL: [f32; 9] = [
        -0.029_732_276,
        0.146_784,
        -0.261_410_54,
        0.165_510_16,
        -0.027_321_91,
        0.107_212_5,
        0.119_425_09,
        0.139_914_33,
        0.139_618_64,
    ];
    const DENSITY_AT_0: f32 = 0.398_942_3;

    let one = s.splat(1.0);
    let a = abs(s, x);
    let t = s.div(one, s.mul_add(s.splat(0.35), a, one));
    // a² is rounded, which the exponential would magnify: what the rounding lost comes back as a factor. With a cut after
    // its sixth fractional bit, a² = cut² + (a - cut)(a + cut), where cut² is exact.
    let square = s.mul(a, a);
    let cut = s.mul(round(s, s.mul(a, s.splat(64.0))), s.splat(1.0 / 64.0));
    let lost = s.add(s.sub(s.mul(cut, cut), square), s.mul(s.sub(a, cut), s.add(a, cut)));
    let minus_half = s.splat(-0.5);
    let e = exp(s, s.mul(minus_half, square));
    let bell = s.mul_add(e, s.mul(minus_half, lost), e);
    let tail = s.mul(bell, s.mul(t, polynomial(s, t, &TAIL)));
    (s.if_negative(x, tail, s.sub(one, tail)), s.mul(bell, s.splat(DENSITY_AT_0)))
}

/// |x|
#[inline(always)]
pub(super) fn abs<S: Simd>(s: S, x: S::V) -> S::V {
    s.if_negative(x, s.sub(s.splat(0.0), x), x)
}

/// x = n ln 2 + r with a whole n and |r| ≤ ln 2 / 2; gives n and eʳ - 1. The constants are those of Cephes' `expf`.
#[inline(always)]
fn reduce<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    // ln 2 in two parts: n times the first one is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    const TAIL: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

    let n = round(s, s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.mul_add(n, s.splat(-LN_2[0]), x);
    let r = s.mul_add(n, s.splat(-LN_2[1]), r);
    (n, s.mul_add(s.mul(r, r), polynomial(s, r, &TAIL), r))
}

/// The nearest whole number, for |x| < 2²²: adding 1.5 · 2²³ leaves no bits for a fraction.
#[inline(always)]
pub(super) fn round<S: Simd>(s: S, x: S::V) -> S::V {
    let shift = s.splat(12_582_912.0);
    s.sub(s.add(x, shift), shift)
}

/// Horner's scheme, highest power first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::V, coefficients: &[f32; N]) -> S::V {
    let mut sum = s.splat(coefficients[0]);
    for &coefficient in &coefficients[1..] {
        sum = s.mul_add(sum, x, s.splat(coefficient));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Operation;
    use crate::kernels;

    struct Exp<'a>(&'a mut [f32]);

    impl Operation for Exp<'_> {
        type Output = ();

        #[inline(always)]
        fn call<S: Simd>(self, s: S) {
            for vector in self.0.chunks_exact_mut(S::LANES) {
                s.write(exp(s, s.read(vector)), vector);
            }
        }
    }

    #[test]
    fn exp_keeps_its_error_bound_and_has_its_limits() {
        let inputs: Vec<f32> = (-1_100_000..1_100_000).map(|i| i as f32 / 1e4).chain([f32::NAN; 16]).collect();
        for kernel in kernels() {
            let mut values = inputs.clone();
            kernel.backend().unwrap().run(Exp(&mut values));
            for (&x, &y) in inputs.iter().zip(&values) {
                let exact = f64::from(x).exp();
                let error = (f64::from(y) - exact).abs();
                match x {
                    x if x.is_nan() => assert!(y.is_nan()),
                    x if x >= 88.7229 => assert_eq!(y, f32::INFINITY, "{kernel}: exp({x})"),
                    x if x < -103.98 => assert_eq!(y, 0.0, "{kernel}: exp({x})"),
                    _ => assert!(error <= 1.5 * f64::from(f32::EPSILON) * exact + 3e-45, "{kernel}: exp({x}) = {y}"),
                }
            }
        }
    }
}
