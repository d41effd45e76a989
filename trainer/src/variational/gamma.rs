//! The Gamma distribution of a learned threshold: densities' divergence, and how a draw moves with
//! the shape.

use statrs::function::gamma::{digamma, ln_gamma};

/// ψ′, the derivative of the digamma function, for x above 0: the recurrence ψ′(x) = ψ′(x + 1) +
/// 1/x² up to 12, and from there the asymptotic series (Abramowitz & Stegun 1964, 6.4.12).
///
/// ```
/// use sparsecode_trainer::variational::trigamma;
///
/// let pi = std::f64::consts::PI;
/// assert!((trigamma(1.0) - pi * pi / 6.0).abs() < 1e-14);
/// ```
pub fn trigamma(x: f64) -> f64 {
    let (mut x, mut sum) = (x, 0.0);
    while x < 12.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    // Bernoulli numbers.
    let series = [1.0 / 6.0, -1.0 / 30.0, 1.0 / 42.0, -1.0 / 30.0, 5.0 / 66.0]
        .iter()
        .rev()
        .fold(0.0, |tail, b| b + square * tail);
    sum + 1.0 / x + 0.5 * square + series * square / x
}

/// The Kullback–Leibler divergence of Gamma(`shape`, `rate`) from Gamma(`prior_shape`,
/// `prior_rate`), and its derivatives for `shape` and `rate`.
///
/// `a₀ ln(β/b₀) − lnΓ(α) + lnΓ(a₀) + (α − a₀) ψ(α) + (b₀ − β) α/β`.
///
/// ```
/// use sparsecode_trainer::variational::gamma_divergence;
///
/// let [same, by_shape, by_rate] = gamma_divergence([3.0, 12.0], [3.0, 12.0]);
/// assert!(same.abs() < 1e-14 && by_shape.abs() < 1e-14 && by_rate.abs() < 1e-14);
/// ```
pub fn gamma_divergence([shape, rate]: [f64; 2], [prior_shape, prior_rate]: [f64; 2]) -> [f64; 3] {
    let value = prior_shape * (rate / prior_rate).ln() - ln_gamma(shape)
        + ln_gamma(prior_shape)
        + (shape - prior_shape) * digamma(shape)
        + (prior_rate - rate) * shape / rate;
    let by_shape = (shape - prior_shape) * trigamma(shape) + (prior_rate - rate) / rate;
    let by_rate = prior_shape / rate - prior_rate * shape / (rate * rate);
    [value, by_shape, by_rate]
}

/// ∂g/∂α of a draw g of Gamma(α, 1) whose place in the distribution stays (Figurnov, Mohamed &
/// Mnih 2018): `−(∂F(g; α)/∂α) / f(g; α)`, with F the regularised lower incomplete gamma function
/// and f its density.
///
/// With the series `F = Σ_n g^{α+n} e^{−g} / Γ(α+n+1)` this is `Σ_n t_n (ψ(α+n+1) − ln g)`, where
/// `t_0 = g/α` and `t_n = t_{n−1} g/(α+n)`. The terms are largest where α + n is g, about
/// `e^{(g−α)²/2α}`, so that draws far above α, which hardly ever occur, lose digits: at `g = α +
/// 20` half of them.
///
/// Relative error below 1e-9 for α from 0.05 to 100 and quantiles from 0.001 to 0.999. 0 for g = 0.
/// The time grows with g.
pub fn implicit_shape_gradient(shape: f64, draw: f64) -> f64 {
    if draw <= 0.0 {
        return 0.0;
    }
    let ln_draw = draw.ln();
    let mut term = draw / shape;
    let mut psi = digamma(shape) + 1.0 / shape;
    let mut sum = 0.0;
    let mut place = shape;
    loop {
        sum += term * (psi - ln_draw);
        place += 1.0;
        let ratio = draw / place;
        term *= ratio;
        psi += 1.0 / place;
        // Behind the peak the rest is below a geometric series.
        // Both are 0 for the smallest draws.
        if ratio < 0.5 && term * (psi - ln_draw).abs() <= 1e-17 * sum.abs() {
            return sum;
        }
        if !term.is_finite() {
            return sum;
        }
    }
}
