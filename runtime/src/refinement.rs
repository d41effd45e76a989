//! What refinements in either arithmetic have in common.

/// How a code is refined. Both arrive at the code of the lowest energy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Method {
    /// Coordinate descent (Friedman, Hastie & Tibshirani 2010): one component after the other
    /// becomes the level that is best for it as the others stand. An iteration is a pass over the
    /// components that are active, or, every second one, over all; it converges on one of the
    /// latter, also when it changes none. On trained models it arrives with the fewest
    /// instructions.
    #[default]
    CoordinateDescent,
    /// FISTA (Beck & Teboulle 2009); it also converges when no component changes twice in a row.
    Fista,
}

/// Why a refinement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Stop {
    /// The code changed by less than the tolerance, or is zero for good.
    Converged,
    /// `max_iterations` were made.
    Budget,
    /// The deadline closure returned `true`.
    Deadline,
}
