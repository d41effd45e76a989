//! Exit statuses of the commands.

/// The exit status of "nothing failed, but something could not run here", as automake's tests have
/// it.
pub(crate) const SKIPPED: u8 = 77;
