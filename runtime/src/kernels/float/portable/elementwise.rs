//! Passes over elements that do not meet.

/// `values[i] *= factors[i]`.
#[inline]
pub(crate) fn multiply(values: &mut [f32], factors: &[f32]) {
    for (value, factor) in values.iter_mut().zip(factors) {
        *value *= factor;
    }
}

/// `max(value, 0)`. NaN becomes 0, so that a code never contains one.
#[inline(always)]
pub(crate) fn relu(value: f32) -> f32 {
    if value > 0.0 { value } else { 0.0 }
}
