//! The steps of integer inference on slices, all of the model's dimensions, whoever owns them: for the C API.

use sparsecode_formats::{CodeSign, IntegerFile};

pub(crate) use super::code::{List, is_level};
pub(crate) use super::model::{run_decode as decode, run_denoise as denoise, run_encode as encode};
pub(crate) use super::preprocess::{apply as preprocess, restore};
pub(crate) use super::refine::refine;
pub(crate) use super::workspace::Scratch;
pub(crate) use crate::kernels::integer::Entry;

/// A component of a code; `index` is at most 4094.
pub(crate) const fn entry(index: u16, level: i16) -> Entry {
    Entry::new::<i8>(index as usize, level)
}

/// Index and level of a component.
pub(crate) const fn component(entry: Entry) -> (u16, i16) {
    // An index has 12 bits.
    (entry.index::<i8>() as u16, entry.value())
}

/// Whether entries are a code of a model: indices ascend below its dimension, and levels are not 0,
/// nor negative unless its codes are signed.
pub(crate) fn is_code(entries: &[Entry], file: &IntegerFile<'_>) -> bool {
    let (code_dim, codes) = (file.spec.code_dim, file.refiner.codes);
    let mut least = 0;
    entries.iter().all(|found| {
        let (index, level) = component(*found);
        let sound =
            index >= least && index < code_dim && is_level(level) && *found == entry(index, level);
        let sound = sound && (level > 0 || codes == CodeSign::Signed);
        least = index.wrapping_add(1);
        sound
    })
}
